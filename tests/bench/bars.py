"""What is aimed at. Each is judged by the clock, and by processor time, which other programs on the machine disturb less."""

import operator
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.figures import Figures, difference, ratio

type Value = Callable[[Figures], float | None]

# B7 is about these, and takes minutes; the caches of a proxy are still filling in the first ten thousand.
MANY_CALLS = 100_000

OURS, BARE = "codex-mitm", "bare mitmdump"


@dataclass(frozen=True)
class Bar:
    scenario: str
    what: str
    unit: str
    aim: float
    is_upper: bool
    by_clock: Value | None = None
    by_processor: Value | None = None
    """Must stand in the same unit."""

    @property
    def text(self) -> str:
        return f"{'<=' if self.is_upper else '>='} {self.aim:g} {self.unit}"

    def is_met(self, value: float | None) -> bool | None:
        return None if value is None else (operator.le if self.is_upper else operator.ge)(value, self.aim)


def cheaper(scenario: str, case: str, than: str = BARE) -> Value:
    """How many times as much processor time the other one takes: so many times as many calls one core can do."""
    return lambda figures: ratio(figures.of(scenario, case, than, "cpu"), figures.of(scenario, case, OURS, "cpu"))


def faster(scenario: str, case: str, than: str = BARE) -> Value:
    return lambda figures: ratio(figures.of(scenario, case, OURS, "rate"), figures.of(scenario, case, than, "rate"))


def added(scenario: str, case: str, measure: str) -> Value:
    """In milliseconds."""
    return lambda figures: thousandfold(
        difference(figures.of(scenario, case, OURS, measure), figures.of(scenario, case, "direct", measure))
    )


def spent(scenario: str, case: str, measure: str = "cpu") -> Value:
    """In milliseconds. Where one client waits for its answer, what is added is at least that."""
    return lambda figures: statistics.median(values) * 1e3 if (values := figures.of(scenario, case, OURS, measure)) else None


def thousandfold(value: float | None) -> float | None:
    return None if value is None else value * 1e3


def beside_bare(scenario: str, case: str, measure: str) -> Value:
    return lambda figures: ratio(figures.of(scenario, case, OURS, measure), figures.of(scenario, case, BARE, measure))


def of_one(scenario: str, case: str, measure: str, scale: float) -> Value:
    def value(figures: Figures) -> float | None:
        found = figures.of(scenario, case, OURS, measure)
        return found[-1] * scale if found else None

    return value


BARS = (
    Bar("B1", "1 client: added to a call", "ms", 1.0, True, added("B1", "1 client", "p50"), spent("B1", "1 client")),
    Bar("B1", "1 client: CPU, bare mitmdump by us", "x", 1.0, False, None, cheaper("B1", "1 client")),
    Bar("B1", "16 clients: calls/s by bare mitmdump's", "x", 1.3, False, faster("B1", "16 clients"), cheaper("B1", "16 clients")),
    Bar("B2", "1 client: the same, a connection each", "x", 1.5, False, faster("B2", "1 client"), cheaper("B2", "1 client")),
    Bar("B2", "16 clients", "x", 1.5, False, faster("B2", "16 clients"), cheaper("B2", "16 clients")),
    Bar(
        "B3",
        "32 streams: added to a word",
        "ms",
        0.3,
        True,
        added("B3", "32 streams", "delay"),
        spent("B3", "32 streams", "cpu_word"),
    ),
    Bar(
        "B4",
        "streamed chat: calls/s by bare's",
        "x",
        1.2,
        False,
        faster("B4", "8 words streamed"),
        cheaper("B4", "8 words streamed"),
    ),
    Bar("B5", "1 MB in 40 turns: added", "ms", 10, True, added("B5", "1 MB in 40 turns", "p50"), spent("B5", "1 MB in 40 turns")),
    Bar(
        "B5",
        "1 MB in 4000 turns: added",
        "ms",
        10,
        True,
        added("B5", "1 MB in 4000 turns", "p50"),
        spent("B5", "1 MB in 4000 turns"),
    ),
    Bar("B6", "memory of an idle stream", "KB", 150, True, of_one("B6", "500 streams", "each", 1e-3)),
    Bar("B7", "growth after the first tenth of them", "%", 5, True, of_one("B7", f"{MANY_CALLS} calls", "growth", 100)),
    Bar(
        "B8",
        "cold start by bare mitmdump's",
        "x",
        1.25,
        True,
        beside_bare("B8", "first answer", "start"),
        beside_bare("B8", "first answer", "start_cpu"),
    ),
    Bar(
        "B9",
        "recording: what stays of the calls/s",
        "x",
        0.85,
        False,
        faster("B9", "8 words", "not recording"),
        cheaper("B9", "8 words", "not recording"),
    ),
)

STREAMED = "8 words streamed"


def beside_peer(name: str, aim: float) -> Bar:
    return Bar("B4", f"calls/s by {name}'s", "x", aim, False, faster("B4", STREAMED, name), cheaper("B4", STREAMED, name))


PEER_BARS = (
    beside_peer("LiteLLM", 10),
    beside_peer("ChatMock", 2.5),
    beside_peer("openai-oauth", 1.5),
    beside_peer(BARE, 1.2),
    beside_peer("via-codex", 0.5),
)
