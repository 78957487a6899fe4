"""`GET /healthz`: the process is alive. `GET /readyz`: a request that came now would go upstream; else why not, and until when.

Both need no key, because load balancers and orchestrators have none. So neither names an account or a file.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Mapping, Sequence
from typing import NamedTuple

import orjson
from mitmproxy import http

from addons import engine, probes
from addons.accounts import CodexAccounts, in_words
from addons.guard import guarded, is_open
from addons.pool.health import State
from addons.wire.errors import OpenAIError
from addons.wire.quota import moment
from addons.wire.verdict import Blame

# Seconds. Orchestrators wait for one second by default (Kubernetes' timeoutSeconds), and a refresh may take forty.
PATIENCE = 0.8

# Those that a request can be sent to. An account that rests would only say no once more.
USABLE: tuple[State, ...] = ("serving", "avoided")

NO_STORE = {"cache-control": "no-store"}


class Idle(NamedTuple):
    """An account that cannot serve now."""

    state: State
    blame: Blame | None = None
    until: float | None = None


# With the codes with which a request would be refused.
WHY: Mapping[Blame | None, tuple[str, str]] = {
    "plan": ("usage_limit_reached", "the plan of every account is used up"),
    "pace": ("rate_limit_exceeded", "upstream wants to be left alone for a while"),
    "blocked": ("upstream_blocked", "upstream blocks the network that this proxy is in"),
}
NOBODY = "login_required", "nobody is signed in; run `make login`"
DEAD = "login_required", "every sign-in has ended; run `make login`"
NO_TOKEN = "auth_unavailable", "no account has a token that is good, and none can be had at the moment; the log says why"


def not_ready(idle: Sequence[Idle], now: float) -> OpenAIError:
    """Of several reasons that of the account which is back first."""
    if not idle:
        return unready(*NOBODY)
    if any(account.state in USABLE for account in idle):
        return unready(*NO_TOKEN)
    first = min(idle, key=lambda account: (account.state == "out", account.until or math.inf))
    if first.state == "out":
        return unready(*DEAD)
    return unready(*WHY.get(first.blame, NO_TOKEN), until=first.until, now=now)


def unready(code: str, why: str, *, until: float | None = None, now: float = 0.0) -> OpenAIError:
    if until is None:
        return OpenAIError(503, f"not ready: {why}", code=code, headers=NO_STORE)
    seconds = max(1, math.ceil(until - now))
    return OpenAIError(
        503,
        f"not ready: {why}; back in {in_words(seconds)}",
        code=code,
        headers=NO_STORE | {"retry-after": str(seconds)},
        more={"until": moment(until)},
    )


class CodexHealth:
    """After `CodexGate`, and before whoever wants an account or a slot."""

    def __init__(self, accounts: CodexAccounts) -> None:
        self.accounts = accounts
        self.draining: str | None = None
        """Why no more requests are wanted, as `the proxy is shutting down`. Set by whoever ends the proxy."""

    @guarded
    def request(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        return self._answer(flow) if probes.is_probe(flow) and is_open(flow) else None

    async def _answer(self, flow: http.HTTPFlow) -> None:
        path = probes.bare(flow.request.path)
        if path == probes.HEALTH:
            flow.response = told("alive")
        elif path == probes.READY:
            trouble = await self._trouble()
            flow.response = engine.error_response(trouble) if trouble else told("ready")

    async def _trouble(self) -> OpenAIError | None:
        if self.draining is not None:
            return unready("proxy_stopped", self.draining)
        try:
            async with asyncio.timeout(PATIENCE):
                if await self._has_a_token():
                    return None
        except TimeoutError:
            pass  # it is being renewed, and whoever asks again may find it
        now = time.time()
        return not_ready([self._idle(name, now) for name in self.accounts.roster.sources], now)

    async def _has_a_token(self) -> bool:
        await self.accounts.look_again()
        for standing in self.accounts.standings():
            if standing.state in USABLE and await self.accounts.credential_of(standing.name):
                return True
        return False

    def _idle(self, name: str, now: float) -> Idle:
        account = self.accounts.roster.pool.accounts.get(name)
        if account is None:
            return Idle("serving")
        cooling = account.cooled(now)
        return Idle(account.state(now), cooling.blame if cooling else None, cooling.until if cooling else None)


def told(status: str) -> http.Response:
    return engine.json_response(200, orjson.dumps({"status": status}), NO_STORE)
