"""Signing in from the page: it shows a device code, and the account serves as soon as its owner has typed that code at OpenAI.

    POST   /codex/sign-in       {"account": "default", "replace": false}  ->  id, user_code, verification_uri, expires_in
    GET    /codex/sign-in/{id}  ->  state (waiting, done, failed), why, code, account, email
    DELETE /codex/sign-in/{id}  ends it

A sign-in is a task that ends by itself: with an account, with a refusal, or when the code has expired. Its state is the task's.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson
from mitmproxy import ctx, http
from mitmproxy.utils import asyncio_utils

from addons import engine
from addons.accounts import CodexAccounts
from addons.gate import CodexGate
from addons.guard import FAULT, Refused, guarded, is_open
from addons.wire.errors import OpenAIError, json_object
from auth.authjson import API_KEY, AuthDocument
from auth.errors import AuthError, LoginFailed, SaveFailed, TryAgainLater
from auth.store import DEFAULT, AccountStore, is_own_name

if TYPE_CHECKING:
    from auth.device import DeviceCode

logger = logging.getLogger(__name__)

PATH = "/codex/sign-in"

# What a form or an image of another site cannot send, and what its script may not: there is no CORS here.
PAGE_HEADER = "x-codex-page"

# Sign-ins under way at once. One person does one; a household comes to this.
MOST_WAITING = 3
# Of those that are over, what became of them is told for so many.
MOST_KEPT = 20
# Seconds. A code with less left is not shown again: nobody could type it in time.
WORTH_SHOWING = 120.0


class AccountTaken(LoginFailed):
    """Somebody has signed in, and there is somebody else's account under that name."""

    def __init__(self, name: str, owner: str, newcomer: str) -> None:
        super().__init__(
            f"account {name} is {owner}, and it was {newcomer} who signed in", "take another name, or have it replaced"
        )


# By kind of error: the status with which a sign-in is refused that has not begun, and the code by which a program knows it.
REFUSALS: dict[type[AuthError], tuple[int, str]] = {
    AccountTaken: (409, "account_taken"),
    LoginFailed: (502, "sign_in_failed"),
    TryAgainLater: (503, "auth_unavailable"),
    SaveFailed: (503, "account_unusable"),
}


def refusal_of(error: AuthError) -> OpenAIError:
    status, code = next((REFUSALS[kind] for kind in type(error).__mro__ if kind in REFUSALS), (503, "account_unusable"))
    return OpenAIError(status, str(error), code=code)


@dataclass(slots=True, eq=False)
class SignIn:
    account: AccountStore
    replace: bool
    """What somebody else has under that name."""
    shown: "asyncio.Future[DeviceCode]"
    begun: float
    """By the loop's clock."""
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    email: str | None = None
    task: asyncio.Task[None] = field(init=False, repr=False)

    @property
    def is_waiting(self) -> bool:
        return not self.task.done() and not self.task.cancelling()

    def seconds_left(self) -> float:
        from auth.device import DEADLINE  # with the sign-in itself, see `_sign_in`

        return self.begun + DEADLINE - asyncio.get_running_loop().time()

    def invitation(self) -> dict[str, Any]:
        """What is to be done. `device_auth_id`, with which the code is redeemed, is nobody's business."""
        code = self.shown.result()
        return {
            "object": "codex.sign_in",
            "id": self.id,
            "account": self.account.name,
            "user_code": code.user_code,
            "verification_uri": code.verification_url,
            "expires_in": max(0, round(self.seconds_left())),
        }

    def document(self) -> dict[str, Any]:
        state, code, why = self._outcome()
        return {
            "object": "codex.sign_in",
            "id": self.id,
            "account": self.account.name,
            "state": state,
            "code": code,
            "why": why,
            "email": self.email if state == "done" else None,
        }

    def _outcome(self) -> tuple[str, str | None, str | None]:
        if not self.task.done():
            return "waiting", None, None
        if self.task.cancelled():
            return "failed", "cancelled", "it was cancelled"
        match self.task.exception():
            case None:
                return "done", None, None
            case AuthError() as error:
                return "failed", refusal_of(error).code, str(error)
            case _:
                return "failed", "server_error", FAULT.message


