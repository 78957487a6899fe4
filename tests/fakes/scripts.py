"""Exact answers, written by a test: the next stream of a route says these bytes, at this pace, and nothing else.

A step is {"event": {...}} or {"raw": "any text"}, each with an optional "delay" in seconds before it. An event is framed as
SSE with its type as the event's name; raw text goes out as it stands, as one write.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson

from .events import frame


@dataclass(frozen=True)
class Step:
    data: bytes
    delay: float


class Scripts:
    """The scripts waiting at each route, first in first out."""

    def __init__(self, places: frozenset[str]) -> None:
        self._places = places
        self._waiting: defaultdict[str, deque[list[Step]]] = defaultdict(deque)

    def add(self, at: str, steps: list[Any], times: int = 1) -> None:
        """Raises ValueError for a place that streams nothing and for a step that is not one."""
        if at not in self._places:
            raise ValueError(f"at: one of {', '.join(sorted(self._places))}")
        parsed = [_parse(step) for step in steps]
        self._waiting[at].extend([parsed] * times)

    def take(self, at: str) -> AsyncIterator[bytes] | None:
        return _play(self._waiting[at].popleft()) if self._waiting[at] else None


def _parse(step: Any) -> Step:
    if not isinstance(step, dict) or step.keys() - {"event", "raw", "delay"} or ("event" in step) == ("raw" in step):
        raise ValueError('a step is {"event": {...}} or {"raw": "..."}, with an optional "delay"')
    if "raw" in step:
        data = str(step["raw"]).encode()
    elif "type" in step["event"]:
        data = frame(step["event"])
    else:
        data = b"data: %s\n\n" % orjson.dumps(step["event"])
    return Step(data, float(step.get("delay", 0)))


async def _play(steps: list[Step]) -> AsyncIterator[bytes]:
    for step in steps:
        await asyncio.sleep(step.delay)
        yield step.data
