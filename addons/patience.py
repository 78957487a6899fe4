"""May a request that failed be sent again, when, and where. Pure: time and chance are parameters.

`decide` is asked after each attempt that failed, with all attempts of this request so far. It promises, whatever comes:

    nothing is sent again once the client has its first byte
    no wait is shorter than what is asked of the account, or of everybody, and none is longer than `Limits.longest_wait`; of a
    longer one the client is told, with `retry_headers`
    all waits of a request end within `Limits.seconds` of its begin
    a request is sent at most `Limits.attempts` times, and once more for a connection that was dead before it went out
    a client that repeats the request by itself makes it fewer (`attempts_for`)

A request that upstream may have worked on (it answered 500, the connection broke before the answer) is sent again all the same,
as the Codex CLI and the SDKs do: it asks for a text, and what it costs to ask twice is a part of the plan, nothing else.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from addons.wire.verdict import Verdict, of_connection


class Limits(NamedTuple):
    """Of one request. `seconds` and `longest_wait` pass without a byte to the client: nginx gives up after 60 s, others later."""

    attempts: int = 4
    """One less than the Codex CLI makes for itself on an HTTP error (`request_max_retries` 4)."""
    network_attempts: int = 3
    """Of them, those that get no answer at all."""
    attempts_of_a_retry: int = 2
    seconds: float = 60.0
    longest_wait: float = 10.0
    base: float = 0.5
    """The first back-off lies between 0 and this, each of the next between 0 and twice as much, up to `cap`: the SDKs' numbers."""
    cap: float = 8.0


LIMITS = Limits()

# Seconds. openai-node waits as long as `retry-after` says up to here, openai-python up to 120; beyond, both go their own way.
SDK_BRIDGES = 60.0

# It says something about the connection and nothing about upstream: the request never reached anybody.
STALE = of_connection("stale")

# What is asked of one account does not bind another one. What upstream in trouble asks for binds all.
OF_THE_ACCOUNT = frozenset({"plan", "pace", "sign_in", "client"})
TROUBLE = frozenset({"upstream", "network"})


class Attempt(NamedTuple):
    """One that failed. `at` is when its verdict came, by the clock of `started` and `now`."""

    account: str
    verdict: Verdict
    at: float


class Again(NamedTuple):
    """Send it once more in `after` seconds. `elsewhere`: on an account that this request has not been tried on; otherwise on the
    last one, with its token renewed if the last verdict is a `sign_in`. If that cannot be done, `SIGN_IN_DEAD` takes the place of
    the last verdict, and `decide` is asked again."""

    after: float
    elsewhere: bool


class Stop(NamedTuple):
    """The client gets the answer. `why` is for logs and `explain`."""

    why: str


Decision = Again | Stop


def decide(
    attempts: Sequence[Attempt],
    *,
    accounts_left: bool,
    started: float,
    now: float,
    jitter: float,
    client_retries: int = 0,
    first_byte_sent: bool = False,
    limits: Limits = LIMITS,
) -> Decision:
    """`accounts_left`: there is one that could serve now and that this request has not been tried on. `jitter` lies in [0, 1).
    `client_retries` is the number in the client's `x-stainless-retry-count`."""
    if first_byte_sent:
        return Stop("the client has a part of the answer")
    if not attempts:
        return Again(0.0, False)
    last = attempts[-1]
    if reason := _forbidden(attempts, accounts_left, client_retries, limits):
        return Stop(reason)
    elsewhere = accounts_left and _leaves(attempts)
    asked = 0.0 if elsewhere and last.verdict.blame in OF_THE_ACCOUNT else _still_asked(last, now)
    if asked > limits.longest_wait:
        return Stop(f"{last.verdict.reason}; longer than the {limits.longest_wait:g} s that a client is kept waiting")
    after = asked if elsewhere or _is_mended(attempts) else min(limits.longest_wait, asked + _back_off(attempts, jitter, limits))
    if now - started + after > limits.seconds:
        return Stop(f"{last.verdict.reason}; the {limits.seconds:g} s of a request are over")
    return Again(after, elsewhere)


