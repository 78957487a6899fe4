"""What an answer says that nobody here translates: a Codex CLI's stream, the platform's in both dialects, a JSON document.

It only overhears: what it cannot read it passes over, because the client may be able to.
"""

from collections.abc import Callable
from typing import Any

from addons.traffic.exchange import Outcome
from addons.wire import failures
from addons.wire.errors import OpenAIError, json_object
from addons.wire.events import Event
from addons.wire.sse import Decoder, EventTooLarge
from addons.wire.story import FAILED
from addons.wire.usage import Usage, model_of, usage_in

# A document with more than that is a file, a picture or a list of embeddings, whose tokens nobody is surprised by.
MAX_DOCUMENT = 1 << 20

CHAT_CHUNK = "chat.completion.chunk"
ENDS: dict[str, Outcome] = {"response.completed": "complete", "response.incomplete": "incomplete"}


class Untranslated:
    """`on_event` hears every event that can be read; of a document the document itself."""

    def __init__(self, on_event: Callable[[Event], None]) -> None:
        self._on_event = on_event
        self.outcome: Outcome | None = None
        """None until the answer has said how it ended."""
        self.failure: OpenAIError | None = None
        self.usage: Usage | None = None
        self.model = ""

    def feed(self, data: bytes) -> None:
        raise NotImplementedError

    def end(self) -> None:
        """There is no more."""
        raise NotImplementedError

    def _learn(self, document: Any) -> None:
        if isinstance(document, dict):
            self.usage = usage_in(document) or self.usage
            self.model = model_of(document) or self.model

    def _fail(self, error: OpenAIError) -> None:
        self.outcome, self.failure = "failed", error


class EventStream(Untranslated):
    def __init__(self, on_event: Callable[[Event], None]) -> None:
        super().__init__(on_event)
        self._decoder: Decoder | None = Decoder()

    def feed(self, data: bytes) -> None:
        if self._decoder is None:
            return
        try:
            for event in self._decoder.feed(data):
                self.take(event.data)
        except EventTooLarge:
            self._decoder = None

    def end(self) -> None:
        self.feed(b"")

    def take(self, data: bytes) -> None:
        """One event's data, or one message of a WebSocket."""
        if data.strip() == b"[DONE]":
            self.outcome = self.outcome or "complete"
            return
        event = json_object(data)
        if not isinstance(event.get("type"), str):
            event["type"] = "error" if "error" in event else str(event.get("object") or "")
        kind = event["type"]
        if not kind:
            return
        self._on_event(event)
        if kind in ENDS:
            before, self.usage = self.usage, None
            self.outcome, self.failure = ENDS[kind], None
            self._learn(event.get("response"))
            if before:  # a WebSocket has one answer after the other
                self.usage = before + self.usage if self.usage else before
        elif kind == FAILED:
            response = event.get("response")
            self._fail(failures.of_response(response if isinstance(response, dict) else {}))
            self._learn(response)
        elif kind == "error":
            self._fail(failures.of_error_event(event))
        elif kind == CHAT_CHUNK:
            self._learn(event)


class Document(Untranslated):
    def __init__(self, on_event: Callable[[Event], None]) -> None:
        super().__init__(on_event)
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= MAX_DOCUMENT:
            self._pieces.append(data)

    def end(self) -> None:
        self.outcome = "complete"
        if self._size > MAX_DOCUMENT:
            return
        document = json_object(b"".join(self._pieces))
        self._learn(document)
        if document.get("status") == "incomplete":
            self.outcome = "incomplete"
