"""`python -m auth`: login, status, refresh, logout, key and migrate, from their arguments to their exit code.

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
from typing import TYPE_CHECKING, NoReturn

from auth import voice
from auth.authjson import API_KEY, CHATGPT, AuthDocument
from auth.errors import AuthError, BadSetting, SaveFailed
from auth.places import Folders, Place, place_of
from auth.shared import URL, Shared
from auth.store import DEFAULT, AccountStore, is_own_name

# HTTP, YAML, a listener for the browser: a third of the time of `--help` and `status` went into what they have no use for. So what
# only some commands need is imported there.
if TYPE_CHECKING:
    from auth import status
    from auth.issuer import Issuer
    from auth.source import TokenSource

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
    from auth import login

    if arguments.api_key_stdin:
        return login.from_api_key(_read_key())
    if arguments.file is None:
        return None
    document = login.from_file(arguments.file)
    if document.kind == CHATGPT:
        voice.imported(arguments.file)
    return document


def _read_key() -> str:
    from auth import login

    if sys.stdin is None or not sys.stdin.isatty():
        return login.stdin().readline(login.MAX_KEY + 1).decode("utf-8", "replace")
    try:
        return getpass.getpass("API key (not shown): ")
    except EOFError:
        voice.say("")  # the prompt's line is still open
        return ""


async def _sign_in(arguments: argparse.Namespace, env: Mapping[str, str], given: AuthDocument | None) -> None:
    from auth import login

    async with _place(env) as place, _issuer(arguments.issuer, env) as issuer:
        account = place.own(arguments.account)
        await login.check_room(account)
        keep = partial(login.keep, account, issuer=issuer, signed_in_here=given is None)
        if given:
            await keep(given)
        elif arguments.device:
            await login.with_device(issuer, keep)
        else:
            await login.with_browser(issuer, ORIGINATOR, arguments.browser and login.has_browser(env), keep)
        voice.signed_in(await account.read(), account.where)


def _status(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    from auth import status

    now = time.time()
    reports = asyncio.run(_examine(arguments, now, env))
    if arguments.json:
        voice.show(status.as_json(reports, now))
    else:
        voice.show(status.as_text(reports, now))
    return 0 if any(report.usable for report in reports) else 1


async def _examine(arguments: argparse.Namespace, now: float, env: Mapping[str, str]) -> "list[status.Report]":
    from auth import plans, status

    limits = plans.read(env)
    async with _place(env) as place:
        looked_at = Folders(env) if arguments.accounts else place
        found = await looked_at.find(arguments.accounts)
        if not found and not arguments.account and not arguments.json:
            raise looked_at.nobody()
        if arguments.account:
            found = [_named(arguments.account, found)]
        return [await status.examine(account, now, limits.get(account.name)) for account in found]


def _refresh(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    asyncio.run(_renew_one(arguments, env))
    return 0


async def _renew_one(arguments: argparse.Namespace, env: Mapping[str, str]) -> None:
    async with _place(env) as place:
        found = await place.find([])
        if not found:
            raise place.nobody()
        await _renew(_named(arguments.account, found) if arguments.account else found[0], arguments.issuer, env)


async def _renew(account: AccountStore, issuer_url: str | None, env: Mapping[str, str]) -> None:
    from auth.credential import hold
    from auth.source import TokenSource

    document = await account.read()
    if document.kind == API_KEY:
        raise AuthError(f"account {account.name} is an API key, which has nothing to refresh")
    if why := await account.probe_writable():
        raise SaveFailed(account.where, why)  # a token that is still good is not spent for one that cannot be kept
    async with _issuer(issuer_url, env) as issuer:
        source = TokenSource(account, issuer, min_interval=0)
        try:
            await source.renew(hold(account.name, document, None).credential)
        finally:
            await source.aclose()  # Ctrl-C waits for the answer: it may be the only copy of a rotated token
        await _save_in_the_end(source, account)
    voice.refreshed(account.name, voice.expiry(source.status().validity.ends_at - time.time()))


async def _save_in_the_end(source: "TokenSource", account: AccountStore) -> None:
    """There was room before the refresh. If there is none after it, this process holds the only copy of the token."""
    from auth.source import UNSAVED_NAP

    if source.status().state != "ok":
        voice.unsaved(account.name, account.where)
    while source.status().state != "ok":
        await asyncio.sleep(UNSAVED_NAP)
        await source.refresh_ahead()


def _logout(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    asyncio.run(_sign_out(arguments, env))
    return 0


async def _sign_out(arguments: argparse.Namespace, env: Mapping[str, str]) -> None:
    from auth import logout

    async with _place(env) as place, _issuer(arguments.issuer, env) as issuer:
        account = await place.ours(arguments.account)
        voice.signed_out(account.name, revoked=await logout.sign_out(account, None if arguments.keep_remote else issuer))


def _add_key(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    from auth import keys

    new = keys.make(arguments.label)
    if arguments.policy is not None:
        keys.add(new, arguments.policy)
    voice.new_key(new.key)
    if arguments.policy is None:
        voice.paste_this(keys.as_yaml(new))
    else:
        voice.key_added(new.label, arguments.policy)
    return 0


def _migrate(arguments: argparse.Namespace, env: Mapping[str, str]) -> int:
    if arguments.new_key:
        from auth import sealing

        sealing.new_key_file(arguments.new_key)
        voice.new_seal(arguments.new_key)
    else:
        asyncio.run(_move(arguments, env))
    return 0


async def _move(arguments: argparse.Namespace, env: Mapping[str, str]) -> None:
    from auth import migrate

    shared = Shared.from_env(env)
    if shared is None:
        raise BadSetting(URL, "it is not set, and says which Redis it is about")
    sides: list[migrate.Side] = [migrate.FolderSide(env), migrate.RedisSide(shared)]
    source, destination = sides if arguments.to_redis else reversed(sides)
    try:
        moved = []
        async for name in migrate.move(source, destination, arguments.account):
            voice.moved(name, destination.account(name).where)
            moved.append(name)
    finally:
        await shared.aclose()
    if missing := set(arguments.account) - set(moved):
        raise BadSetting("--account", f"there is no account {', '.join(sorted(missing))} to be moved")
    if not moved:
        raise AuthError("there is no account to be moved", "the Codex CLI's own is left alone, see `python -m auth status`")


def _named(name: str, accounts: Sequence[AccountStore]) -> AccountStore:
    for account in accounts:
        if account.name == name:
            return account
    others = ", ".join(account.name for account in accounts)
    raise BadSetting("--account", f"there is no account {name}" + (f", only {others}" if others else ""))


@asynccontextmanager
async def _place(env: Mapping[str, str]) -> AsyncIterator[Place]:
    shared = Shared.from_env(env)
    try:
        yield place_of(env, shared)
    finally:
        if shared:
            await shared.aclose()


@asynccontextmanager
async def _issuer(url: str | None, env: Mapping[str, str]) -> "AsyncIterator[Issuer]":
    """None is OpenAI's own."""
    from auth.issuer import ISSUER_URL, Issuer
    from auth.outbound import Outbound

    try:
        issuer = Issuer(ISSUER_URL if url is None else url, Outbound.from_env(env), USER_AGENT, originator=ORIGINATOR)
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
    signing_in.add_argument("--issuer", metavar="URL")
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
    refreshing.add_argument("--issuer", metavar="URL")

    signing_out = command("logout", _logout, voice.LOGOUT_HELP)
    signing_out.add_argument("--account", type=_own_name, default=DEFAULT, metavar="NAME")
    signing_out.add_argument("--keep-remote", action="store_true")
    signing_out.add_argument("--issuer", metavar="URL")

    adding_key = command("key", _add_key, voice.KEY_HELP)
    adding_key.add_argument("action", choices=["add"], metavar="add")
    adding_key.add_argument("label", type=_own_name, metavar="LABEL")
    adding_key.add_argument("--policy", type=Path, metavar="FILE")

    moving = command("migrate", _migrate, voice.MIGRATE_HELP)
    what = moving.add_mutually_exclusive_group(required=True)
    what.add_argument("--to-redis", action="store_true")
    what.add_argument("--to-files", action="store_true")
    what.add_argument("--new-key", type=Path, metavar="FILE")
    moving.add_argument("--account", type=_own_name, nargs="+", default=[], metavar="NAME")
    return parser


def _own_name(name: str) -> str:
    if not is_own_name(name):
        raise argparse.ArgumentTypeError("a name is up to 64 letters, digits, dots, - and _, and begins with no dot")
    return name


if __name__ == "__main__":
    sys.exit(main())
