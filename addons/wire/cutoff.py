"""`max_output_tokens` and `stop` are refused by the backend: they are kept here, on the answer's way to the client.

Tokens are estimated; a tokenizer would be megabytes for a promise of the kind "about this much". A delta is a token or more, and
five bytes are a token or more (o200k: one in 4.5 bytes of English, 4 of Chinese, 3.5 of code). So the larger of the two counts
stays below the truth in ordinary text, and no answer is cut before its limit. Reasoning is not counted: its tokens are not seen
before the end, and a limit that was spent unseen would leave nothing to show.

A stop sequence may come in two deltas, so the last len(longest) - 1 characters of a text are held back until more is known. It is
looked for in what the model says, never in what it calls a tool with.
"""

from typing import Literal, Protocol

from addons.wire.events import OUTPUT_TEXT, SUMMARY, Family

BYTES_PER_TOKEN = 5


class Speech(Protocol):
    """A text on its way; `held` is the end of it that the client has not seen."""

    family: Family
    held: str


class Limits:
    def __init__(self, max_tokens: int | None, stop: tuple[str, ...]) -> None:
        self._max = max_tokens
        self._stop = stop
        self._kept = max(map(len, stop), default=1) - 1
        self._deltas = 0
        self._bytes = 0
        self.in_force = max_tokens is not None or bool(stop)
        self.reached: Literal["max_output_tokens", "stop"] | None = None

    @property
    def tokens(self) -> int:
        """What has been said so far."""
        return max(self._deltas, self._bytes // BYTES_PER_TOKEN)

    def admit(self, text: Speech, delta: str) -> str:
        """The part of what has come that may be told now. Sets `reached` if nothing may follow it."""
        if text.family.item == SUMMARY.item:
            return delta
        delta = self._within_budget(delta)
        return self._before_stop(text, delta) if self._stop and text.family is OUTPUT_TEXT else delta

    def _within_budget(self, delta: str) -> str:
        data = delta.encode()
        if self._max is not None and (self._deltas >= self._max or (self._bytes + len(data)) // BYTES_PER_TOKEN > self._max):
            self.reached = "max_output_tokens"
            room = (self._max + 1) * BYTES_PER_TOKEN - 1 - self._bytes if self._deltas < self._max else 0
            data = data[:room]
            delta = data.decode("utf-8", "ignore")
        self._deltas += bool(delta)
        self._bytes += len(data)
        return delta

    def _before_stop(self, text: Speech, delta: str) -> str:
        delta, text.held = text.held + delta, ""
        found = [(at + len(sequence), at) for sequence in self._stop if (at := delta.find(sequence)) >= 0]
        if found:  # the one that was whole first, however the deltas were cut
            self.reached = "stop"
            return delta[: min(found)[1]]
        if self.reached:
            return delta
        told = max(len(delta) - self._kept, 0)
        text.held = delta[told:]
        return delta[:told]
