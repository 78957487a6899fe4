"""The fault drill's grammar, and what a fault does to an answer. Pure: chance is a parameter, and time is only named.

codex_fault = FAULT[,FAULT]...
FAULT       = KIND[@CONDITION]...
CONDITION   = how much (2000b, 30s, 100b/s; each kind knows its unit) or how often (0.1: one request in ten), in any order
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from addons.wire.errors import OpenAIError

Unit = Literal["s", "b", "b/s"]

UNITS: Mapping[str, str] = {"s": "seconds", "b": "bytes", "b/s": "bytes a second"}


class Kind(NamedTuple):
    unit: Unit | None
    usual: float
    """How much it is where that is not said."""
    about: str


KINDS: Mapping[str, Kind] = {
    "401": Kind(None, 0, "an OpenAI error of that status; the request is not sent upstream"),
    "429": Kind(None, 0, "the same, with `retry-after: 1`"),
    "500": Kind(None, 0, "the same"),
    "503": Kind(None, 0, "the same"),
    "drop": Kind(None, 0, "the connection is closed without an answer; the request is not sent upstream"),
    "delay": Kind("s", 2, "the request goes upstream that much later"),
    "silence": Kind("s", 30, "after its first event the answer stands still; keep-alives go on"),
    "slow": Kind("b/s", 1000, "the answer comes no faster than that"),
    "garbage": Kind(None, 0, "behind the first event comes one that is no JSON; then the answer goes on"),
    "failed": Kind(None, 0, "behind the first event the answer fails, with the error event of its dialect"),
    "end": Kind("b", 2000, "after so many bytes the body ends in good form, as if that were all"),
    "cut": Kind("b", 2000, "after so many bytes the connection is broken off"),
}

_SAID = "the fault drill of this proxy (option codex_fault)"

# `type` and `code` are those that OpenAI answers with.
REFUSALS: Mapping[str, OpenAIError] = {
    "401": OpenAIError(401, f"{_SAID} says that the key is wrong"),
    "429": OpenAIError(429, f"{_SAID} says that there are too many requests", headers={"retry-after": "1"}),
    "500": OpenAIError(500, f"{_SAID} says that something failed"),
    "503": OpenAIError(503, f"{_SAID} says that the model is overloaded"),
}
FAILED = OpenAIError(500, f"{_SAID} lets this answer fail")

# No JSON as an event, and what it is put into or behind is none any more.
GARBAGE = b'data: {"garbage\n\n'

# Three ways to write the blank line (wire/sse.py).
ENDS_OF_AN_EVENT = (b"\n\n", b"\r\n\r\n", b"\r\r")
_END_OF_AN_EVENT = re.compile(b"|".join(ENDS_OF_AN_EVENT))


class BadDrill(ValueError):
    """The text says what is wrong with which fault, and what would be right."""


class Fault(NamedTuple):
    kind: str
    amount: float = 0.0
    chance: float = 1.0

    @property
    def label(self) -> str:
        """Without its chance: for a request that it has come to."""
        unit = KINDS[self.kind].unit
        return f"{self.kind}@{_written(self.amount)}{unit}" if unit else self.kind

    def __str__(self) -> str:
        return self.label if self.chance == 1 else f"{self.label}@{_written(self.chance)}"


def parse(text: str) -> tuple[Fault, ...]:
    """Raises BadDrill."""
    return tuple(_fault(word.strip()) for word in text.split(",")) if text.strip() else ()


def draw(drill: Sequence[Fault], chance: Callable[[], float]) -> tuple[Fault, ...]:
    """Those that come to one request. `chance` gives a number in [0, 1)."""
    return tuple(fault for fault in drill if chance() < fault.chance)


def labels(faults: Sequence[Fault]) -> str:
    return ", ".join(fault.label for fault in faults)


# So many digits that a float holds them all.
_CONDITION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(s|b|b/s|)", re.ASCII)


def _fault(word: str) -> Fault:
    name, *conditions = (part.strip() for part in word.split("@"))
    kind = KINDS.get(name)
    if kind is None:
        near = difflib.get_close_matches(name, KINDS, n=1)
        raise BadDrill(f"'{name}' is no fault" + (f", did you mean {near[0]}?" if near else f": there are {', '.join(KINDS)}"))
    found: dict[str, float] = {}
    for condition in conditions:
        role, number = _condition(word, name, kind, condition)
        if role in found:
            raise BadDrill(f"{word}: it says {role} twice")
        found[role] = number
    return Fault(name, found.get("how much", kind.usual), found.get("how often", 1.0))


def _condition(word: str, name: str, kind: Kind, condition: str) -> tuple[str, float]:
    read = _CONDITION.fullmatch(condition)
    example = f"{name}@{_written(kind.usual)}{kind.unit}" if kind.unit else f"{name}@0.1"
    if not read:
        raise BadDrill(f"{word}: '{condition}' is no condition, write it as in {example}")
    number, unit = float(read[1]), str(read[2])
    if not unit:
        if not 0 < number <= 1:
            hint = f", did you mean {name}@{_written(number)}{kind.unit}?" if kind.unit and number else ""
            raise BadDrill(f"{word}: '{condition}' is no chance, which is above 0 and at most 1{hint}")
        return "how often", number
    if unit != kind.unit:
        takes = f"it takes {UNITS[kind.unit]}" if kind.unit else "it takes nothing but a chance"
        raise BadDrill(f"{word}: '{condition}' is not for {name}, {takes}, as in {example}")
    if not number or (unit == "b" and number != int(number)):
        raise BadDrill(f"{word}: '{condition}' is not a number of {UNITS[unit]} above 0, write it as in {example}")
    return "how much", number


def _written(number: float) -> str:
    return f"{number:.6f}".rstrip("0").rstrip(".")


# --- what becomes of an answer ----------------------------------------------------------------------------------------

End = Literal["failed", "end", "cut"]


class Spoiled(NamedTuple):
    """A piece of the answer, as it goes on."""

    out: bytes
    pause: float = 0.0
    """Seconds for which nothing follows."""
    end: End | None = None
    """How the answer ends behind it."""
    struck: tuple[Fault, ...] = ()
    """The faults that it met, each named once in an answer."""


@dataclass(slots=True)
class Spoiler:
    """Of one answer: takes its pieces as the client would get them. An answer that is no stream is one piece."""

    faults: Sequence[Fault]
    events: bool
    sent: int = 0
    tail: bytes = b""
    """Of what was sent: an event may end in another piece than it began in."""
    over: bool = False
    struck: list[Fault] = field(default_factory=list)

    def take(self, piece: bytes) -> Spoiled:
        if self.over or not piece:
            return Spoiled(b"")
        met: list[Fault] = []
        out, end = self._within_its_length(piece, met)
        self.sent += len(out)
        self.tail = (self.tail + out)[-4:]
        pause = 0.0
        for slow in self._of("slow"):
            pause += len(out) / slow.amount
            met.append(slow)
        if not end and (not self.events or self.tail.endswith(ENDS_OF_AN_EVENT)):
            for garbage in self._fresh("garbage"):
                out += GARBAGE
                met.append(garbage)
            for silence in self._fresh("silence"):
                pause += silence.amount
                met.append(silence)
            for failed in self._fresh("failed"):
                end = "failed"
                met.append(failed)
        self.over = end is not None
        fresh = tuple(fault for fault in dict.fromkeys(met) if fault not in self.struck)
        self.struck += fresh
        return Spoiled(out, pause, end, fresh)

    def _within_its_length(self, piece: bytes, met: list[Fault]) -> tuple[bytes, End | None]:
        limits = [*self._of("cut"), *self._of("end")]
        if not limits:
            return piece, None
        nearest = min(limits, key=lambda fault: fault.amount)
        room = int(nearest.amount) - self.sent
        if len(piece) < room:
            return piece, None
        met.append(nearest)
        return piece[:room], "cut" if nearest.kind == "cut" else "end"

    def _of(self, kind: str) -> list[Fault]:
        return [fault for fault in self.faults if fault.kind == kind]

    def _fresh(self, kind: str) -> list[Fault]:
        """They come once in an answer."""
        return [fault for fault in self._of(kind) if fault not in self.struck]


def pieces(data: bytes) -> list[bytes]:
    """A packet of events, one by one; the last may be the begin of one."""
    ends = [0, *(found.end() for found in _END_OF_AN_EVENT.finditer(data)), len(data)]
    return [data[begin:end] for begin, end in zip(ends, ends[1:], strict=False) if begin < end]


def halves(data: bytes) -> list[bytes]:
    """A packet of what is no events: so that there is a middle."""
    return [data[: len(data) // 2], data[len(data) // 2 :]]
