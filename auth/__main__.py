"""`python -m auth`: login, status, refresh, logout and key, from their arguments to their exit code.

0 is success, 1 a reason that was told, 2 a wrong usage, 130 Ctrl-C. Only what is not foreseen shows a traceback.
"""

import argparse
import asyncio
import getpass
import logging
import os
import platform
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn

from auth import keys, login, logout, plans, status, voice
from auth.authjson import API_KEY, CHATGPT, AuthDocument
from auth.credential import hold
from auth.errors import AuthError, BadSetting, NotSignedIn, SaveFailed
from auth.issuer import ISSUER_URL, Issuer
from auth.outbound import Outbound
from auth.source import UNSAVED_NAP, TokenSource
from auth.store import DEFAULT, AccountFile, find_accounts, is_own_name, own_account

ORIGINATOR = "codex_mitm"
USER_AGENT = f"{ORIGINATOR} ({platform.system()} {platform.release()}; {platform.machine()})"


def main(arguments: Sequence[str] | None = None) -> int:
    logging.basicConfig(format="codex-mitm: warning: %(message)s", level=logging.WARNING)
    # What it logs is raised as well, or said by `_save_in_the_end`.
    logging.getLogger("auth.source").setLevel(logging.CRITICAL)
    try:
        parsed = make_parser().parse_args(arguments)
        code: int = parsed.run(parsed, os.environ)
        sys.stdout.flush()
        return code
    except AuthError as error:
        voice.fail_with(error)
        return 1
    except KeyboardInterrupt:
        voice.cancelled()
        return 130
    except BrokenPipeError:
        _close_stdout()
        return 1
    except SystemExit:  # argparse has printed its help, which is still in the buffer
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _close_stdout()
        raise