class CodexSignIn:
    """After `CodexGate`, and before whoever wants an account or a slot."""

    def __init__(self, accounts: CodexAccounts, gate: CodexGate) -> None:
        self.accounts = accounts
        self.gate = gate
        self.sign_ins: dict[str, SignIn] = {}
        """By id, the oldest first."""

    def done(self) -> None:
        for sign_in in self.sign_ins.values():
            sign_in.task.cancel()

    @guarded
    def request(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        path = flow.request.path.partition("?")[0]
        asked = path == PATH or path.startswith(f"{PATH}/")
        return self._answer(flow, path) if asked and is_open(flow) else None

    async def _answer(self, flow: http.HTTPFlow, path: str) -> None:
        answers = self._answers(path)
        answer = answers.get(flow.request.method)
        if answer is None:
            allowed = ", ".join(answers)
            raise Refused(OpenAIError(405, f"Not allowed to {flow.request.method} on {path}", headers={"allow": allowed}))
        guest = self.gate.guests.get(flow)
        if flow.request.method != "GET" and (stranger := stranger_of(flow.request, guest.origin if guest else "")):
            raise Refused(stranger)
        document = await answer(flow.request)
        flow.response = engine.json_response(200, orjson.dumps(document), {"cache-control": "no-store"})

    def _answers(self, path: str) -> dict[str, Callable[[http.Request], Awaitable[dict[str, Any]]]]:
        if path == PATH:
            return {"POST": self._begin}
        id = path.removeprefix(f"{PATH}/")
        return {"GET": partial(self._tell, id), "DELETE": partial(self._cancel, id)}

    async def _begin(self, request: http.Request) -> dict[str, Any]:
        name, replace = wanted(request.get_content(strict=False) or b"")
        if ctx.options.codex_accounts:
            # What is signed in here is kept in the proxy's own folder, and nobody would look there.
            raise Refused(
                OpenAIError(409, "the option codex_accounts names the accounts, so none is added here", code="accounts_are_set")
            )
        sign_in = self._under_way(name)
        if sign_in:
            sign_in.replace |= replace
        else:
            sign_in = self._start(name, replace)
        either: tuple[asyncio.Future[Any], ...] = (sign_in.task, sign_in.shown)
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if sign_in.shown.done():
            return sign_in.invitation()
        self.sign_ins.pop(sign_in.id, None)
        error = None if sign_in.task.cancelled() else sign_in.task.exception()
        raise Refused(refusal_of(error) if isinstance(error, AuthError) else FAULT)

    async def _tell(self, id: str, request: http.Request) -> dict[str, Any]:
        return self._known(id).document()

    async def _cancel(self, id: str, request: http.Request) -> dict[str, Any]:
        sign_in = self._known(id)
        sign_in.task.cancel()
        await asyncio.wait({sign_in.task})
        return sign_in.document()

    def _known(self, id: str) -> SignIn:
        if sign_in := self.sign_ins.get(id):
            return sign_in
        raise Refused(OpenAIError(404, "there is no such sign-in, or it was too long ago", code="no_sign_in"))

    def _under_way(self, name: str) -> SignIn | None:
        """The one for that name, whoever began it: a page that is loaded again, or a second one, shows the same code."""
        for sign_in in self.sign_ins.values():
            if sign_in.account.name == name and sign_in.is_waiting:
                if sign_in.seconds_left() >= WORTH_SHOWING:
                    return sign_in
                sign_in.task.cancel()
        return None

    def _start(self, name: str, replace: bool) -> SignIn:
        if sum(sign_in.is_waiting for sign_in in self.sign_ins.values()) >= MOST_WAITING:
            raise Refused(
                OpenAIError(
                    429,
                    f"{MOST_WAITING} sign-ins wait for their codes already: finish one, or cancel it",
                    code="too_many_sign_ins",
                    headers={"retry-after": "60"},
                )
            )
        try:
            account = self.accounts.roster.place.own(name)
        except AuthError as e:
            raise Refused(refusal_of(e)) from e
        loop = asyncio.get_running_loop()
        sign_in = SignIn(account, replace, loop.create_future(), loop.time())
        sign_in.task = asyncio_utils.create_task(self._sign_in(sign_in), name=f"codex sign-in {name}", keep_ref=False)
        sign_in.task.add_done_callback(partial(_say_how_it_ended, name))
        self.sign_ins[sign_in.id] = sign_in
        self._forget_the_oldest()
        return sign_in

    def _forget_the_oldest(self) -> None:
        over = [id for id, sign_in in self.sign_ins.items() if not sign_in.is_waiting]
        for id in over[: max(0, len(over) - MOST_KEPT)]:
            del self.sign_ins[id]

    async def _sign_in(self, sign_in: SignIn) -> None:
        # Nearly no start of the proxy leads to a sign-in from here, and to import what it takes is some milliseconds.
        from auth import login

        issuer = self.accounts.issuer
        assert issuer

        async def keep(document: AuthDocument) -> None:
            if not sign_in.replace:
                await check_owner(sign_in.account, document)
            await login.keep(sign_in.account, document, issuer, signed_in_here=True)
            sign_in.email = document.claims.email

        await login.check_room(sign_in.account)
        await login.with_device(issuer, keep, sign_in.shown.set_result)
        await self.accounts.find()
        await self.accounts.look_again()


def wanted(body: bytes) -> tuple[str, bool]:
    """The name of the account, and whether somebody else's may be replaced. Raises Refused."""
    asked = json_object(body)
    name, replace = asked.get("account", DEFAULT), asked.get("replace", False)
    if not isinstance(name, str) or not is_own_name(name):
        raise Refused(
            OpenAIError(400, "account: up to 64 letters, digits, dots, - and _, and no dot at the beginning", param="account")
        )
    if not isinstance(replace, bool):
        raise Refused(OpenAIError(400, "replace: neither true nor false", param="replace"))
    return name, replace


def stranger_of(request: http.Request, origin: str) -> OpenAIError | None:
    """Why this comes neither from our own page nor from a program. Of other pages the gate lets in those that may use the API
    (`origin` is of such a one), and that is not enough.
    """
    if origin and not is_own_origin(origin, request.host_header):
        return OpenAIError(403, "this is for the proxy's own page, and it was another site that asked", code="origin_not_allowed")
    if request.headers.get(PAGE_HEADER) != "1":
        return OpenAIError(403, f"this changes something: send the header {PAGE_HEADER}: 1 with it", code="page_header_missing")
    return None


def is_own_origin(origin: str, host: str | None) -> bool:
    """Without the scheme: whoever puts TLS in front of the proxy serves https pages from it."""
    try:
        return bool(host) and urlsplit(origin).netloc.lower() == str(host).lower()
    except ValueError:
        return False


async def check_owner(account: AccountStore, new: AuthDocument) -> None:
    """Raises AccountTaken. Who signs in is known only now."""
    from auth.login import is_another_user

    old = None
    with suppress(AuthError):  # nobody's, or a file that nobody can use
        old = await account.read()
    if old and old.kind == API_KEY:
        raise AccountTaken(account.name, "an API key", _person(new))
    if old and is_another_user(old, new):
        raise AccountTaken(account.name, _person(old), _person(new))


def _person(document: AuthDocument) -> str:
    return document.claims.email or "somebody without an e-mail address"


def _say_how_it_ended(name: str, task: asyncio.Task[None]) -> None:
    if task.cancelled():
        return
    match task.exception():
        case None:
            logger.info("account %s: signed in from the page", name)
        case AuthError() as error:
            logger.info("account %s: %s", name, error)
        case fault:
            logger.error("account %s: the sign-in from the page failed", name, exc_info=fault)
