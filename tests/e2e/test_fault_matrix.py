"""Every fault of upstream's, in every way in which a client can meet it: what it is told, once and in good form, and after how many
requests.

A cell of the matrix is a fault x {chat, responses} x {stream, whole} x {one account, two of which the fault hits the first}. Each
cell has accounts of its own, of which the pool knows nothing. All are run before the first test, as many at once as can be.
"""

import asyncio
import socket
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import orjson
import pytest

from tests.e2e.conftest import options_for, write_account
from tests.e2e.endings import Dialect, Ending, ask_for
from tests.fakes.control import Seen
from tests.fakes.openai import FakeOpenAI
from tests.proxy import ENTRY, RunningProxy, running_proxy

pytestmark = pytest.mark.slow

INSIDE = Path(__file__).with_name("inside.py")

# The events of an answer to `TEXT`, as the fake tells it: the plan, two of the response, two that open the message, the words, four
# that close it, the plan, the end.
EVENTS = 16
TEXT = "cell {:03d} is this"
# Behind so many of them a client that streams is told, and nothing can be sent again.
TOLD = 4

# Seconds, for the cells whose upstream falls silent. The others keep the defaults, which no busy machine runs into.
HASTY = {"codex_first_byte_timeout": "1.5", "codex_idle_timeout": "1.5", "codex_keepalive": "0.3"}
SILENCE = 60.0

# How many cells of one account are under way at once. They mostly wait for their next attempt.
AT_ONCE = 24


class Expected(NamedTuple):
    """What the client sees, and after how many requests to upstream."""

    ending: Ending
    requests: int
    headers: Mapping[str, str | None] = {}
    """None is for one that must not be there."""


def whole(after: int) -> Expected:
    return Expected(Ending("whole", 200), after)


def refused(status: int, code: str, after: int, **headers: str | None) -> Expected:
    return Expected(Ending("refused", status, code), after, {name.replace("_", "-"): value for name, value in headers.items()})


def failed(code: str) -> Expected:
    """In the stream: what has begun is never asked for again."""
    return Expected(Ending("failed", 200, code), 1)


HOPELESS = "false"


@dataclass(frozen=True)
class Fault:
    do: Mapping[str, Any]
    alone: Expected
    """With one account."""
    two: Expected = field(default_factory=lambda: whole(3))
    """With another account that is well. Trouble is tried once more on the same one before."""
    told: Expected | None = None
    """In a stream, if the client has its head by then."""
    once: bool = False

    def expected(self, stream: bool, accounts: int) -> Expected:
        if stream and self.told:
            return self.told
        return self.alone if accounts == 1 else self.two


def in_the_answer(do: Mapping[str, Any], behind: int, status: int, code: str, after: int = 4) -> Fault:
    """Behind so many events. Only a client that streams has been told anything."""
    return Fault(do, refused(status, code, after), told=failed(code) if behind >= TOLD else None)


def broken(how: Mapping[str, Any], behind: int) -> Fault:
    if behind == EVENTS:  # the answer was whole before
        return Fault(how, whole(1), whole(1))
    return in_the_answer(how, behind, 502, "upstream_stream_incomplete")


def silent(behind: int) -> Fault:
    """Until the first byte there is no answer, and that is tried once less than what is trouble."""
    do = {"silence_after_events": behind, "seconds": SILENCE}
    if behind == EVENTS:
        return Fault(do, whole(1), whole(1))
    return in_the_answer(do, behind, 504, "upstream_timeout", after=4 if behind else 3)


def event(kind: str, **members: Any) -> str:
    return f"event: {kind}\ndata: {orjson.dumps({'type': kind, **members}).decode()}\n\n"


def says(text: str, behind: int) -> dict[str, Any]:
    return {"say_after_events": behind, "text": text}


