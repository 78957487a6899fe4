"""The one key from a file, as systemd and Docker hand on a secret."""

from hashlib import sha256
from pathlib import Path

import pytest
from mitmproxy import exceptions
from mitmproxy.test import taddons

from addons.gate import CodexGate
from addons.keys import from_environment
from addons.own_key import MAX_SIZE, with_key_of_file
from addons.policy import DEFAULT_FILE, ROOT, CodexPolicy

KEY = b"cmx-a-key-that-is-long-enough"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "proxy-api-key"


def test_it_is_read_as_if_it_stood_in_the_environment(file: Path) -> None:
    file.write_bytes(KEY + b"\n")
    found = from_environment(with_key_of_file({"PROXY_API_KEY_FILE": str(file), "PROXY_API_KEY": ""}))
    assert found and found.digest == sha256(KEY).digest()


def test_a_variable_that_is_set_to_nothing_is_not_set() -> None:
    env = {"PROXY_API_KEY_FILE": "", "PROXY_API_KEY": "one"}
    assert with_key_of_file(env) is env


# What is in the file, if there is one, and what is said of it: a key that was lost must not be none.
WRONG: dict[str, tuple[bytes | None, str]] = {
    "no file": (None, "No such file or directory"),
    "empty": (b"", "is empty, a key must be in it"),
    "blanks": (b" \n", "is empty, a key must be in it"),
    "a large one": (b"CANARY" * MAX_SIZE, "is too large for a key"),
    "two keys": (b"CANARY-1\nCANARY-2\n", "without a blank"),
    "no text": ("CANARY-ключ".encode(), "letters, digits and signs"),
}


@pytest.mark.parametrize(("content", "message"), WRONG.values(), ids=WRONG)
def test_the_proxy_does_not_start_with_one_that_is_wrong(content: bytes | None, message: str, file: Path) -> None:
    if content is not None:
        file.write_bytes(content)
    said = refusal({"PROXY_API_KEY_FILE": str(file)})
    assert message in said and "PROXY_API_KEY" in said and "CANARY" not in said


def test_nor_with_two_of_which_one_cannot_count(file: Path) -> None:
    file.write_bytes(KEY)
    said = refusal({"PROXY_API_KEY_FILE": str(file), "PROXY_API_KEY": "CANARY"})
    assert "leave one out" in said and "CANARY" not in said


def refusal(env: dict[str, str]) -> str:
    """Why the gate does not take its first options, which ends the proxy."""
    policy = CodexPolicy()
    with taddons.context(policy, CodexGate(policy, env)) as tctx, pytest.raises(exceptions.OptionsError) as raised:
        tctx.options.update(codex_policy=str(ROOT / DEFAULT_FILE))
    return str(raised.value)
