import pytest

from addons.redact import FROM_ANSWERS, FROM_REQUESTS
from addons.traffic.headers import MAX_HEADERS, Headers


@pytest.mark.parametrize("name", [*FROM_REQUESTS, *FROM_ANSWERS, "X-Codex-Turn-State", "x-anything"])
def test_of_what_may_hold_a_credential_only_the_name_is_kept(name: str) -> None:
    headers = Headers([(name, "CANARY")])
    assert headers.kept == () and headers.names == (name.lower(),)
    assert "CANARY" not in repr(headers)


def test_what_may_be_kept_is_kept_in_its_order() -> None:
    headers = Headers([("X-Request-Id", "req_1"), ("x-ratelimit-remaining", "7"), ("Content-Type", "text/html")])
    assert headers.kept == (("x-request-id", "req_1"), ("x-ratelimit-remaining", "7"), ("content-type", "text/html"))
    assert (headers.get("content-type"), headers.get("server", "none")) == ("text/html", "none")


def test_a_server_that_sends_headers_without_end() -> None:
    assert len(Headers([(f"x-{n}", "") for n in range(10 * MAX_HEADERS)]).names) == MAX_HEADERS


ON_THE_WIRE = {
    "usual": ((b"Host", b"a"), (b"Accept", b"*/*"), (b"X-Request-Id", b"req_1"), (b"Authorization", b"CANARY")),
    "twice": ((b"accept", b"text/html"), (b"ACCEPT", b"*/*"), (b"cookie", b"CANARY")),
    "bytes that are no text": ((b"x-\xff", b"CANARY"), (b"user-agent", b"\xe9")),
    "names like a book": ((b"x" * 5000, b"CANARY"), (b"accept", b"*/*")),
    "none": (),
}


@pytest.mark.parametrize("fields", ON_THE_WIRE.values(), ids=ON_THE_WIRE)
def test_from_the_wire_they_are_what_they_are_as_text(fields: tuple[tuple[bytes, bytes], ...]) -> None:
    as_text = Headers(
        [(name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")) for name, value in fields]
    )
    for _ in range(2):  # the second time their names are known
        assert Headers.of(fields) == as_text
    assert "CANARY" not in repr(as_text.kept)
    assert len(as_text.kept) == sum(name.lower() in (b"accept", b"x-request-id", b"user-agent") for name, _ in fields)


def test_the_same_names_have_other_values_the_next_time() -> None:
    assert [Headers.of(((b"Accept", value),)).get("accept") for value in (b"a", b"b")] == ["a", "b"]
