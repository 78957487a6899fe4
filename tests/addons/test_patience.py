"""Tables of what is decided after one failure or a few; properties of whole requests; 10,000 of them, lived to their end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.patience import (
    LIMITS,
    SDK_BRIDGES,
    STALE,
    Again,
    Attempt,
    Decision,
    Limits,
    Stop,
    attempts_for,
    client_retries,
    decide,
    retry_headers,
)
from addons.wire.verdict import SIGN_IN_DEAD, Verdict, of_answer, of_connection, of_failure

NOW = 1_763_700_000.0


def answered(status: int, wait: float | None = None) -> Verdict:
    return of_answer(status, {} if wait is None else {"retry-after": str(wait)}, b"", NOW)


TROUBLE = answered(502)
PACE = answered(429)
TOKEN = answered(401)
REQUEST = answered(400)
NOT_HERE = answered(403)
BLOCKED = answered(451)
USED_UP = of_failure({"type": "usage_limit_reached", "resets_in_seconds": 7200}, NOW)
REFUSED = of_connection("refused")
RESET = of_connection("reset_before_answer")

VERDICTS = [
    *(TROUBLE, PACE, TOKEN, REQUEST, NOT_HERE, BLOCKED, USED_UP, REFUSED, RESET, STALE, SIGN_IN_DEAD),
    *(answered(503, 2), answered(503, 30), answered(429, 0.5), answered(429, 9), answered(429, 40)),
]
HOPEFUL = [verdict for verdict in VERDICTS if verdict.retry]


def after(
    *verdicts: Verdict, accounts_left: bool = False, retries: int = 0, accounts: str = "aaaaaaaa", at: float = NOW
) -> Decision:
    """The decision at `NOW` with the largest jitter, after these, each on the account named by its letter."""
    attempts = [Attempt(account, verdict, at) for account, verdict in zip(accounts, verdicts, strict=False)]
    return decide(attempts, accounts_left=accounts_left, started=NOW, now=NOW, jitter=1.0, client_retries=retries)


ALONE: dict[str, tuple[Decision, float | None]] = {
    "nothing has failed yet": (after(), 0),
    "a 502": (after(TROUBLE), 0.5),
    "a second 502": (after(TROUBLE, TROUBLE), 1),
    "a third 502": (after(TROUBLE, TROUBLE, TROUBLE), 2),
    "a fourth 502": (after(TROUBLE, TROUBLE, TROUBLE, TROUBLE), None),
    "a 503 with a wait": (after(answered(503, 2)), 2.5),
    "a wait that is just bridged": (after(answered(429, 10)), 10),
    "a wait that is not": (after(answered(429, 10.5)), None),
    "a wait of which a part has passed": (after(answered(429, 12), at=NOW - 4), 8.5),
    "a clock that was set back": (after(answered(429, 4), at=NOW + 999), 4.5),
    "too fast": (after(PACE), 0.5),
    "a token": (after(TOKEN), 0),
    "a renewed token": (after(TOKEN, TOKEN), None),
    "a token, after trouble": (after(TROUBLE, TOKEN), 0),
    "a dead sign-in": (after(SIGN_IN_DEAD), None),
    "a used-up plan": (after(USED_UP), None),
    "the request itself": (after(REQUEST), None),
    "a thing this account may not do": (after(NOT_HERE), None),
    "a challenge": (after(BLOCKED), None),
    "no connection": (after(REFUSED), 0.5),
    "no connection, twice": (after(REFUSED, REFUSED), 1),
    "no connection, thrice": (after(REFUSED, REFUSED, REFUSED), None),
    "a certificate": (after(of_connection("tls")), None),
    "a connection that broke": (after(RESET), 0.5),
    "a dead connection": (after(STALE), 0),
    "a dead connection, twice": (after(STALE, STALE), 0.5),
    "a dead connection does not count": (after(TROUBLE, TROUBLE, TROUBLE, STALE), 0),
    "nor does it later": (after(STALE, TROUBLE, TROUBLE, TROUBLE), 2),
    "but once": (after(STALE, TROUBLE, TROUBLE, TROUBLE, TROUBLE), None),
    "a client that has retried": (after(TROUBLE, retries=1), 0.5),
    "a client that has retried, again": (after(TROUBLE, TROUBLE, retries=1), None),
    "a client that has retried often": (after(TROUBLE, retries=9), 0.5),
}


@pytest.mark.parametrize(("decision", "seconds"), ALONE.values(), ids=ALONE)
def test_with_one_account(decision: Decision, seconds: float | None) -> None:
    """`seconds` with the largest jitter; None is the end."""
    if seconds is None:
        assert isinstance(decision, Stop) and decision.why
    else:
        assert isinstance(decision, Again) and not decision.elsewhere
        assert decision.after == pytest.approx(seconds)


IN_COMPANY: dict[str, tuple[Decision, Again]] = {
    "a used-up plan": (after(USED_UP, accounts_left=True), Again(0, True)),
    "too fast": (after(PACE, accounts_left=True), Again(0, True)),
    "too fast, for long": (after(answered(429, 4000), accounts_left=True), Again(0, True)),
    "a dead sign-in": (after(SIGN_IN_DEAD, accounts_left=True), Again(0, True)),
    "a token is renewed first": (after(TOKEN, accounts_left=True), Again(0, False)),
    "a renewed token": (after(TOKEN, TOKEN, accounts_left=True), Again(0, True)),
    "the token of the second account": (after(TOKEN, TOKEN, TOKEN, accounts_left=True, accounts="aab"), Again(0, False)),
    "a thing this account may not do": (after(NOT_HERE, accounts_left=True), Again(0, True)),
    "a 502": (after(TROUBLE, accounts_left=True), Again(0.5, False)),
    "a second 502": (after(TROUBLE, TROUBLE, accounts_left=True), Again(0, True)),
    "no answer after a 502": (after(TROUBLE, RESET, accounts_left=True), Again(0, True)),
    "a first 502 of the second account": (after(TROUBLE, TROUBLE, TROUBLE, accounts_left=True, accounts="aab"), Again(2, False)),
    "a dead connection after a 502": (after(TROUBLE, STALE, accounts_left=True), Again(0, False)),
    "what upstream itself asks for binds all": (after(TROUBLE, answered(503, 2), accounts_left=True), Again(2, True)),
}


@pytest.mark.parametrize(("decision", "expected"), IN_COMPANY.values(), ids=IN_COMPANY)
def test_with_another_account(decision: Decision, expected: Again) -> None:
    assert isinstance(decision, Again) and decision.elsewhere == expected.elsewhere
    assert decision.after == pytest.approx(expected.after)


def test_the_request_itself_is_tried_nowhere_else() -> None:
    assert isinstance(after(REQUEST, accounts_left=True), Stop)
    assert isinstance(after(BLOCKED, accounts_left=True), Stop)


def test_full_jitter_spreads_from_nothing() -> None:
    first = [Attempt("a", TROUBLE, NOW)]
    assert decide(first, accounts_left=False, started=NOW, now=NOW, jitter=0.0) == Again(0.0, False)


def test_no_back_off_is_longer_than_the_cap() -> None:
    limits = Limits(attempts=100, cap=3.0)
    decision = decide([Attempt("a", TROUBLE, NOW)] * 50, accounts_left=False, started=NOW, now=NOW, jitter=1.0, limits=limits)
    assert decision == Again(3.0, False)


def test_the_time_of_a_request_ends() -> None:
    first = [Attempt("a", TROUBLE, NOW)]
    assert isinstance(decide(first, accounts_left=True, started=NOW - LIMITS.seconds - 1, now=NOW, jitter=0.0), Stop)
    assert isinstance(decide(first, accounts_left=True, started=NOW - LIMITS.seconds + 1, now=NOW, jitter=0.0), Again)


def test_the_reason_to_stop_is_told() -> None:
    stopped = after(answered(429, 40))
    assert stopped == Stop(
        "too many requests for now (HTTP 429), asks to wait 40 s; longer than the 10 s that a client is kept waiting"
    )
    assert after(USED_UP) == Stop(f"{USED_UP.reason}; there is no other account")


@pytest.mark.parametrize(
    ("value", "retries"),
    [("0", 0), ("2", 2), ("", 0), ("-1", 0), ("1.0", 0), ("two", 0), ("9" * 5000, 0), ("²", 0), ("٣", 0), (None, 0)],
)
def test_what_an_sdk_tells_of_its_retries(value: str | None, retries: int) -> None:
    assert client_retries({} if value is None else {"x-stainless-retry-count": value}) == retries


# --- what the client is told in the end ----------------------------------------------------------------------------------

STOP = {"x-should-retry": "false"}
TOLD: dict[str, tuple[Verdict, dict[str, str]]] = {
    "trouble": (TROUBLE, {}),
    "trouble with a wait": (answered(503, 2.5), {"retry-after": "3", "retry-after-ms": "2500"}),
    "at once": (answered(503, 0), {}),
    "too fast, an SDK bridges it": (answered(429, 60), {"retry-after": "60", "retry-after-ms": "60000"}),
    "too fast, an SDK does not": (answered(429, 61), {"retry-after": "61", "retry-after-ms": "61000"} | STOP),
    "a plan": (USED_UP, {"retry-after": "7200", "retry-after-ms": "7200000"} | STOP),
    "a plan that comes back soon": (
        USED_UP._replace(wait=None, resets_at=NOW + 19.5),
        {"retry-after": "20", "retry-after-ms": "19500"},
    ),
    "a plan, told of later": (USED_UP._replace(wait=7200, resets_at=NOW + 19), {"retry-after": "19", "retry-after-ms": "19000"}),
    "a plan that is back": (USED_UP._replace(wait=None, resets_at=NOW - 5), {}),
    "a plan that nobody knows of": (USED_UP._replace(wait=None, resets_at=None), STOP),
    "the request itself": (REQUEST, STOP),
    "a thing no account may do": (NOT_HERE, STOP),
    "a token": (TOKEN, STOP),
    "a dead sign-in": (SIGN_IN_DEAD, STOP),
    "a challenge": (BLOCKED, STOP),
    "no connection": (REFUSED, {}),
}


@pytest.mark.parametrize(("verdict", "headers"), TOLD.values(), ids=TOLD)
def test_what_the_client_is_told(verdict: Verdict, headers: dict[str, str]) -> None:
    assert retry_headers(verdict, NOW) == headers


waits = st.floats(0, 1e7)
verdicts = st.sampled_from(VERDICTS) | st.builds(Verdict._replace, st.sampled_from(HOPEFUL), wait=waits, resets_at=st.none())


@given(verdicts)
def test_no_client_is_told_to_come_too_early(verdict: Verdict) -> None:
    headers = retry_headers(verdict, NOW)
    if verdict.wait:
        assert int(headers["retry-after"]) >= verdict.wait and int(headers["retry-after-ms"]) >= verdict.wait * 1000
        assert verdict.wait <= SDK_BRIDGES or headers["x-should-retry"] == "false"


# --- whole requests -------------------------------------------------------------------------------------------------------


@dataclass
class Life:
    """What one request of a client became: where its attempts went, and how long it was kept waiting."""

    attempts: list[Attempt]
    waits: list[float]
    end: Stop | None
    began: float
    ended: float

    @property
    def counted(self) -> int:
        return len(self.attempts) - (STALE in [attempt.verdict for attempt in self.attempts])


def live(
    answer: Callable[[int], tuple[float, Verdict | None]],
    accounts: int,
    jitter: Callable[[], float],
    retries: int = 0,
    limits: Limits = LIMITS,
) -> Life:
    """One request, sent as `decide` says. `answer(n)` is how long the n-th attempt takes and how it fails, if it does.

    What every life must hold is asserted on the way.
    """
    now, account, attempts, waited = NOW, 0, list[Attempt](), list[float]()
    allowed: dict[str, float] = {}
    while True:
        assert now >= allowed.get(str(account), 0.0) - 1e-6, "earlier than asked"
        duration, verdict = answer(len(attempts))
        now += duration
        if verdict is None:
            return Life(attempts, waited, None, NOW, now)
        attempts.append(Attempt(str(account), verdict, now))
        bound = [str(account)] if verdict.blame in ("plan", "pace", "sign_in", "client") else map(str, range(accounts))
        for name in bound:
            allowed[name] = max(allowed.get(name, 0.0), now + (verdict.wait or 0.0))
        decision = decide(
            attempts,
            accounts_left=account + 1 < accounts,
            started=NOW,
            now=now,
            jitter=jitter(),
            client_retries=retries,
            limits=limits,
        )
        if isinstance(decision, Stop):
            return Life(attempts, waited, decision, NOW, now)
        assert verdict.retry, "sent again, and it could not help"
        assert decision.elsewhere or not verdict.elsewhere, "sent again to whoever cannot serve it"
        assert len(attempts) < 100, "for ever"
        waited.append(decision.after)
        now += decision.after
        assert now <= NOW + limits.seconds + 1e-6, "sent again after its time"
        account += decision.elsewhere
        assert account < accounts, "sent to an account that is not there"


limits_of_any_kind = st.builds(
    Limits,
    attempts=st.integers(1, 6),
    network_attempts=st.integers(1, 4),
    attempts_of_a_retry=st.integers(1, 3),
    seconds=st.floats(0, 100),
    longest_wait=st.floats(0, 50),
    base=st.floats(0, 5),
    cap=st.floats(0, 20),
)
jitters = st.floats(0, 1, exclude_max=True)
refusals = st.lists(st.tuples(st.floats(0, 20), verdicts), min_size=1, max_size=12)


def scripted(script: Sequence[tuple[float, Verdict]]) -> Callable[[int], tuple[float, Verdict | None]]:
    return lambda number: script[number] if number < len(script) else (0.0, None)


@given(refusals, st.integers(1, 4), jitters, st.integers(0, 5), limits_of_any_kind)
def test_every_request_ends_in_time(
    script: list[tuple[float, Verdict]], accounts: int, jitter: float, retries: int, limits: Limits
) -> None:
    life = live(scripted(script), accounts, lambda: jitter, retries, limits)
    assert life.counted <= attempts_for(retries, limits) <= limits.attempts
    assert sum(life.waits) <= limits.seconds + 1e-6
    assert all(0 <= wait <= limits.longest_wait for wait in life.waits)
    unanswered = sum(a.verdict.blame == "network" for a in life.attempts) - (len(life.attempts) - life.counted)
    assert unanswered <= limits.network_attempts


def attempts_of(count: int) -> st.SearchStrategy[list[Attempt]]:
    return st.lists(st.builds(Attempt, st.sampled_from("abc"), verdicts, st.floats(NOW - 90, NOW)), max_size=count)


@given(attempts_of(6), st.booleans(), st.floats(NOW - 90, NOW), jitters, st.integers(0, 5))
def test_after_the_first_byte_never(
    attempts: list[Attempt], accounts_left: bool, started: float, jitter: float, retries: int
) -> None:
    decision = decide(
        attempts,
        accounts_left=accounts_left,
        started=started,
        now=NOW,
        jitter=jitter,
        client_retries=retries,
        first_byte_sent=True,
    )
    assert isinstance(decision, Stop)


@given(attempts_of(6), st.booleans(), st.floats(NOW - 90, NOW), jitters, st.integers(0, 5), st.integers(0, 5))
def test_a_client_that_retries_more_gets_no_more(
    attempts: list[Attempt], accounts_left: bool, started: float, jitter: float, few: int, more: int
) -> None:
    def decided(retries: int) -> Decision:
        return decide(attempts, accounts_left=accounts_left, started=started, now=NOW, jitter=jitter, client_retries=retries)

    less, much = decided(few), decided(few + more)
    assert isinstance(much, Stop) or much == less


@given(attempts_of(6), st.floats(), st.floats(), jitters, st.integers())
def test_no_clock_and_no_number_upsets_it(attempts: list[Attempt], started: float, now: float, jitter: float, retries: int) -> None:
    decision = decide(attempts, accounts_left=True, started=started, now=now, jitter=jitter, client_retries=retries)
    assert isinstance(decision, Stop) or 0 <= decision.after <= LIMITS.longest_wait


@pytest.mark.parametrize(("sdk_retries", "sent"), [(0, 4), (1, 6), (2, 8), (5, 14)])
def test_the_retries_of_an_sdk_and_ours_do_not_multiply(sdk_retries: int, sent: int) -> None:
    """openai-python and openai-node make two by default: 8 requests at the most, where 4 times 3 would be 12."""
    lives = [live(lambda number: (0.1, TROUBLE), 1, lambda: 0.9, retries) for retries in range(sdk_retries + 1)]
    assert sum(len(life.attempts) for life in lives) == sent == LIMITS.attempts + 2 * sdk_retries


def test_ten_thousand_requests() -> None:
    """A bad hour: two thirds of the attempts fail, each in its own way. Most requests are served all the same."""
    chance = Random(4711)
    outcomes: dict[str, int] = {"served at once": 0, "served in the end": 0, "refused": 0}
    for _ in range(10_000):

        def answer(number: int) -> tuple[float, Verdict | None]:
            return chance.uniform(0, 5), chance.choice(VERDICTS) if chance.random() < 2 / 3 else None

        retries = chance.choice([0, 0, 0, 1, 2])
        life = live(answer, chance.randint(1, 4), chance.random, retries)
        assert life.counted <= attempts_for(retries)
        if life.end is None:
            outcomes["served in the end" if life.attempts else "served at once"] += 1
        else:
            outcomes["refused"] += 1
            assert life.end.why
    assert sum(outcomes.values()) == 10_000
    assert min(outcomes.values()) > 1000, f"the simulation shows little: {outcomes}"
