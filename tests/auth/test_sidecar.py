import pytest

from auth import sidecar
from auth.sidecar import Memory

FULL = Memory("f" * 64, "refresh_token_reused", 1.5, 2.5, "no answer", 3.5, "no space left on device", 4.5)


@pytest.mark.parametrize("memory", [Memory(), FULL], ids=["empty", "full"])
def test_what_was_packed_is_unpacked(memory: Memory) -> None:
    assert sidecar.unpack(sidecar.pack(memory)) == memory


@pytest.mark.parametrize(
    "memory",
    [
        pytest.param(Memory(), id="empty"),
        pytest.param(FULL, id="full"),
        pytest.param(Memory("f" * 64, "\U0001f600" * 999, 1e300, 1e300, "\x00" * 999, 1e300, "é" * 999, 1e300), id="overlong"),
    ],
)
def test_it_always_has_the_size_of_a_page(memory: Memory) -> None:
    assert len(sidecar.pack(memory)) == sidecar.SIZE


@pytest.mark.parametrize("raw", [b"", b" " * 4096, b"{", b"[]", b"\xff", b"[" * 4096, sidecar.pack(FULL)[:99]])
def test_a_torn_or_foreign_file_is_an_empty_memory(raw: bytes) -> None:
    assert sidecar.unpack(raw) == Memory()


def test_members_that_are_unknown_or_of_the_wrong_type_are_passed_over() -> None:
    raw = b'{"dead_token": 7, "last_error": "x", "last_error_at": "noon", "dead_since": true, "next": {}}'
    assert sidecar.unpack(raw) == Memory(last_error="x")


def test_a_dead_token_is_known_by_its_fingerprint_only() -> None:
    memory = Memory(dead_token=sidecar.fingerprint("rt_SENTINEL"))
    assert memory.is_dead("rt_SENTINEL")
    assert not memory.is_dead("rt_SENTINEL_2")
    assert b"SENTINEL" not in sidecar.pack(memory)
