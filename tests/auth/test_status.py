"""`python -m auth status`: what it finds, how it words that, and what it exits with."""

import json
import re
import time
from datetime import datetime
from typing import Any

from auth.sidecar import fingerprint
from tests.auth.program import SIGN_IN, Program, Ran, posix


def status(program: Program, *arguments: str, **how: Any) -> tuple[int, list[dict[str, Any]]]:
    ran = program.run("status", "--json", *arguments, **how)
    return ran.code, json.loads(ran.out)["accounts"]


def test_one_account(program: Program) -> None:
    fields = program.fake.control.login("ada@example.com", plan="pro", account_id="acc-0000-7c1e", issued_ago=86400)
    program.place(fields)
    assert program.run("status") == Ran(
        0,
        "default\n"
        "  account    ada@example.com, ChatGPT pro, id ...7c1e\n"
        "  token      expires in 9 days, refreshed 24 h ago\n"
        "  file       ~/.codex-mitm/accounts/default/auth.json\n",
        "",
    )


def test_the_same_as_json(program: Program) -> None:
    program.place(program.fake.control.login("ada@example.com", plan="pro", account_id="acc-0000-7c1e", issued_ago=86400))
    code, [account] = status(program)
    expires, refreshed = account.pop("expires"), account.pop("last_refresh")
    assert (code, account) == (
        0,
        {
            "name": "default",
            "file": str(program.file()),
            "shared_with_codex_cli": False,
            "usable": True,
            "problem": None,
            "remedy": None,
            "kind": "chatgpt",
            "email": "ada@example.com",
            "plan": "pro",
            "account_id_end": "7c1e",
            "signed_out": None,
            "unsaved": None,
            "last_error": None,
            "writable": True,
            "not_writable": None,
            "limits": None,
        },
    )
    assert 9 * 86400 - 60 < expires["in_seconds"] <= 9 * 86400
    assert -86400 - 60 < refreshed["in_seconds"] <= -86400
    assert (datetime.fromisoformat(expires["at"]) - datetime.fromisoformat(refreshed["at"])).days == 10


def test_nobody(program: Program) -> None:
    assert program.run("status") == Ran(1, "", f"codex-mitm: not signed in\n{SIGN_IN}")
    assert status(program) == (1, [])


def test_several_in_the_order_of_the_proxy(program: Program) -> None:
    for name in ("alpha", "default", "work"):
        program.place(program.fake.control.login(f"{name}@example.com"), name)
    code, accounts = status(program)
    assert (code, [account["name"] for account in accounts]) == (0, ["default", "alpha", "work"])
    assert [account["email"] for account in status(program, "--account", "work")[1]] == ["work@example.com"]


def test_an_account_that_is_not_there(program: Program) -> None:
    program.place(program.fake.control.login())
    ran = program.run("status", "--account", "work")
    assert ran == Ran(1, "", "codex-mitm: --account cannot be used, there is no account work, only default\n")


def test_an_api_key(program: Program) -> None:
    program.place({"auth_mode": "apikey", "OPENAI_API_KEY": program.fake.control.api_key()})
    ran = program.run("status")
    assert (ran.code, ran.out.splitlines()[1:2]) == (0, ["  account    Platform API key"])
    assert "token" not in ran.out
    _, [account] = status(program)
    assert (account["kind"], account["email"], account["expires"]) == ("api_key", None, None)


def test_the_codex_cli_s_own_file(program: Program) -> None:
    program.place_cli(program.fake.control.login())
    ran = program.run("status")
    assert ran.code == 0
    assert ran.out.startswith("codex-cli\n")
    assert "shared     with the Codex CLI" in ran.out


def test_other_files_than_those_found(program: Program) -> None:
    program.place(program.fake.control.login("ada@example.com"))
    other, folder = program.home / "other.json", program.home / "team"
    other.write_text(json.dumps(program.fake.control.login("grace@example.com")))
    (folder / "one").mkdir(parents=True)
    (folder / "one" / "auth.json").write_text(other.read_text())
    _, accounts = status(program, "--accounts", str(other), str(folder))
    assert [account["name"] for account in accounts] == ["other", "one"]
    ran = program.run("status", "--accounts", "nowhere")
    assert (ran.code, ran.out) == (1, "")
    assert "nowhere cannot be used, it does not exist" in ran.err


def test_an_expired_token_is_no_trouble(program: Program) -> None:
    program.place(program.fake.control.login(lifetime=3600, issued_ago=3800))
    ran = program.run("status")
    assert (ran.code, "expired 3 min ago and is refreshed at the next request" in ran.out) == (0, True)


def dead(fields: dict[str, Any], reason: str) -> dict[str, Any]:
    """What the sidecar says once the issuer has refused this refresh token."""
    return {"dead_token": fingerprint(fields["tokens"]["refresh_token"]), "dead_reason": reason, "dead_since": 1.0}


