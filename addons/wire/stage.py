"""From upstream's bytes to the client's: what the stages of all dialects have in common. In which words is a `Writer`'s business.

Nothing is handed out before it is `decided` that the answer is a 200. So whoever holds the head of the response back until the
first byte comes can give an early failure (`refusal`) the status it deserves. It is in what is handed out as well, told within the
stream like a later one, for whoever could not wait.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from addons.wire import failures
from addons.wire.errors import OpenAIError
from addons.wire.events import Event, Fate, Malformed, Reader, fate_of
from addons.wire.sse import Decoder, EventTooLarge
from addons.wire.story import FAILED, KINDS, Story
from addons.wire.usage import Usage

# What an answer can be in all, for all of it is remembered: its terminal event repeats it. 128 000 tokens, the most that a model
# says, are 32 MB with one to an event of 250 bytes; four times that leaves room for pictures.
MAX_ANSWER = 128 * 1024 * 1024
TOO_MUCH = failures.unreadable(f"an answer of more than {MAX_ANSWER} bytes")

# Some of each answer's own come at its begin and at its end; the last ones count.
MAX_SIDE_EVENTS = 32


class Writer(Protocol):
    """Tells the events of a story (story.py) in a dialect; `fail` is for the last one of an answer that failed."""

    def tell(self, event: Event) -> list[bytes]: ...

    def fail(self, event: Event, error: OpenAIError) -> list[bytes]: ...

    def keepalive(self) -> list[bytes]: ...


class Stage:
    """`(bytes) -> list[bytes]`, `b""` in means the end of upstream's stream; one whole event each comes out."""

    def __init__(self, story: Story, writer: Writer) -> None:
        self._decoder = Decoder()
        self._reader = Reader()
        self._story = story
        self._writer = writer
        self._held: list[bytes] | None = []
        self._is_out = False
        self._room = MAX_ANSWER
        self.side_events: deque[Event] = deque(maxlen=MAX_SIDE_EVENTS)
        """Events that are not for the client (`codex.rate_limits`), the latest last."""
        self.on_event: Callable[[Event], None] | None = None
        """Hears every event of upstream's, before anything is made of it."""

    def __call__(self, data: bytes) -> list[bytes]:
        if self._story.over:
            return []
        out = self._translate(data)
        if self._held is None:
            return out
        self._held += out
        return self._let_go() if self.decided else []

    def release(self) -> list[bytes]:
        """For a caller who cannot wait any longer: what has been held back. From here on everything goes out at once, as a 200."""
        self._is_out = True
        return self._let_go()

    def say_alive(self) -> list[bytes]:
        """A sign of life in the client's stream, between two events of it."""
        return [] if self.finished or self._held is not None else self._writer.keepalive()

    def give_up(self, error: OpenAIError) -> list[bytes]:
        """For a caller who knows that upstream has nothing more to say: the failure, and what was held back before it."""
        out = self._let_go()
        self._tell(self._story.fail(error), out)
        return out

    def _let_go(self) -> list[bytes]:
        held, self._held = self._held or [], None
        return held

    @property
    def finished(self) -> bool:
        """The client has had its last byte; upstream has nothing to add."""
        return self._story.over

    @property
    def decided(self) -> bool:
        """It is known whether the answer is a 200 or a `refusal`."""
        return self._story.decided

    @property
    def refusal(self) -> OpenAIError | None:
        """The failure, if it came before anything was said and before `release`."""
        return None if self._is_out else self._story.refusal

    @property
    def failure(self) -> OpenAIError | None:
        return self._story.failure

    @property
    def wants_cancel(self) -> bool:
        """The answer has ended before upstream's stream has: a limit was reached, or it cannot be read."""
        return self._story.wants_cancel

    @property
    def usage(self) -> Usage | None:
        """Known once the answer has ended, if upstream told it."""
        return self._story.usage

    @property
    def response(self) -> Event:
        """Upstream's response object with the items as the client got them; whole once the answer has ended."""
        return self._story.response

    def _translate(self, data: bytes) -> list[bytes]:
        out: list[bytes] = []
        try:
            for event in self._decoder.feed(data):
                parsed = self._reader.read(event)
                if parsed is None:
                    continue
                if self.on_event:
                    self.on_event(parsed)
                fate = Fate.TOLD if parsed["type"] in KINDS else fate_of(parsed["type"])
                if fate is Fate.TOLD:
                    self._room -= len(event.data)
                    self._tell(self._story.take(parsed) if self._room >= 0 else self._story.fail(TOO_MUCH), out)
                elif fate is Fate.ASIDE:
                    self.side_events.append(parsed)
                elif (self._held is None or self.decided) and not self.finished:
                    out += self._writer.keepalive()
        except EventTooLarge as e:
            self._tell(self._story.fail(failures.unreadable(str(e))), out)
        except Malformed as e:
            # An event without its last blank line was cut off if it cannot be read, and is whole if it can.
            self._tell(self._story.fail(failures.unreadable(str(e))) if data else self._story.end(), out)
        if not data:
            self._tell(self._story.end(), out)
        return out

    def _tell(self, events: list[Event], out: list[bytes]) -> None:
        for event in events:
            if event["type"] == FAILED and self._story.failure:
                out += self._writer.fail(event, self._story.failure)
            else:
                out += self._writer.tell(event)