def attempts_for(client_retries: int, limits: Limits = LIMITS) -> int:
    """How often this request may go out. A client that makes n retries of its own causes attempts + 2 n requests in all, not
    attempts x (n + 1)."""
    return limits.attempts if client_retries <= 0 else min(limits.attempts, limits.attempts_of_a_retry)


def retry_headers(verdict: Verdict, now: float) -> dict[str, str]:
    """What steers the client's own retries, for the answer that it gets in the end. `now` is unix time. Waits are rounded up,
    because a moment too early is one more refusal."""
    # A moment stays true when the verdict is an old one, of the account and not of this request.
    seconds = verdict.wait if verdict.resets_at is None else max(0.0, verdict.resets_at - now)
    headers: dict[str, str] = {}
    if seconds:
        headers |= {"retry-after": str(math.ceil(seconds)), "retry-after-ms": str(math.ceil(seconds * 1000))}
    if _is_hopeless(verdict, seconds):
        headers["x-should-retry"] = "false"
    return headers


def client_retries(headers: Mapping[str, str]) -> int:
    """From `x-stainless-retry-count`, which the openai SDKs send with every request: 0 with the first, and for other clients."""
    told = headers.get("x-stainless-retry-count", "")
    return int(told) if told.isascii() and told.isdigit() and len(told) < 5 else 0


def _is_hopeless(verdict: Verdict, seconds: float | None) -> bool:
    if not verdict.retry or verdict.blame in ("client", "sign_in"):
        return True
    return verdict.blame == "plan" if seconds is None else seconds > SDK_BRIDGES


def _forbidden(attempts: Sequence[Attempt], accounts_left: bool, client_retries: int, limits: Limits) -> str | None:
    last = attempts[-1].verdict
    if not last.retry:
        return last.reason
    if not accounts_left and (last.elsewhere or _is_token_refused_again(attempts)):
        return f"{last.reason}; there is no other account"
    counted = _counted(attempts)
    if len(counted) >= attempts_for(client_retries, limits):
        return f"{last.reason}; it was attempt {len(counted)}"
    unanswered = sum(attempt.verdict.blame == "network" for attempt in counted)
    if last.blame == "network" and unanswered >= limits.network_attempts:
        return f"{last.reason}; no answer {unanswered} times"
    return None


def _counted(attempts: Sequence[Attempt]) -> list[Attempt]:
    """All but the first that went out on a dead connection."""
    stale = next((attempt for attempt in attempts if attempt.verdict == STALE), None)
    return [attempt for attempt in attempts if attempt is not stale]


def _leaves(attempts: Sequence[Attempt]) -> bool:
    """Whether another account is better than this one once more. A token gets its renewal first: peers that went elsewhere at
    once lost accounts that only had to renew theirs."""
    last = attempts[-1]
    if last.verdict.elsewhere or last.verdict.blame in ("plan", "pace") or _is_token_refused_again(attempts):
        return True
    troubled = [a for a in _counted(attempts) if a.account == last.account and a.verdict.blame in TROUBLE]
    return last.verdict.blame in TROUBLE and len(troubled) > 1


def _is_token_refused_again(attempts: Sequence[Attempt]) -> bool:
    last = attempts[-1]
    return last.verdict.blame == "sign_in" and sum(a.account == last.account and a.verdict.blame == "sign_in" for a in attempts) > 1


def _is_mended(attempts: Sequence[Attempt]) -> bool:
    """The next attempt goes out without what made this one fail: with another token, on another connection."""
    verdict = attempts[-1].verdict
    return verdict.blame == "sign_in" or (verdict == STALE and sum(a.verdict == STALE for a in attempts) == 1)


def _still_asked(last: Attempt, now: float) -> float:
    """What is left of the wait. A clock that was set back ends none of it."""
    return max(0.0, (last.verdict.wait or 0.0) - max(0.0, now - last.at))


def _back_off(attempts: Sequence[Attempt], jitter: float, limits: Limits) -> float:
    """Full jitter, so that many requests that failed together do not come back together."""
    return jitter * min(limits.cap, limits.base * 2.0 ** min(len(_counted(attempts)) - 1, 10))