def test_a_dead_sign_in_that_still_works_for_a_while(program: Program) -> None:
    fields = program.fake.control.login(lifetime=7200)
    program.place(fields, "work", **dead(fields, "refresh_token_reused"))
    ran = program.run("status")
    assert ran.code == 0
    assert re.search(r"problem    signed out \(refresh_token_reused\), \d+ days ago\n", ran.out)
    assert "do this    run `python -m auth login --account work`" in ran.out


def test_a_dead_sign_in_that_is_over(program: Program) -> None:
    fields = program.fake.control.login(lifetime=3600, issued_ago=7200)
    program.place(fields, **dead(fields, "invalid_grant"))
    code, [account] = status(program)
    assert (code, account["usable"]) == (1, False)
    assert account["signed_out"]["reason"] == "invalid_grant"
    assert account["signed_out"]["since"]["at"] == "1970-01-01T00:00:01Z"


def test_a_sign_in_without_a_refresh_token(program: Program) -> None:
    fields = program.fake.control.login(lifetime=3600, issued_ago=7200)
    del fields["tokens"]["refresh_token"]
    program.place(fields)
    code, [account] = status(program)
    assert (code, account["usable"], account["problem"]) == (1, False, "its file holds no refresh token")


def test_a_corrupt_file(program: Program) -> None:
    program.place({})
    ran = program.run("status")
    assert (ran.code, ran.out.splitlines()[:3]) == (
        1,
        ["default", "  file       ~/.codex-mitm/accounts/default/auth.json", "  problem    it holds no tokens.access_token"],
    )
    _, [account] = status(program)
    assert (account["usable"], account["kind"], account["writable"]) == (False, None, None)


def test_one_usable_account_is_enough(program: Program) -> None:
    program.place({})
    program.place(program.fake.control.login(), "work")
    assert program.run("status").code == 0


def test_the_last_error_and_a_token_that_is_in_memory_only(program: Program) -> None:
    program.place(
        program.fake.control.login(),
        last_error="no answer",
        last_error_at=1.0,
        unsaved_why="no space left on device",
        unsaved_since=1.0,
    )
    ran = program.run("status")
    assert re.search(r"last error no answer, \d+ days ago\n", ran.out)
    assert "not saved  no space left on device, " in ran.out
    _, [account] = status(program)
    assert (account["last_error"]["why"], account["unsaved"]["why"]) == ("no answer", "no space left on device")


@posix
def test_a_folder_that_cannot_be_written(program: Program) -> None:
    program.place(program.fake.control.login())
    _, [account] = status(program, room=4096)
    assert (account["usable"], account["writable"], account["not_writable"]) == (True, False, "file too large")
    ran = program.run("status", room=4096)
    assert "read-only  file too large, a refreshed token could not be kept\n" in ran.out


def test_what_a_token_says_cannot_steer_the_terminal(program: Program) -> None:
    program.place(program.fake.control.login("a\x1b[2J\r\nb\u202e@example.com"))
    assert "account    a [2J  b @example.com, ChatGPT plus" in program.run("status").out


def test_status_asks_nobody(program: Program) -> None:
    program.place(program.fake.control.login(lifetime=3600, issued_ago=7200))
    program.run("status")
    assert program.fake.control.counts().of("issuer") == 0


def test_a_terminal_that_knows_no_unicode(program: Program) -> None:
    program.place(program.fake.control.login("zoë@example.com"))
    assert "zo\\xeb@example.com" in program.run("status", env={"PYTHONIOENCODING": "ascii"}).out


def remember(program: Program, **accounts: object) -> None:
    """As a proxy does (addons/roster.py)."""
    (program.home / ".codex-mitm/state.json").write_text(json.dumps({"version": 1, "accounts": accounts}))


def quota(used: float, ahead: float) -> dict[str, Any]:
    now = time.time()
    window = {"minutes": 300, "used_percent": used, "resets_at": now + ahead, "heard_at": now - 200}
    return {
        "quota": {"heard_at": now - 200, "windows": {"5h": window}, "credits": {"has": True, "unlimited": False, "balance": "12.5"}}
    }


def test_what_is_left_of_the_plan(program: Program) -> None:
    program.place(program.fake.control.login())
    remember(program, default=quota(12.4, 7300))
    assert "  5h         88 % left, begins anew in 2 h, as of 3 min ago\n  credits    12.5\n" in program.run("status").out
    limits = status(program)[1][0]["limits"]
    assert limits["windows"][0]["left_percent"] == 87.6 and 7000 < limits["windows"][0]["resets"]["in_seconds"] <= 7300


def test_a_window_that_is_over_begins_anew(program: Program) -> None:
    program.place(program.fake.control.login())
    remember(program, default=quota(100, -10))
    assert "  5h         100 % left, as of 3 min ago\n" in program.run("status").out


def test_a_proxys_memory_that_cannot_be_read_is_none(program: Program) -> None:
    program.place(program.fake.control.login())
    for garbage in (
        "",
        "{",
        "[]",
        '{"accounts": []}',
        '{"accounts": {"default": {"quota": {"windows": {"5h": 1}, "heard_at": "x"}}}}',
    ):
        (program.home / ".codex-mitm/state.json").write_text(garbage)
        assert status(program)[1][0]["limits"] is None