OVERLOADED = event("response.failed", response={"status": "failed", "error": {"code": "server_is_overloaded", "message": "busy"}})
FORBIDDEN = event("response.failed", response={"status": "failed", "error": {"code": "invalid_prompt", "message": "no"}})
BARE = event("error", code="server_error", message="something went wrong")
MALFORMED = "event: response.output_text.delta\ndata: {not JSON\n\n"
USED_UP = {"type": "usage_limit_reached", "message": "The usage limit has been reached", "plan_type": "plus"}
UNAUTHORIZED = {"status": 401, "body": {"detail": "Unauthorized"}}
SLOW_DOWN = {"status": 429, "body": {"detail": "slow down"}}

PATIENT_FAULTS: dict[str, Fault] = {
    "reset before the head": Fault({"reset": "before_headers"}, refused(502, "upstream_error", 3, x_should_retry=None)),
    "closed before the head": Fault({"lose_answer": True}, refused(502, "upstream_error", 3)),
    "not HTTP": Fault({"garbage": True}, refused(502, "upstream_error", 3)),
    "reset behind the head": Fault({"reset": "after_headers"}, refused(502, "upstream_stream_incomplete", 4)),
    "401 once": Fault(UNAUTHORIZED, whole(2), whole(2), once=True),
    "401 for good": Fault(UNAUTHORIZED, refused(502, "upstream_auth_error", 2, x_should_retry=HOPELESS)),
    "429 for a second, once": Fault({**SLOW_DOWN, "headers": {"retry-after": "1"}}, whole(2), whole(2), once=True),
    "429 for a second, each time": Fault(
        {**SLOW_DOWN, "headers": {"retry-after": "1"}},
        refused(429, "rate_limit_exceeded", 4, retry_after="1", x_should_retry=None),
        whole(2),
    ),
    "429 for an hour": Fault(
        {**SLOW_DOWN, "headers": {"retry-after": "3600"}},
        refused(429, "rate_limit_exceeded", 1, retry_after="3600", x_should_retry=HOPELESS),
        whole(2),
    ),
    "the plan is used up": Fault(
        {"status": 429, "body": {"error": {**USED_UP, "resets_in_seconds": 9000}}},
        refused(429, "usage_limit_reached", 1, retry_after="9000", x_should_retry=HOPELESS),
        whole(2),
    ),
    "500": Fault({"status": 500, "body": "oops"}, refused(500, "server_error", 4, x_should_retry=None)),
    "503": Fault({"status": 503, "body": {"detail": "unavailable"}}, refused(503, "server_is_overloaded", 4, x_should_retry=None)),
    "503 once": Fault({"status": 503, "body": {"detail": "unavailable"}}, whole(2), whole(2), once=True),
    "a challenge": Fault(
        {"html": 403},
        refused(403, "upstream_blocked", 1, x_should_retry=HOPELESS),
        refused(403, "upstream_blocked", 1, x_should_retry=HOPELESS),  # the address is blocked, whoever asks
    ),
    **{f"cut behind event {n}": broken({"cut_after_events": n, "how": "rst"}, n) for n in range(EVENTS + 1)},
    **{f"an end in good form behind event {n}": broken({"clean_eof_after_events": n}, n) for n in range(EVENTS + 1)},
    "malformed, early": in_the_answer(says(MALFORMED, 2), 2, 502, "upstream_error"),
    "malformed, late": in_the_answer(says(MALFORMED, 8), 8, 502, "upstream_error"),
    "response.failed, early": in_the_answer(says(OVERLOADED, 3), 3, 503, "server_is_overloaded"),
    "response.failed, late": in_the_answer(says(OVERLOADED, 8), 8, 503, "server_is_overloaded"),
    "response.failed of the request's own fault": Fault(
        says(FORBIDDEN, 3),
        refused(400, "invalid_prompt", 1, x_should_retry=HOPELESS),
        refused(400, "invalid_prompt", 1, x_should_retry=HOPELESS),
    ),
    "a bare error event, early": in_the_answer(says(BARE, 1), 1, 500, "server_error"),
    "a bare error event, late": in_the_answer(says(BARE, 8), 8, 500, "server_error"),
}
HASTY_FAULTS: dict[str, Fault] = {
    "silence before the head": Fault({"delay": SILENCE}, refused(504, "upstream_timeout", 3)),
    **{f"silence behind event {n}": silent(n) for n in (0, 2, 8, EVENTS - 1, EVENTS)},
}
FAULTS = PATIENT_FAULTS | HASTY_FAULTS