def _close_stdout() -> None:
    """Its reader has left. Python flushes once more at exit, and would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# -- the commands


def _login(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    # Before the loop runs: while it does, Ctrl-C is its own and would not end a read.
    given = _given_document(arguments)
    asyncio.run(_sign_in(arguments, env, given))
    return 0


def _given_document(arguments: argparse.Namespace) -> AuthDocument | None:
    if arguments.api_key_stdin:
        return login.from_api_key(_read_key())
    if arguments.file is None:
        return None
    document = login.from_file(arguments.file)
    if document.kind == CHATGPT:
        voice.imported(arguments.file)
    return document


def _read_key() -> str:
    if sys.stdin is None or not sys.stdin.isatty():
        return login.stdin().readline(login.MAX_KEY + 1).decode("utf-8", "replace")
    try:
        return getpass.getpass("API key (not shown): ")
    except EOFError:
        voice.say("")  # the prompt's line is still open
        return ""


async def _sign_in(arguments: argparse.Namespace, env: Mapping[str, str], given: AuthDocument | None) -> None:
    account = own_account(arguments.account, env)
    await login.check_room(account)
    async with _issuer(arguments.issuer, env) as issuer:
        keep = partial(login.keep, account, issuer=issuer, signed_in_here=given is None)
        if given:
            await keep(given)
        elif arguments.device:
            await login.with_device(issuer, keep)
        else:
            await login.with_browser(issuer, ORIGINATOR, arguments.browser and login.has_browser(env), keep)
    voice.signed_in(await account.read(), account.path)


def _status(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    found = find_accounts(arguments.accounts, env)
    if arguments.account:
        found = [_named(arguments.account, found)]
    now = time.time()
    reports = asyncio.run(_examine(found, now, plans.read(env)))
    if arguments.json:
        voice.show(status.as_json(reports, now))
    elif not reports:
        raise NotSignedIn()
    else:
        voice.show(status.as_text(reports, now))
    return 0 if any(report.usable for report in reports) else 1


async def _examine(accounts: Sequence[AccountFile], now: float, limits: Mapping[str, plans.Plan]) -> list[status.Report]:
    return [await status.examine(account, now, limits.get(account.name)) for account in accounts]


def _refresh(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    found = find_accounts([], env)
    if not found:
        raise NotSignedIn()
    asyncio.run(_renew(_named(arguments.account, found) if arguments.account else found[0], arguments.issuer, env))
    return 0


async def _renew(account: AccountFile, issuer_url: str, env: Mapping[str, str]) -> None:
    document = await account.read()
    if document.kind == API_KEY:
        raise AuthError(f"account {account.name} is an API key, which has nothing to refresh")
    if why := await account.probe_writable():
        raise SaveFailed(account.path, why)  # a token that is still good is not spent for one that cannot be kept
    async with _issuer(issuer_url, env) as issuer:
        source = TokenSource(account, issuer, min_interval=0)
        try:
            await source.renew(hold(account.name, document, None).credential)
        finally:
            await source.aclose()  # Ctrl-C waits for the answer: it may be the only copy of a rotated token
        await _save_in_the_end(source, account)
    voice.refreshed(account.name, voice.expiry(source.status().validity.ends_at - time.time()))


async def _save_in_the_end(source: TokenSource, account: AccountFile) -> None:
    """There was room before the refresh. If there is none after it, this process holds the only copy of the token."""
    if source.status().state != "ok":
        voice.unsaved(account.name, account.where)
    while source.status().state != "ok":
        await asyncio.sleep(UNSAVED_NAP)
        await source.refresh_ahead()


def _logout(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    account = logout.account_of_ours(arguments.account, env)
    voice.signed_out(account.name, revoked=asyncio.run(_sign_out(account, arguments, env)))
    return 0


async def _sign_out(account: AccountFile, arguments: argparse.Namespace, env: Mapping[str, str]) -> bool | None:
    async with _issuer(arguments.issuer, env) as issuer:
        return await logout.sign_out(account, None if arguments.keep_remote else issuer)


def _add_key(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    new = keys.make(arguments.label)
    if arguments.policy is not None:
        keys.add(new, arguments.policy)
    voice.new_key(new.key)
    if arguments.policy is None:
        voice.paste_this(keys.as_yaml(new))
    else:
        voice.key_added(new.label, arguments.policy)
    return 0


def _named(name: str, accounts: Sequence[AccountFile]) -> AccountFile:
    for account in accounts:
        if account.name == name:
            return account
    others = ", ".join(account.name for account in accounts)
    raise BadSetting("--account", f"there is no account {name}" + (f", only {others}" if others else ""))


@asynccontextmanager
async def _issuer(url: str, env: Mapping[str, str]) -> AsyncIterator[Issuer]:
    try:
        issuer = Issuer(url, Outbound.from_env(env), USER_AGENT, originator=ORIGINATOR)
    except BadSetting as error:
        raise BadSetting("--issuer", error.why) if error.setting == "codex_issuer_url" else error from None
    try:
        yield issuer
    finally:
        await issuer.aclose()


# -- the arguments


class _Parser(argparse.ArgumentParser):
    """argparse finds the words, `voice` has ours."""

    def format_help(self) -> str:
        return self.description or ""

    def error(self, message: str) -> NoReturn:
        voice.fail(message, f"`{self.prog} --help` shows the usage")
        raise SystemExit(2)


def make_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m auth", description=voice.HELP, allow_abbrev=False)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace, Mapping[str, str]], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, description=text, allow_abbrev=False)
        added.set_defaults(run=run)
        return added

    signing_in = command("login", _login, voice.LOGIN_HELP)
    signing_in.add_argument("--account", type=_own_name, default=DEFAULT, metavar="NAME")
    signing_in.add_argument("--issuer", default=ISSUER_URL, metavar="URL")
    signing_in.add_argument("--no-browser", dest="browser", action="store_false")
    way = signing_in.add_mutually_exclusive_group()
    way.add_argument("--device", action="store_true")
    way.add_argument("--import", dest="file", metavar="FILE")
    way.add_argument("--api-key-stdin", action="store_true")

    showing = command("status", _status, voice.STATUS_HELP)
    showing.add_argument("--account", metavar="NAME")
    showing.add_argument("--accounts", nargs="+", default=[], metavar="PATH")
    showing.add_argument("--json", action="store_true")

    refreshing = command("refresh", _refresh, voice.REFRESH_HELP)
    refreshing.add_argument("--account", metavar="NAME")
    refreshing.add_argument("--issuer", default=ISSUER_URL, metavar="URL")

    signing_out = command("logout", _logout, voice.LOGOUT_HELP)
    signing_out.add_argument("--account", type=_own_name, default=DEFAULT, metavar="NAME")
    signing_out.add_argument("--keep-remote", action="store_true")
    signing_out.add_argument("--issuer", default=ISSUER_URL, metavar="URL")

    adding_key = command("key", _add_key, voice.KEY_HELP)
    adding_key.add_argument("action", choices=["add"], metavar="add")
    adding_key.add_argument("label", type=_own_name, metavar="LABEL")
    adding_key.add_argument("--policy", type=Path, metavar="FILE")
    return parser


def _own_name(name: str) -> str:
    if not is_own_name(name):
        raise argparse.ArgumentTypeError("a name is up to 64 letters, digits, dots, - and _, and begins with no dot")
    return name


if __name__ == "__main__":
    sys.exit(main())
