"""`python -m auth login`, from the command to the file."""

import errno
import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from auth import locks, pkce
from auth.login import has_browser
from tests.auth.program import Program, Ran, Running, callback_of, consent, posix, visit, wait_until
from tests.fakes.openai import FakeOpenAI

CLOSED_STDIN = ["sh", "-c", 'exec "$@" <&-', "sh"]
PORT, NEXT_PORT = pkce.REDIRECT_PORTS


@pytest.fixture
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The two ports that are registered, for one test on this machine at a time."""
    turn = os.open(tmp_path_factory.getbasetemp().parent / "codex-mitm-ports.lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + 60
    while not locks.try_lock(turn) and time.monotonic() < deadline:
        time.sleep(0.05)
    for port in pkce.REDIRECT_PORTS:
        if not is_free(port):
            pytest.skip(f"port {port} is in use by a program that is none of ours")
    yield
    os.close(turn)


def is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        assert error.errno == errno.EADDRINUSE
        return False
    return True


@contextmanager
def signing_in(program: Program, *arguments: str, **how: Any) -> Iterator[Running]:
    with program.start("login", "--issuer", program.fake.issuer_url, *arguments, **how) as running:
        yield running


def tokens_in(program: Program, account: str = "default") -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(program.file(account).read_bytes())
    return fields["tokens"]  # type: ignore[no-any-return]


def remembered(program: Program, account: str = "default") -> dict[str, Any]:
    return json.loads(program.file(account, "codex-mitm.json").read_bytes())  # type: ignore[no-any-return]


def assert_signed_in(program: Program, ran: Ran, email: str = "user@example.com") -> None:
    current = program.fake.control.current(email)
    assert (ran.code, tokens_in(program)["refresh_token"]) == (0, current.refresh_token), ran.err
    assert f"signed in as {email}, ChatGPT plus" in ran.err


def assert_failed(program: Program, ran: Ran, why: str) -> None:
    assert ran.code == 1
    assert f"codex-mitm: sign-in failed, {why}" in ran.err
    assert not program.file().exists()


# -- with a browser


def test_the_browser_comes_back_and_the_account_is_kept(program: Program, ports: None) -> None:
    with signing_in(program) as login:
        page = consent(login.line())
        ran = login.end()
    assert_signed_in(program, ran)
    assert str(page.url) == f"http://127.0.0.1:{PORT}/success"
    assert "Signed in" in page.text
    assert ran.out.count("\n") == 1
    fields = json.loads(program.file().read_bytes())
    assert (fields["auth_mode"], fields["OPENAI_API_KEY"]) == ("chatgpt", None)
    assert fields["tokens"]["oauth_provenance"]["issuer"] == program.fake.issuer_url
    assert remembered(program)["signed_in_here"] is True


@posix
def test_nobody_else_can_look_into_the_folders_or_the_file(program: Program) -> None:
    program.log_in()
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (program.home / ".codex-mitm", program.file().parent, program.file())]
    assert modes == [0o700, 0o700, 0o600]


def test_a_user_with_a_platform_organisation_gets_its_key_as_well(program: Program, ports: None) -> None:
    program.fake.control.settings(api_key_exchange=True, instant_consent=True)
    with signing_in(program) as login:
        visit(login.line())
        assert login.end().code == 0
    assert json.loads(program.file().read_bytes())["OPENAI_API_KEY"] in program.fake.control.tokens("api_key")


def test_a_wrong_state_does_not_end_it(program: Program, ports: None) -> None:
    with signing_in(program) as login:
        assert visit(callback_of(login.line(), code="ac_1", state="of another")).status_code == 400
        consent(login.line())
        assert_signed_in(program, login.end())


def test_consent_that_is_denied(program: Program, ports: None) -> None:
    with signing_in(program) as login:
        page = consent(login.line(), allow=False)
        assert_failed(program, login.end(), "the issuer says access_denied: The resource owner denied the request")
    assert "The resource owner denied the request" in page.text


@pytest.mark.parametrize(
    ("query", "why", "hint"),
    [
        pytest.param(
            {"error": "access_denied", "error_description": "missing_codex_entitlement: no seat"},
            "Codex is not enabled for this workspace (missing_codex_entitlement)",
            "ask its administrator",
            id="no entitlement",
        ),
        pytest.param({}, "the issuer sent neither a code nor an error", "start over", id="nothing"),
        pytest.param(
            {"error": "x\x1b[2J", "error_description": "\x1b]0;evil\x07"}, "the issuer says x [2J: ]0;evil", "", id="escapes"
        ),
        pytest.param(
            {"code": "ac_of_nobody"}, "the issuer refuses the code (invalid_grant)", "start the sign-in again", id="bad code"
        ),
    ],
)
def test_an_answer_without_use(program: Program, ports: None, query: dict[str, str], why: str, hint: str) -> None:
    with signing_in(program) as login:
        page = visit(callback_of(login.line(), **query))
        ran = login.end()
    assert_failed(program, ran, why)
    assert "Not signed in" in page.text
    assert f"hint: {hint}" in ran.err or not hint


def test_an_issuer_that_fails_in_the_exchange_is_told_on_the_page_too(program: Program, ports: None) -> None:
    program.fake.control.settings(instant_consent=True)
    program.fake.control.fault("token", html=403)
    with signing_in(program) as login:
        page = visit(login.line())
        assert_failed(program, login.end(), "the issuer answered 403, without an error code")
    assert "check that your region and workspace may use Codex" in page.text


def test_the_address_can_be_pasted_where_the_browser_cannot_come_back(program: Program, ports: None) -> None:
    program.fake.control.settings(instant_consent=True)
    with signing_in(program, stdin=-1) as login:
        answer = httpx.get(login.line(), trust_env=False)
        login.type("\nnot an address\n")
        login.wait_for("that is not the address of this sign-in")
        login.type(callback_of(login.line()) + "\n")
        login.wait_for("neither a code nor an error in that address")
        login.type(f"  '{answer.headers['location']}'\n")
        assert_signed_in(program, login.end())


@posix
def test_on_a_terminal_pasting_is_offered(program: Program, ports: None) -> None:
    program.fake.control.settings(instant_consent=True)
    with terminal() as (typist, stdin), signing_in(program, stdin=stdin, start_new_session=True) as login:
        answer = httpx.get(login.line(), trust_env=False)
        login.wait_for("copy the address of that page and paste it here")
        os.write(typist, answer.headers["location"].encode() + b"\n")
        assert_signed_in(program, login.end())


@posix
def test_without_any_stdin_it_still_waits(program: Program, ports: None) -> None:
    with signing_in(program, prefix=CLOSED_STDIN) as login:
        consent(login.line())
        assert_signed_in(program, login.end())


@posix
@pytest.mark.parametrize(("option", "opened"), [([], True), (["--no-browser"], False)])
def test_the_browser_is_opened_unless_that_is_not_wanted(
    program: Program, ports: None, tmp_path: Path, option: list[str], opened: bool
) -> None:
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\necho "$@" > "$0.opened.new" && mv "$0.opened.new" "$0.opened"\n')
    browser.chmod(0o700)
    with signing_in(program, *option, env={"BROWSER": f"{browser} %s"}) as login:
        login.wait_for("waiting for the browser")
        if opened:
            wait_until(Path(f"{browser}.opened").exists)
            assert Path(f"{browser}.opened").read_text().strip() == login.line()
        consent(login.line())
        assert_signed_in(program, login.end())
    assert Path(f"{browser}.opened").exists() is opened


@pytest.mark.parametrize(
    ("env", "platform", "expected"),
    [
        ({}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({"DISPLAY": ":10.0", "SSH_CONNECTION": "::1 1 ::1 22"}, "linux", False),
        ({"BROWSER": "browser.sh", "SSH_CONNECTION": "::1 1 ::1 22"}, "linux", True),
        ({}, "darwin", True),
        ({"SSH_TTY": "/dev/ttys1"}, "darwin", False),
        ({}, "win32", True),
    ],
)
def test_where_a_browser_would_be_in_front_of_the_user(env: dict[str, str], platform: str, expected: bool) -> None:
    assert has_browser(env, platform) is expected


# -- ports


def test_an_older_sign_in_makes_room(program: Program, ports: None) -> None:
    with signing_in(program) as older:
        older.line()
        with signing_in(program) as newer:
            consent(newer.line())
            assert_signed_in(program, newer.end())
        assert "cancelled, another sign-in asked for the port" in older.end().err
        assert older.end().code == 1


def test_a_port_that_is_kept_means_the_other_port(program: Program, ports: None) -> None:
    with socket.create_server(("127.0.0.1", PORT)) as server:
        server.settimeout(20)
        with signing_in(program) as login:
            connection, _ = server.accept()
            with connection:
                assert connection.recv(1000).startswith(b"GET /cancel HTTP/1.1\r\n")
                connection.sendall(b"HTTP/1.1 404 Not Found\r\n\r\n")
            assert callback_of(login.line()).startswith(f"http://127.0.0.1:{NEXT_PORT}/")
            assert consent(login.line()).url.path == "/success"
            assert_signed_in(program, login.end())


@pytest.mark.slow
def test_no_port_at_all(program: Program, ports: None) -> None:
    with socket.create_server(("127.0.0.1", PORT)), socket.create_server(("127.0.0.1", NEXT_PORT)):
        ran = program.run_here("login")
    assert_failed(program, ran, "ports 1455 and 1457 of 127.0.0.1 are in use")
    assert "--device" in ran.err and "--import" in ran.err


# -- being stopped


@posix
def test_ctrl_c(program: Program, ports: None) -> None:
    with signing_in(program) as login:
        login.line()
        ran = login.interrupt()
    assert (ran.code, ran.err.splitlines()[-1]) == (130, "codex-mitm: cancelled")
    assert list(program.file().parent.iterdir()) == []


@posix
def test_ctrl_c_while_tokens_are_on_their_way_leaves_the_old_account_whole(program: Program) -> None:
    before = program.place(program.fake.control.login()).read_bytes()
    program.fake.control.fault("token", delay=20)
    with device(program) as login:
        program.fake.control.approve(login.line(1))
        wait_until(lambda: bool(program.fake.control.seen(route="token")))
        assert login.interrupt().code == 130
    assert program.file().read_bytes() == before


# -- with a code on another device


def device(program: Program, *arguments: str) -> Any:
    program.fake.control.settings(device_interval="1")
    return signing_in(program, "--device", *arguments)


def test_a_code_that_is_approved(program: Program) -> None:
    with device(program, "--account", "work") as login:
        assert login.line(0) == f"{program.fake.issuer_url}/codex/device"
        program.fake.control.approve(login.line(1), email="grace@example.com")
        ran = login.end()
    assert (ran.code, "signed in as grace@example.com, ChatGPT plus" in ran.err) == (0, True)
    assert tokens_in(program, "work")["refresh_token"] == program.fake.control.current("grace@example.com").refresh_token
    assert program.fake.control.counts().hasty_device_polls == 0


def test_a_code_that_is_denied(program: Program) -> None:
    with device(program) as login:
        program.fake.control.deny(login.line(1))
        assert_failed(program, login.end(), "the code was refused (access_denied)")


def test_a_code_that_nobody_entered_in_time(program: Program) -> None:
    with device(program) as login:
        login.line(1)
        program.fake.control.clock(16 * 60)
        assert_failed(program, login.end(), "the code has expired")


def test_an_outage_while_waiting_is_waited_out(program: Program) -> None:
    program.fake.control.fault("device_token", reset="before_headers")
    with device(program) as login:
        program.fake.control.approve(login.line(1))
        assert_signed_in(program, login.end())


def test_an_issuer_without_device_login(program: Program) -> None:
    program.fake.control.settings(device_login=False)
    ran = program.run_here("login", "--device")
    assert_failed(program, ran, "device login is not enabled at this issuer")
    assert "hint: sign in with a browser instead" in ran.err


# -- with a file


def imported(program: Program, content: str, *arguments: str) -> Ran:
    source = program.home / "exported.json"
    source.write_text(content)
    return program.run_here("login", "--import", str(source), *arguments)


def test_an_import_keeps_every_field_and_warns(program: Program) -> None:
    fields = program.fake.control.login("ada@example.com") | {"from_a_later_version": {"a": [1, 2.5]}}
    ran = imported(program, json.dumps(fields))
    assert_signed_in(program, ran, "ada@example.com")
    assert json.loads(program.file().read_bytes()) == fields
    assert "a refresh token works once" in ran.err and "`make login`" in ran.err
    assert remembered(program)["signed_in_here"] is False
    assert program.fake.control.counts().of("issuer") == 0


def test_an_import_from_stdin(program: Program) -> None:
    fields = program.fake.control.login("ada@example.com")
    assert_signed_in(program, program.run_here("login", "--import", "-", text=json.dumps(fields)), "ada@example.com")


def test_an_imported_api_key_needs_no_warning(program: Program) -> None:
    ran = imported(program, json.dumps({"OPENAI_API_KEY": program.fake.control.api_key()}))
    assert (ran.code, "warning" in ran.err) == (0, False)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "it is not JSON"),
        ("{", "it is not JSON"),
        ("[]", "it is not a JSON object"),
        ('{"auth_mode": "agentIdentity"}', "its auth_mode is agentIdentity: only chatgpt and apikey are supported"),
        ('{"tokens": {}}', "it holds no tokens.access_token"),
        (" " * (1 << 20) + "{}", "it is larger than 1048576 bytes"),
    ],
    ids=["empty", "cut", "list", "other kind", "no tokens", "large"],
)
def test_a_file_that_is_no_account_changes_nothing(program: Program, content: str, why: str) -> None:
    before = program.place(program.fake.control.login()).read_bytes()
    ran = imported(program, content)
    assert (ran.code, why in ran.err) == (1, True)
    assert program.file().read_bytes() == before


def test_a_file_that_is_not_there(program: Program) -> None:
    ran = program.run_here("login", "--import", "nowhere.json")
    assert (ran.code, ran.err) == (1, "codex-mitm: nowhere.json cannot be used, no such file or directory\n")


# -- with an API key


def test_an_api_key_from_stdin(program: Program) -> None:
    key = program.fake.control.api_key()
    ran = program.run_here("login", "--api-key-stdin", text=f"{key}\nmore\n")
    assert ran.code == 0
    assert json.loads(program.file().read_bytes()) == {"auth_mode": "apikey", "OPENAI_API_KEY": key}


@posix
def test_an_api_key_that_is_typed_is_not_shown(program: Program) -> None:
    key = program.fake.control.api_key()
    with terminal() as (typist, stdin):
        with signing_in(program, "--api-key-stdin", stdin=stdin, start_new_session=True) as login:
            login.wait_for("API key (not shown)")
            os.write(typist, f"{key}\n".encode())
            assert login.end().code == 0
        os.write(stdin, b"end of what was shown")
        assert os.read(typist, 4096) == b"end of what was shown"


@posix
def test_a_typist_who_gives_up(program: Program) -> None:
    with terminal() as (typist, stdin), signing_in(program, "--api-key-stdin", stdin=stdin, start_new_session=True) as login:
        login.wait_for("API key (not shown)")
        os.write(typist, b"\x04")
        assert_failed(program, login.end(), "that is no API key")


@posix
@pytest.mark.parametrize("way", [["--api-key-stdin"], ["--import", "-"]], ids=" ".join)
def test_without_any_stdin_there_is_nothing_to_take(program: Program, way: list[str]) -> None:
    assert program.run_here("login", *way, prefix=CLOSED_STDIN).code == 1


@pytest.mark.parametrize("line", ["", "\n", "hunter2-not-a-key\n", "sk-with a blank\n", "sk-" + "x" * 2000])
def test_what_is_no_api_key(program: Program, line: str) -> None:
    ran = program.run_here("login", "--api-key-stdin", text=line)
    assert (ran.code, program.file().exists()) == (1, False)
    assert not line.strip() or line.strip() not in ran.err


# -- over an account that is there


def test_the_same_user_again_replaces_the_tokens_and_ends_nothing(program: Program) -> None:
    old = program.place(program.fake.control.login("ada@example.com"), signed_in_here=True).read_bytes()
    program.log_in(as_="ada@example.com")
    assert tokens_in(program)["refresh_token"] not in old.decode()
    assert program.fake.control.counts().revocations == 0


def test_another_user_replaces_it_and_the_old_sign_in_is_ended(program: Program) -> None:
    old = program.fake.control.login("grace@example.com")
    program.place(old, signed_in_here=True)
    program.log_in(as_="ada@example.com")
    assert [seen.json["token"] for seen in program.fake.control.seen(route="revoke")] == [old["tokens"]["refresh_token"]]


def test_an_imported_sign_in_is_replaced_and_not_ended(program: Program) -> None:
    program.place(program.fake.control.login("grace@example.com"), signed_in_here=False)
    program.log_in(as_="ada@example.com")
    assert program.fake.control.counts().revocations == 0
    assert remembered(program)["signed_in_here"] is True


def test_an_import_over_our_own_is_foreign_from_then_on(program: Program) -> None:
    program.place(program.fake.control.login(), signed_in_here=True)
    imported(program, program.file().read_text())
    assert remembered(program)["signed_in_here"] is False
    assert program.fake.control.counts().revocations == 0


def test_what_was_wrong_with_the_old_one_is_forgotten(program: Program) -> None:
    wrong = {"dead_token": "f" * 64, "dead_reason": "refresh_token_reused", "last_error": "no answer"}
    program.place({}, **wrong)
    program.log_in()
    assert {remembered(program)[name] for name in wrong} == {""}


# -- where nothing can be kept


@posix
def test_a_folder_without_room_is_told_before_the_user_goes_to_the_browser(program: Program) -> None:
    ran = program.run_here("login", "--device", room=4096)
    assert (ran.code, ran.out) == (1, "")
    assert f"{program.file()} could not be written, file too large" in ran.err
    assert program.fake.control.counts().of("issuer") == 0


@posix
def test_a_folder_that_cannot_be_made(program: Program) -> None:
    (program.home / ".codex-mitm").write_text("a file in the way")
    ran = program.run_here("login", "--device")
    assert (ran.code, "could not be written, not a directory" in ran.err) == (1, True)


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """What a typist writes to and reads the echo from, and what the program gets for stdin."""
    import pty

    typist, stdin = pty.openpty()
    try:
        yield typist, stdin
    finally:
        os.close(typist)
        os.close(stdin)


def test_an_issuer_must_be_https_or_loopback(program: Program, fake: FakeOpenAI) -> None:
    ran = program.run("login", "--device", "--issuer", "http://auth.example.com")
    assert (ran.code, ran.err) == (1, "codex-mitm: --issuer cannot be used, http:// is for loopback hosts only, use https://\n")
