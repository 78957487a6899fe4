"""`python -m auth` without its commands' own files: refresh, help, wrong usage, and how it ends."""

import argparse
import json
import os
import re
import subprocess
import sys

import pytest

from auth import voice
from auth.__main__ import make_parser
from tests.auth.program import SIGN_IN, Program, Ran, posix, wait_until

# -- refresh


def test_a_refresh_brings_a_new_token_though_the_old_one_was_good(program: Program) -> None:
    program.place(program.fake.control.login())
    ran = program.run_here("refresh")
    assert (ran.code, ran.err) == (0, "account default is refreshed, its token expires in 10 days\n")
    assert json.loads(program.file().read_bytes())["tokens"]["refresh_token"] == program.fake.control.current().refresh_token
    assert program.fake.control.counts().refreshes == 1


def test_a_refresh_right_after_another(program: Program) -> None:
    program.place(program.fake.control.login(last_refresh_ago=0))
    assert [program.run_here("refresh").code for _ in range(2)] == [0, 0]
    assert program.fake.control.counts().refreshes == 2


def test_an_expired_token_is_refreshed_once(program: Program) -> None:
    program.place(program.fake.control.login(lifetime=3600, issued_ago=7200))
    assert program.run_here("refresh").code == 0
    assert program.fake.control.counts().refreshes == 1


def test_a_refresh_of_a_dead_sign_in(program: Program) -> None:
    program.place(program.fake.control.login())
    program.fake.control.revoke("refresh")
    ran = program.run_here("refresh", "--account", "default")
    assert ran.code == 1
    assert re.fullmatch(
        r"codex-mitm: account default is signed out since .* UTC \(refresh_token_invalidated\)\n" + re.escape(SIGN_IN), ran.err
    )
    assert "signed out (refresh_token_invalidated), " in program.run("status").out


def test_a_refresh_while_the_issuer_is_down(program: Program) -> None:
    before = program.place(program.fake.control.login()).read_bytes()
    program.fake.control.fault("token", status=503, times=None)
    ran = program.run_here("refresh")
    assert ran.code == 1
    assert ran.err.startswith("codex-mitm: the issuer answered 503, without an error code\ncodex-mitm: hint: try again in ")
    assert program.file().read_bytes() == before


def test_an_api_key_has_nothing_to_refresh(program: Program) -> None:
    program.place({"auth_mode": "apikey", "OPENAI_API_KEY": program.fake.control.api_key()})
    ran = program.run_here("refresh")
    assert ran == Ran(1, "", "codex-mitm: account default is an API key, which has nothing to refresh\n")


@posix
def test_a_good_token_is_not_spent_for_one_that_cannot_be_kept(program: Program) -> None:
    program.place(program.fake.control.login())
    ran = program.run_here("refresh", room=4096)
    assert (ran.code, "could not be written, file too large" in ran.err) == (1, True)
    assert program.fake.control.counts().refreshes == 0


@posix
def test_ctrl_c_in_a_refresh_waits_for_the_token_that_is_on_its_way(program: Program) -> None:
    program.place(program.fake.control.login())
    program.fake.control.fault("token", delay=0.5)
    with program.start("refresh", "--issuer", program.fake.issuer_url) as refresh:
        wait_until(lambda: bool(program.fake.control.seen(route="token")))
        assert refresh.interrupt().code == 130
    assert json.loads(program.file().read_bytes())["tokens"]["refresh_token"] == program.fake.control.current().refresh_token


@posix
@pytest.mark.slow
def test_a_new_token_for_which_there_is_no_room_after_all_is_kept_until_there_is(program: Program) -> None:
    import resource

    # More than the 8 KiB for which there was room when it was tried.
    program.place(program.fake.control.login() | {"padding": "x" * 9000})
    with program.start("refresh", "--issuer", program.fake.issuer_url, room=8192) as refresh:
        refresh.wait_for("trying until it can")
        resource.prlimit(refresh.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert refresh.end().code == 0
    assert json.loads(program.file().read_bytes())["tokens"]["refresh_token"] == program.fake.control.current().refresh_token


def test_nobody_to_refresh(program: Program) -> None:
    assert program.run_here("refresh") == Ran(1, "", f"codex-mitm: not signed in\n{SIGN_IN}")


# -- help, usage, and how it ends


COMMANDS = {
    "login": voice.LOGIN_HELP,
    "status": voice.STATUS_HELP,
    "refresh": voice.REFRESH_HELP,
    "logout": voice.LOGOUT_HELP,
    "key": voice.KEY_HELP,
    "migrate": voice.MIGRATE_HELP,
}


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS)], ids=["all", *COMMANDS])
def test_help_is_prose_with_an_example(program: Program, arguments: list[str]) -> None:
    ran = program.run(*arguments, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert "\nUsage:\n" in ran.out and "\nExample:\n    $ python -m auth" in ran.out
    assert ran.out == COMMANDS.get("".join(arguments), voice.HELP)


def test_help_names_every_option() -> None:
    [commands] = [action for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction)]
    for name, command in commands.choices.items():
        options = {option for action in command._actions for option in action.option_strings} - {"-h", "--help"}
        assert options == set(re.findall(r"(?<=    )--[a-z-]+", COMMANDS[name]))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["sign-in"], "invalid choice: 'sign-in'"),
        (["login", "--device", "--api-key-stdin"], "not allowed with argument"),
        (["login", "--dev"], "unrecognized arguments: --dev"),
        (["login", "--account", ".hidden"], "a name is up to 64 letters"),
        (["login", "--account", "../../etc"], "a name is up to 64 letters"),
        (["logout", "--account", ""], "a name is up to 64 letters"),
        (["logout", "--account", "a" * 65], "a name is up to 64 letters"),
        (["status", "--accounts"], "expected at least one argument"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_a_wrong_usage(program: Program, arguments: list[str], why: str) -> None:
    ran = program.run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert re.match(rf"codex-mitm: .*{re.escape(why)}.*\ncodex-mitm: hint: `python -m auth.* --help` shows the usage\n", ran.err)


@posix
@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["status"], 1), (["status", "--json"], 1)])
def test_a_reader_that_left(program: Program, arguments: list[str], code: int) -> None:
    program.place(program.fake.control.login())
    reading, writing = os.pipe()
    os.close(reading)
    ran = subprocess.run(
        [sys.executable, "-m", "auth", *arguments],
        env=os.environ | {"HOME": str(program.home)},
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    assert (ran.returncode, ran.stderr) == (code, b"")
