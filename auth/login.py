"""The ways to sign in. Each ends in a document, which `keep` puts into one of our own accounts.

The two that go through the issuer take `keep` along: the browser's last page must not say "signed in" before it is true.
"""

import asyncio
import io
import os
import secrets
import sys
import time
import webbrowser
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import BinaryIO

from auth import callback, device, paste, pkce, voice
from auth.authjson import API_KEY, AuthDocument, BadDocument
from auth.callback import Answer, CallbackListener, Cancelled
from auth.device import DeviceCode
from auth.errors import AccountFileError, AuthError, LoginFailed, SaveFailed, TryAgainLater
from auth.grants import TokenGrant
from auth.issuer import Issuer
from auth.pkce import Code, Denied, Missing, WrongState
from auth.sidecar import Memory
from auth.source import LOCK_TIMEOUT
from auth.store import MAX_FILE_SIZE, AccountStore, reason

# How long somebody may take at the browser. The CLI waits for ever; a listener that was forgotten keeps its port from others.
BROWSER_DEADLINE = 15 * 60.0
# The key is an extra that most accounts do not get: it must not hold up a sign-in.
API_KEY_TIMEOUT = 10.0
MAX_KEY = 1024

type Keep = Callable[[AuthDocument], Awaitable[None]]
type Show = Callable[[DeviceCode], None]


async def with_browser(issuer: Issuer, originator: str, open_browser: bool, keep: Keep) -> None:
    """PKCE over a loopback port, or over an address that the user pastes."""
    verifier = pkce.make_verifier(secrets.token_bytes(pkce.VERIFIER_ENTROPY))
    state = pkce.make_state(secrets.token_bytes(pkce.STATE_ENTROPY))
    async with callback.listen(state) as listener:
        redirect = pkce.redirect_uri(listener.port)
        url = pkce.authorize_url(
            issuer.url, client_id=issuer.client_id, redirect=redirect, verifier=verifier, state=state, originator=originator
        )
        voice.open_this(url, listener.port, opened=open_browser, pasting=_is_terminal())
        if open_browser:
            # Its own thread: some browsers return only when they are closed.
            Thread(target=webbrowser.open, args=(url,), name="auth: browser", daemon=True).start()
        try:
            code = _code_of(await _answer(listener, state))
            grant = await issuer.exchange_code(code, verifier, redirect)
            await keep(_document(issuer, grant, await _api_key(issuer, grant)))
        except AuthError as error:
            await listener.conclude(str(error))
            raise
        await listener.conclude()


def say(shown: DeviceCode) -> None:
    voice.enter_this(shown.verification_url, shown.user_code, round(device.DEADLINE / 60))


async def with_device(issuer: Issuer, keep: Keep, show: Show = say) -> None:
    """A code to be entered on any other device."""
    shown = await issuer.device_start()
    show(shown)
    granted = await _poll(issuer, shown)
    grant = await issuer.exchange_code(granted.code, granted.verifier, issuer.device_redirect_uri)
    await keep(_document(issuer, grant, None))


def from_file(source: str) -> AuthDocument:
    """A CLI's auth.json; - is stdin."""
    try:
        raw = _read_bounded(source)
    except OSError as error:
        raise AccountFileError(source, reason(error)) from error
    if len(raw) > MAX_FILE_SIZE:
        raise AccountFileError(source, f"it is larger than {MAX_FILE_SIZE} bytes")
    try:
        return AuthDocument.parse(raw)
    except BadDocument as error:
        raise AccountFileError(source, str(error)) from error


def from_api_key(line: str) -> AuthDocument:
    if not line.strip().startswith("sk-") or len(line) > MAX_KEY:
        raise LoginFailed("that is no API key, one begins with sk- and is short", "make one at platform.openai.com/api-keys")
    try:
        return AuthDocument.from_api_key(line)
    except BadDocument as error:
        raise LoginFailed(str(error)) from error


def has_browser(env: Mapping[str, str], platform: str = sys.platform) -> bool:
    """Whether a browser that is opened here is in front of the user."""
    if env.get("BROWSER"):  # also how editors that work over SSH bring it to the user's own screen
        return True
    if env.get("SSH_CONNECTION") or env.get("SSH_TTY"):
        return False
    return platform in ("darwin", "win32") or bool(env.get("DISPLAY") or env.get("WAYLAND_DISPLAY"))


def stdin() -> BinaryIO:
    """Empty if the process was started without one."""
    return sys.stdin.buffer if sys.stdin is not None else io.BytesIO()


