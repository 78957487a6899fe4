"""One answer while it passes by: when it spoke, of what, and its bytes if they are to be kept. `streams.Listener` in practice.

What is translated is read once, by the stage, which hands each event to `event`. What is not is read here, by a `Reading`.
"""

from collections.abc import Callable
from typing import Protocol

from addons.traffic.tee import Tee
from addons.traffic.vocabulary import EventNames
from addons.wire.events import Event

# Upstream's word, in the middle of a stream, on what is left of the plan.
LIMITS_EVENT = "codex.rate_limits"


class Reader(Protocol):
    def feed(self, data: bytes) -> None: ...


class Passing:
    """Moments are seconds by the clock that is given."""

    def __init__(self, clock: Callable[[], float], *, upstream: Tee | None = None, client: Tee | None = None) -> None:
        self._clock = clock
        self._latest: float | None = None
        self.upstream = upstream
        self.client = client
        self.reader: Reader | None = None
        self.names = EventNames()
        self.first_token: float | None = None
        self.longest_gap: float | None = None
        self.limits: Event | None = None

    def heard(self, data: bytes) -> None:
        now = self._clock()
        if self._latest is not None and (self.longest_gap is None or now - self._latest > self.longest_gap):
            self.longest_gap = now - self._latest
        self._latest = now
        if self.upstream:
            self.upstream.add(now, data)
        if self.reader:
            self.reader.feed(data)

    def told(self, chunks: list[bytes]) -> None:
        if self.client:
            now = self._clock()
            for chunk in chunks:
                self.client.add(now, chunk)

    def event(self, event: Event) -> None:
        kind = event["type"]
        self.names.note(kind, event)
        if self.first_token is None and kind.endswith((".delta", ".chunk")):
            self.first_token = self._latest if self._latest is not None else self._clock()
        elif kind == LIMITS_EVENT:
            self.limits = event
