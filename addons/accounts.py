"""The signed-in accounts as the addons see them: kept fresh in the background, lent to a flow, renewed after a 401.

The only addon that talks to `auth`. Which account a request gets is the pool's decision (pool/), and what `auth` raises becomes
the answer that the client gets, by one table.
"""

import asyncio
import logging
import math
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import orjson
from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader
from mitmproxy.utils import asyncio_utils

from addons import engine, heads
from addons.guard import Refused, guarded, is_open
from addons.names import user_agent
from addons.patience import LIMITS, retry_headers
from addons.policy import AccountRules
from addons.pool import Choice, Nobody, Standing
from addons.redact import CLIENT
from addons.roster import Roster
from addons.wire.conversation import conversation_keys, response_key
from addons.wire.errors import OpenAIError
from addons.wire.quota import Quota
from addons.wire.verdict import SIGN_IN_DEAD, Verdict
from auth.errors import AccountFileError, AuthError, BadSetting, LoginRequired, NotSignedIn, TokenRejected, TryAgainLater
from auth.issuer import Issuer
from auth.outbound import Outbound
from auth.places import accounts_named_twice
from auth.shared import Shared
from auth.source import Credential, TokenSource

logger = logging.getLogger(__name__)

ACCOUNT, ACCOUNT_KIND, ACCOUNT_WHY = "codex.account", "codex.account_kind", "codex.account_why"

# The id of the answer, for requests that go on from it.
RESPONSE_ID = "codex.response_id"

# A client may ask for an account by name: to look into a fault, or to repeat what another request did.
WANTED = "x-codex-account"
_WANTED = WANTED.encode()

# Seconds between two looks for accounts that were added or removed.
SEARCH_EVERY = 5.0

# What the client is told, by what it (or its user) can do. The SDKs retry 5xx by themselves unless told not to.
# A dead sign-in is a 401: nothing the client repeats will help, and no SDK retries it.
ANSWERS: dict[type[AuthError], tuple[int, str, bool]] = {
    NotSignedIn: (401, "login_required", False),
    LoginRequired: (401, "login_required", False),
    AccountFileError: (503, "account_unusable", False),
    TryAgainLater: (503, "auth_unavailable", True),
    TokenRejected: (502, "upstream_auth_error", False),
}
# The same for accounts that upstream does not want to hear from.
ABSENCES = {
    "plan": (429, "usage_limit_reached"),
    "pace": (429, "rate_limit_exceeded"),
    "blocked": (403, "upstream_blocked"),
    "sign_in": (502, "upstream_auth_error"),
}


def refusal(error: AuthError) -> Refused:
    status, code, retry = next((ANSWERS[kind] for kind in type(error).__mro__ if kind in ANSWERS), (500, "server_error", False))
    headers = {} if retry else {"x-should-retry": "false"}
    if retry and isinstance(error, TryAgainLater) and error.retry_after:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))  # a second too early would be refused again
    return Refused(OpenAIError(status, str(error), code=code, headers=headers))


def absence(nobody: Nobody, plan: str | None, now: float) -> Refused:
    """No account may be asked now; in the words in which upstream would refuse it, for clients that know them."""
    first = nobody.first
    status, code = ABSENCES.get((first and first.blame) or "", (503, "no_account"))
    until = nobody.until
    seconds = None if until is None else max(0.0, until - now)
    verdict = Verdict((first and first.blame) or "network", True, True, seconds, until, "")
    more: dict[str, Any] = {}
    if code == "usage_limit_reached" and until is not None:
        more = {"plan_type": plan, "resets_at": math.ceil(until), "resets_in_seconds": math.ceil(until - now)}
    when = "" if seconds is None else f"; back in {in_words(seconds)}"
    message = f"no account can serve now: {nobody}{when} (`python -m auth status` shows the plans)"
    kind = code if code == "usage_limit_reached" else ""
    return Refused(OpenAIError(status, message, code=code, type=kind, headers=retry_headers(verdict, now), more=more))


def in_words(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds), 60)
    if not minutes:
        return f"{rest} s"
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [f"{days} d" if days else "", f"{hours} h" if hours else "", f"{minutes} min" if minutes and not days else ""]
    return " ".join(part for part in parts if part)