class Cell(NamedTuple):
    fault: str
    dialect: Dialect
    stream: bool
    accounts: int

    def __str__(self) -> str:
        return f"{self.dialect}, {'stream' if self.stream else 'whole'}, {self.accounts} account{'s' * (self.accounts - 1)}"


WAYS: list[tuple[Dialect, bool]] = [("chat", True), ("chat", False), ("responses", True), ("responses", False)]


class Met(NamedTuple):
    """What came of a cell."""

    ending: Ending
    requests: list[Seen]


CELLS = [Cell(fault, dialect, stream, accounts) for fault, (dialect, stream), accounts in product(FAULTS, WAYS, (1, 2))]
NUMBERS = {cell: number for number, cell in enumerate(CELLS)}


def text_of(cell: Cell) -> str:
    return TEXT.format(NUMBERS[cell])


def email_of(cell: Cell, account: str) -> str:
    return f"{account}-{NUMBERS[cell]}@example.com"


class Bench(NamedTuple):
    """A proxy, and where its accounts are."""

    proxy: RunningProxy
    home: Path

    def set(self, options: Mapping[str, str]) -> None:
        httpx.post(f"{self.proxy.origin}/inside", json=options, trust_env=False).raise_for_status()

    def in_flight(self) -> int:
        """As users are told. Each account is asked upstream for that, so not where there are hundreds."""
        answer = httpx.get(f"{self.proxy.origin}/codex/usage", trust_env=False, timeout=30)
        return sum(account["in_flight"] for account in answer.json()["accounts"])

    def loans(self) -> int:
        """The same by what is still kept for a request."""
        return int(httpx.get(f"{self.proxy.origin}/inside/memory", trust_env=False, timeout=30).json()["loans"])


@dataclass(frozen=True)
class Benches:
    """Cells of one account ask for it by name, so that all of them share a proxy. Of two the proxy itself chooses, and a cell must
    have both to itself: a proxy for each way of asking."""

    fake: FakeOpenAI
    alone: Bench
    two: Mapping[tuple[Dialect, bool], Bench]

    def all(self) -> list[Bench]:
        return [self.alone, *self.two.values()]


def sign_in(fake: FakeOpenAI, home: Path, account: str, email: str) -> None:
    write_account(home / ".codex-mitm/accounts" / account / "auth.json", fake.control.login(email))


FIRST_BEFORE_SECOND = "accounts: {strategy: fill-first, affinity: false}"


@pytest.fixture(scope="module")
def benches(openai: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Benches]:
    openai.control.reset()
    alone, *two = homes = [tmp_path_factory.mktemp("home") for _ in ("alone", *WAYS)]
    for cell in CELLS:
        if cell.accounts == 1:
            sign_in(openai, alone, str(NUMBERS[cell]), email_of(cell, "first"))
    for home, account in product(two, ("first", "second")):
        sign_in(openai, home, account, f"{account}@example.com")

    def start(home: Path) -> Bench:
        policy = home / "policy.yaml"
        policy.write_text(FIRST_BEFORE_SECOND)
        options = options_for(openai, codex_policy=str(policy))
        return Bench(stack.enter_context(running_proxy(home, options, scripts=[INSIDE, ENTRY])), home)

    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        first, *rest = pool.map(start, homes)
        yield Benches(openai, first, dict(zip(WAYS, rest, strict=True)))


@pytest.fixture(scope="module")
def matrix(benches: Benches) -> dict[Cell, Met]:
    endings = asyncio.run(run(benches, PATIENT_FAULTS))
    for bench in benches.all():
        bench.set(HASTY)
    endings |= asyncio.run(run(benches, HASTY_FAULTS))
    met = {text_of(cell): Met(endings[cell], []) for cell in CELLS}
    for seen in all_once_over(benches.fake):
        met[seen.json["input"][0]["content"][0]["text"]].requests.append(seen)
    return {cell: met[text_of(cell)] for cell in CELLS}


