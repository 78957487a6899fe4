"""The README against the code: options with their defaults, commands with their arguments, targets, files, error codes."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.addonmanager import Loader
from mitmproxy.test import taddons

from addons import accounts, engine, gate, kept, parallel, policy, retry, serve, slow
from addons.engine import connection
from addons.slots import Slots
from addons.wire import errors
from tests.proxy import ROOT, environment

README = (ROOT / "README.md").read_text()


@pytest.fixture
def addons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What mitmproxy gets from the entry."""
    monkeypatch.setenv("CODEX_MITM_HOME", str(tmp_path))  # what a proxy remembers is read when the accounts are made
    from addons.codex_auth import addons

    return list(addons)


@pytest.fixture
def options(addons: list[Any]) -> dict[str, Any]:
    with taddons.context() as tctx:
        before = set(tctx.options.keys())
        for addon in addons:
            if hasattr(addon, "load"):
                addon.load(Loader(tctx.master))
        return {name: getattr(tctx.options, name) for name in tctx.options.keys() - before}


async def test_every_option_stands_there_with_its_default(options: dict[str, Any]) -> None:
    rows = dict(re.findall(r"^\| `(codex_\w+)` \| (.*?) \|", README, re.M))
    assert rows == {name: shown(value) for name, value in options.items()}


def shown(value: Any) -> str:
    if value in ([], ""):
        return "(none)"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


async def test_at_most_twenty_two_options_and_every_one_explained(options: dict[str, Any]) -> None:
    # Each has a test of its own and a reason that no constant meets; one more needs a better one.
    assert 0 < len(options) <= 22


def test_what_is_set_for_the_user_stands_there() -> None:
    for name, value in serve.DEFAULTS.items():
        shown = value[0] if isinstance(value, list) else value
        assert f"`{name}` (`{shown}`" in README.replace("\n", " ")
    for name, value in serve.NEEDED.items():
        assert f"`{name}={str(value).lower() if isinstance(value, bool) else value}`" in README


def help_of(*command: str, home: Path) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "auth", *command, "--help"], cwd=ROOT, env=environment(home), capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_command_stands_there(tmp_path: Path) -> None:
    commands = set(re.findall(r"^    python -m auth (\w+)", help_of(home=tmp_path), re.M))
    assert commands and commands == set(re.findall(r"^\$ python -m auth (\w+)", README, re.M))


def test_every_way_to_sign_in_stands_there(tmp_path: Path) -> None:
    # --issuer is for tests and gateways, --no-browser and --help explain themselves.
    flags = set(re.findall(r"--[a-z-]+", help_of("login", home=tmp_path))) - {"--issuer", "--no-browser", "--help"}
    assert flags == {flag for flag in flags if flag in README}


def test_every_make_target_it_names_exists() -> None:
    named = set(re.findall(r"(?:`|\$ )make ([a-z]+)", README))
    there = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {"run", "test", "login", "demo", "web"} <= named <= there


def test_every_file_and_folder_it_names_exists() -> None:
    named = re.findall(r"`((?:addons|auth|tests)/[\w./]*)`", README)
    assert named and [name for name in named if not (ROOT / name).exists()] == []


def test_every_error_code_of_ours_stands_there() -> None:
    ours = {code for _, code, _ in accounts.ANSWERS.values()} | {retry.STILL_REFUSED.code, retry.KEY_REFUSED.code}
    ours |= {code for _, code in accounts.ABSENCES.values()}
    ours |= {parallel.queue_full(Slots(1, 0), 1).code, parallel.queue_timeout(1).code}
    ours |= {engine.no_answer("x", "idle").code, engine.no_answer("x", "refused").code, "no_account"}
    ours |= {retry.wrong_upstream("x").code, errors.kind_of(502)[1], "upstream_blocked", "invalid_json"}
    ours |= {gate.NO_KEY.code, gate.one_host_wanted(0).code, gate.host_refused("x").code, gate.origin_refused("x").code}
    assert [code for code in ours if f"`{code}`" not in README] == []
    assert gate.WEBSOCKET_REFUSED.status == 426 and "426" in README


def test_a_policy_with_keys_stands_there_and_can_be_read() -> None:
    (example,) = re.findall(r"```yaml\n(keys:.*?)```", README, re.S)
    (key,) = policy.parse(example.replace("sha256:...", "sha256:" + "0" * 64)).keys or ()
    assert key.label == "laptop" and key.requests_per_minute and key.tokens_per_minute and key.models
    assert f"{gate.OPEN}={gate.OPEN_TO_ALL}" in README


def test_how_long_a_request_may_take_to_come_stands_there() -> None:
    text = README.replace("\n", " ")
    assert f"within {slow.HEAD:.0f} seconds and {connection.MAX_HEAD >> 10} KiB, a body within {slow.BODY:.0f} seconds" in text


def test_how_much_is_kept_of_conversations_stands_there() -> None:
    assert f"The last {kept.MAX_TURNS} turns or {kept.MAX_BYTES >> 20} MiB are kept" in README


def test_it_names_every_addon_that_sees_requests(addons: list[Any]) -> None:
    names = {type(addon).__name__ for addon in addons if is_addon(addon)}
    assert len(names) > 10 and [name for name in names if f"`{name}`" not in README] == []


def is_addon(value: Any) -> bool:
    return any(hasattr(value, hook) for hook in ("requestheaders", "request", "responseheaders", "response"))