class NotRenewed(Exception):
    """There is no other token than the one that is refused: for now, or until somebody signs in again."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(str(refused))
        self.refused = refused


class Loan(NamedTuple):
    """An account on its way with a request."""

    source: TokenSource
    credential: Credential
    choice: Choice


@dataclass(slots=True, eq=False)
class Lent:
    """What one request has had of the accounts."""

    wanted: str = ""
    """The only one that it may have, if it has named one."""
    tried: set[str] = field(default_factory=set)
    choice: Choice | None = None
    """The latest."""
    is_open: bool = False
    """As long as the loan that it was for is under way."""


class CodexAccounts:
    """Before every addon that has to know the account. Tags the flow with the account's name and kind."""

    def __init__(self, outbound: Outbound, rules: Callable[[], AccountRules], shared: Shared | None = None) -> None:
        self.outbound = outbound
        self.rules = rules
        self.issuer: Issuer | None = None
        self.shared = shared
        self.roster = Roster(os.environ, shared)
        self.lent: engine.OnFlow[Lent] = engine.OnFlow("lent")
        self.loans: WeakKeyDictionary[http.HTTPFlow, Loan] = WeakKeyDictionary()
        """The latest of each, and not on the flow: no credential ever is."""
        self.dead: dict[str, AuthError] = {}
        """By name, what was wrong with a sign-in that is out; the roster knows for how long that holds."""
        self.refused: dict[str, Credential] = {}
        """By name, a token that upstream has refused, and that could not be replaced at the time."""
        self.may_probe: Callable[[str], Awaitable[bool]] | None = None
        """Of several proxies, one at a time."""
        self.background: list[asyncio.Task[None]] = []

    def load(self, loader: Loader) -> None:
        loader.add_option(
            "codex_accounts",
            Sequence[str],
            [],
            "Account files (auth.json as the Codex CLI writes it) or folders that hold them. Unset: the accounts of `make login`, "
            "and if there are none, the Codex CLI's own file, which is then used in place.",
        )
        loader.add_option(
            "codex_issuer_url",
            str,
            "https://auth.openai.com",
            "Base URL of the sign-in service that refreshes tokens. http is accepted for loopback hosts only.",
        )
        loader.add_option(
            "codex_originator",
            str,
            "codex_mitm",
            "How the proxy names itself upstream (originator and user-agent headers). A Codex CLI behind the proxy keeps its own.",
        )

    def configure(self, updated: set[str]) -> None:
        if updated & {"codex_accounts", "codex_issuer_url", "codex_originator"}:
            originator = ctx.options.codex_originator
            try:
                self.issuer = Issuer(ctx.options.codex_issuer_url, self.outbound, user_agent(originator), originator=originator)
            except BadSetting as e:
                raise exceptions.OptionsError(str(e)) from e
            if self.shared and ctx.options.codex_accounts:
                raise exceptions.OptionsError(str(accounts_named_twice()))
            self.roster.forget()

    def running(self) -> None:
        if ctx.options.codex_mode == "forward":
            return  # clients bring their own sign-in; who else renewed it would sign them out
        self.background = [
            asyncio_utils.create_task(self._watch(), name="codex token refresh", keep_ref=False),
            asyncio_utils.create_task(self.roster.place.watch(), name="codex accounts elsewhere", keep_ref=False),
        ]

    def done(self) -> "asyncio.Task[None]":
        """Returns a task: mitmproxy waits for it at shutdown, where a refresh under way must get its answer onto the disk.
        A reload of the script calls it too, and cannot wait; a coroutine function would be refused there.
        """
        for task in self.background:
            task.cancel()
        return asyncio_utils.create_task(self._close(), name="codex accounts close", keep_ref=True)

    @guarded
    async def request(self, flow: http.HTTPFlow) -> None:
        if not is_open(flow):
            return
        lent, headers = Lent(), flow.request.headers
        self.lent[flow] = lent
        if heads.has(headers, _WANTED):
            lent.wanted = headers[WANTED]
            heads.take_off(headers, {_WANTED})
        if lent.wanted:
            await self._find_if_none()
            if lent.wanted not in self.roster.sources:
                raise Refused(OpenAIError(400, f"there is no account '{lent.wanted[:64]}' here", code="no_account", param=WANTED))
        await self._lend(flow, lent)

    # -- lending

    async def lend_another(self, flow: http.HTTPFlow) -> Credential:
        """An account that this request was not tried on, and of the same kind: another has another upstream. Raises Refused."""
        return await self._lend(flow, self._lent(flow), self.loans[flow].credential.kind)

    def others_left(self, flow: http.HTTPFlow) -> bool:
        return self.roster.could_serve(self.rules().members, self._out_of_question(self._lent(flow)))

    async def renew(self, flow: http.HTTPFlow) -> Credential:
        """Another credential of the account that was lent to this flow, whose token is refused upstream. Raises NotRenewed."""
        loan = self.loans[flow]
        try:
            renewed = loan._replace(credential=await loan.source.renew(loan.credential))
        except AuthError as e:
            self.refused[loan.choice.name] = loan.credential
            if isinstance(e, LoginRequired):
                self._is_dead(loan.choice, e)
            raise NotRenewed(refusal(e)) from e
        self.loans[flow] = renewed
        return renewed.credential

    async def credential_of(self, name: str) -> Credential | None:
        """For questions about an account. None if it has none that is good."""
        source, asked_at = self.roster.sources.get(name), self.roster.clock()
        if source is None:
            return None
        try:
            credential = await source.get()
            # Its own times say that it is good, and upstream has said that it is not.
            if (refused := self.refused.get(name)) and credential.bearer == refused.bearer:
                credential = await source.renew(refused)
            self.refused.pop(name, None)
            return credential
        except LoginRequired as e:
            self._is_dead(Choice(name, "asked about", asked_at), e)
        except AuthError:
            pass  # told to the request that needs it
        return None

    def lent_to(self, flow: http.HTTPFlow) -> Credential:
        return self.loans[flow].credential

    def _lent(self, flow: http.HTTPFlow) -> Lent:
        lent = self.lent.get(flow)
        assert lent, "this request has never asked for an account"
        return lent

    def give_back(self, flow: http.HTTPFlow) -> None:
        """The request is over, however it ended; the next turn of its conversation is at home where this one was."""
        if (lent := self.lent.get(flow)) and lent.choice:
            self._end(lent)
            if answered := flow.metadata.get(RESPONSE_ID):
                self.roster.pool.homes.settle([response_key(answered)], lent.choice.name, self.roster.clock())

    async def _lend(self, flow: http.HTTPFlow, lent: Lent, kind: str | None = None) -> Credential:
        if not self.roster.sources:
            await self._find_if_none()
        await self.look_again()
        keys = self._keys(flow)
        wait_until = self.roster.clock() + LIMITS.longest_wait
        trouble: AuthError | None = None
        while True:
            choice = self.roster.choose(self.rules().members, keys, self._out_of_question(lent))
            if isinstance(choice, Nobody):
                await self._wait_or_refuse(choice, trouble, wait_until)
                await self.look_again()
                continue
            if choice.probe and self.may_probe and not await self.may_probe(choice.name):
                self.roster.pool.not_sent(choice)
                continue
            lent.tried.add(choice.name)
            source = self.roster.sources[choice.name]
            try:
                credential = await source.get(self.roster.stamps.get(choice.name))
            except AuthError as e:
                trouble = e
                self.roster.pool.not_sent(choice)
                if isinstance(e, LoginRequired):
                    self._is_dead(choice, e)
                continue
            if kind in (None, credential.kind):
                self._hand_over(flow, lent, Loan(source, credential, choice))
                return credential
            self.roster.pool.not_sent(choice)

    async def _wait_or_refuse(self, nobody: Nobody, trouble: AuthError | None, wait_until: float) -> None:
        """Returns when it is worth choosing again, else raises Refused."""
        for absent in nobody.absences:
            if absent.blame == "sign_in" and trouble is None:
                trouble = await self._trouble_of(absent.name)
        now, first = self.roster.clock(), nobody.first
        if trouble and (first is None or first.tried or first.blame == "sign_in"):
            raise refusal(trouble)
        if first is None or first.tried or first.until is None or first.until > wait_until:
            raise absence(nobody, self._plan_of(first.name) if first else None, now)
        await asyncio.sleep(max(0.05, first.until - now))

    async def _trouble_of(self, name: str) -> AuthError | None:
        """What is wrong with it, in the words of whoever knows."""
        if name not in self.dead:
            try:
                await self.roster.sources[name].get()
            except AuthError as e:
                return e
        return self.dead.get(name)

    def _is_dead(self, choice: Choice, error: LoginRequired) -> None:
        self.dead[choice.name] = error
        self.roster.pool.failed(choice, SIGN_IN_DEAD, self.roster.clock())

    def _hand_over(self, flow: http.HTTPFlow, lent: Lent, loan: Loan) -> None:
        self._end(lent)
        self.roster.pool.started(loan.choice)
        self.loans[flow], lent.choice, lent.is_open = loan, loan.choice, True
        flow.metadata[ACCOUNT] = loan.credential.account
        flow.metadata[ACCOUNT_KIND] = loan.credential.kind
        flow.metadata[ACCOUNT_WHY] = loan.choice.why

    def _end(self, lent: Lent) -> None:
        if lent.choice and lent.is_open:
            lent.is_open = False
            self.roster.pool.ended(lent.choice)

    def _out_of_question(self, lent: Lent) -> set[str]:
        return lent.tried | {name for name in self.roster.sources if name != lent.wanted} if lent.wanted else lent.tried

    def _keys(self, flow: http.HTTPFlow) -> list[str]:
        """With one account there is nothing to keep together, and no body is read for it."""
        if len(self.roster.sources) < 2:
            return []
        return conversation_keys(flow.request.headers, lambda: _body(flow), flow.metadata.get(CLIENT, ""))

    def _plan_of(self, name: str) -> str | None:
        account = self.roster.pool.accounts.get(name)
        return account.quota.plan if account and account.quota else None

    # -- what upstream says of an account

    def served(self, flow: http.HTTPFlow) -> None:
        if (lent := self.lent.get(flow)) and lent.choice:
            self.roster.pool.succeeded(lent.choice, self.roster.clock())

    def failed(self, flow: http.HTTPFlow, verdict: Verdict) -> None:
        if (lent := self.lent.get(flow)) and lent.choice:
            self.roster.pool.failed(lent.choice, verdict, self.roster.clock())

    def heard(self, flow: http.HTTPFlow, quota: Quota | None) -> None:
        if quota and (lent := self.lent.get(flow)) and lent.choice:
            self.roster.pool.heard(lent.choice.name, quota, self.roster.clock(), lent.choice.at)

    def standings(self) -> list[Standing]:
        return self.roster.view(self.rules().members)

    # -- finding and refreshing

    async def _find_if_none(self) -> None:
        """Raises Refused."""
        try:
            if not self.roster.sources:
                await self.find()
            if not self.roster.sources:
                raise self.roster.place.nobody()
        except AuthError as e:
            raise refusal(e) from e

    async def find(self) -> None:
        """Looks for accounts that came or went. Raises AccountFileError, BadSetting, RedisAway."""
        assert self.issuer
        self.roster.pool.rules = self.rules().pool
        await self.roster.find(ctx.options.codex_accounts, self.issuer)

    async def look_again(self) -> None:
        """At accounts that are known: somebody may have signed in anew."""
        for name in await self.roster.look_again():
            self.dead.pop(name, None)

    async def _watch(self) -> None:
        """Says who is signed in, refreshes ahead of time, and notices accounts that come and go: a sign-in needs no restart."""
        await self._introduce()
        while True:
            try:
                await self.find()
            except AuthError as e:
                logger.debug("accounts not searched: %s", e)
            naps = [await source.refresh_ahead() for source in self.roster.sources.values()]
            await self.roster.save()
            await asyncio.sleep(min([*naps, SEARCH_EVERY]))

    async def _introduce(self) -> None:
        try:
            await self.find()
            if not self.roster.sources:
                raise self.roster.place.nobody()
        except AuthError as e:
            logger.warning("%s", e)
            return
        for source in list(self.roster.sources.values()):
            try:
                credential = await source.get()
            except AuthError as e:
                logger.warning("%s", e)
            else:
                logger.info("account %s (%s)", credential.account, credential.kind)

    async def _close(self) -> None:
        for source in self.roster.sources.values():
            await source.aclose()
        await self.roster.save(at_once=True)
        if self.issuer:
            await self.issuer.aclose()
        if self.shared:
            await self.shared.aclose()


def _body(flow: http.HTTPFlow) -> dict[str, Any]:
    try:
        body = orjson.loads(flow.request.get_content(strict=False) or b"")
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}