async def run(benches: Benches, faults: Mapping[str, Fault]) -> dict[Cell, Ending]:
    slots, endings = asyncio.Semaphore(AT_ONCE), dict[Cell, Ending]()
    cells = [cell for cell in CELLS if cell.fault in faults]

    async def ask(cell: Cell, bench: Bench, headers: Mapping[str, str]) -> None:
        fault = faults[cell.fault]
        benches.fake.control.fault("responses", dict(fault.do), times=1 if fault.once else None, email=email_of(cell, "first"))
        endings[cell] = await ask_for(client, bench.proxy.url, cell.dialect, cell.stream, text_of(cell), headers)

    async def ask_alone(cell: Cell) -> None:
        async with slots:
            await ask(cell, benches.alone, {"x-codex-account": str(NUMBERS[cell])})

    async def ask_two(way: tuple[Dialect, bool]) -> None:
        for cell in cells:
            if cell.accounts == 2 and (cell.dialect, cell.stream) == way:
                for account in ("first", "second"):
                    sign_in(benches.fake, benches.two[way].home, account, email_of(cell, account))
                await ask(cell, benches.two[way], {})

    # A connection of its own for each: what a cell does to its connection is none of the next one's business.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(trust_env=False, limits=limits) as client, asyncio.TaskGroup() as group:
        for way in WAYS:
            group.create_task(ask_two(way), name=f"two accounts, {way}")
        for cell in cells:
            if cell.accounts == 1:
                group.create_task(ask_alone(cell), name=str(cell))
    return endings


def all_once_over(fake: FakeOpenAI, timeout: float = 10.0) -> list[Seen]:
    """The questions that have reached upstream, once none of them is read any more."""
    deadline = time.monotonic() + timeout
    while True:
        asked = fake.control.seen("backend", "responses")
        still_read = [seen.json["input"] for seen in asked if seen.ended is None]
        if not still_read:
            return asked
        assert time.monotonic() < deadline, still_read
        time.sleep(0.1)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_as_what_it_is(fault: str, matrix: dict[Cell, Met]) -> None:
    wrong = []
    for cell in (cell for cell in CELLS if cell.fault == fault):
        met, expected = matrix[cell], FAULTS[fault].expected(cell.stream, cell.accounts)
        headers = {name: met.ending.headers.get(name) for name in expected.headers}
        if (met.ending, len(met.requests), headers) != (expected.ending, expected.requests, expected.headers):
            wrong.append(f"{cell}: {met.ending}, {headers}, {len(met.requests)} requests, not {expected}")
    assert not wrong, "\n".join(wrong)


def test_an_upstream_that_refuses_connections_is_told_as_that(openai: FakeOpenAI, tmp_path: Path) -> None:
    """Of all accounts, so there is no account to go to."""
    for account in ("first", "second"):
        sign_in(openai, tmp_path, account, f"{account}@example.com")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    async def ask_all(url: str) -> list[Ending]:
        async with httpx.AsyncClient(trust_env=False) as client:
            wanted: list[dict[str, str]] = [{"x-codex-account": "first"}, {}]
            return await asyncio.gather(
                *(ask_for(client, url, dialect, stream, "hello", headers) for (dialect, stream), headers in product(WAYS, wanted))
            )

    with running_proxy(tmp_path, options_for(openai) | {"codex_backend_url": f"http://127.0.0.1:{port}"}) as proxy:
        assert asyncio.run(ask_all(proxy.url)) == [Ending("refused", 502, "upstream_error")] * 8
        assert Bench(proxy, tmp_path).in_flight() == 0


def test_nothing_stays_under_way(matrix: dict[Cell, Met], benches: Benches) -> None:
    assert {way: bench.in_flight() for way, bench in benches.two.items()} == dict.fromkeys(WAYS, 0)
    for bench in benches.all():
        assert bench.loans() == 0
        assert "Traceback" not in bench.proxy.log() and "crashed" not in bench.proxy.log()