async def check_room(account: AccountStore) -> None:
    """Raises SaveFailed now rather than when the user is done at the browser."""
    if why := await account.probe_writable():
        raise SaveFailed(account.where, why)


async def keep(account: AccountStore, document: AuthDocument, issuer: Issuer, *, signed_in_here: bool) -> None:
    """Replaces what the account held. Nobody refreshes the old sign-in any more, so it is ended if it is ours to end."""
    async with account.locked(LOCK_TIMEOUT):
        old, was_ours = await _present(account), (await account.recall()).signed_in_here
        # Forgotten first: killed in between, a sign-in of ours counts as foreign, which is harmless.
        await account.remember(Memory())
        await account.save(document)
        await account.remember(Memory(signed_in_here=signed_in_here))
    if was_ours and old and old.refresh_token and is_another_user(old, document):
        await issuer.revoke(old.refresh_token)


def is_another_user(old: AuthDocument, new: AuthDocument) -> bool:
    """For certain: OpenAI is reported to end all of a user's sign-ins with one (openai/codex#22577), so also the new one."""
    if new.kind == API_KEY:
        return True
    return None not in (old.claims.user_id, new.claims.user_id) and old.claims.user_id != new.claims.user_id


async def _present(account: AccountStore) -> AuthDocument | None:
    with suppress(AuthError):  # a corrupt file is a reason to sign in again
        return await account.read()
    return None


async def _answer(listener: CallbackListener, state: str) -> Answer:
    pasting = asyncio.get_running_loop().create_task(_take_pasted(listener, state), name="auth: pasted address")
    try:
        async with asyncio.timeout(BROWSER_DEADLINE):
            return await listener.answer()
    except TimeoutError:
        raise LoginFailed(f"nobody came back within {BROWSER_DEADLINE / 60:.0f} minutes", "start over") from None
    finally:
        pasting.cancel()


async def _take_pasted(listener: CallbackListener, state: str) -> None:
    async for line in paste.lines():
        match pkce.parse_pasted(line, state):
            case _ if not line.strip():
                continue
            case WrongState():
                voice.foreign_paste()
            case Missing():
                voice.useless_paste()
            case found:
                listener.decide(found)


def _code_of(answer: Answer) -> str:
    match answer:
        case Code(code=code):
            return code
        case Cancelled():
            raise LoginFailed("cancelled, another sign-in asked for the port")
        case Missing():
            raise LoginFailed("the issuer sent neither a code nor an error", "start over")
        case Denied(error="access_denied", description=why) if "missing_codex_entitlement" in why:
            raise LoginFailed(
                "Codex is not enabled for this workspace (missing_codex_entitlement)",
                "ask its administrator, or choose another workspace when you sign in",
            )
        case Denied(error=error, description=description):
            raise LoginFailed(f"the issuer says {error}: {description or 'no reason given'}")


async def _api_key(issuer: Issuer, grant: TokenGrant) -> str | None:
    assert grant.id_token is not None  # exchange_code
    with suppress(TimeoutError):
        async with asyncio.timeout(API_KEY_TIMEOUT):
            return await issuer.api_key_for(grant.id_token)
    return None


async def _poll(issuer: Issuer, shown: DeviceCode) -> device.Granted:
    loop = asyncio.get_running_loop()
    begin, interval = loop.time(), shown.interval
    while True:
        await asyncio.sleep(interval)
        elapsed = loop.time() - begin
        try:
            decision = await issuer.device_poll(shown, interval, elapsed)
        except TryAgainLater:
            decision = device.Wait(interval) if elapsed < device.DEADLINE else device.Expired()
        match decision:
            case device.Granted():
                return decision
            case device.Wait():
                pass
            case device.Slower(seconds=seconds):
                interval = seconds
            case device.Denied(why=why):
                raise LoginFailed(f"the code was refused ({why})", "start over, or sign in with a browser")
            case device.Expired():
                raise LoginFailed("the code has expired", "start over, and enter the new code sooner")


def _document(issuer: Issuer, grant: TokenGrant, api_key: str | None) -> AuthDocument:
    return AuthDocument.from_login(grant, issuer=issuer.url, client_id=issuer.client_id, now=time.time(), api_key=api_key)


def _read_bounded(source: str) -> bytes:
    if source == "-":
        return stdin().read(MAX_FILE_SIZE + 1)
    with Path(source).open("rb") as file:
        return file.read(MAX_FILE_SIZE + 1)


def _is_terminal() -> bool:
    return sys.stdin is not None and os.isatty(sys.stdin.fileno())
