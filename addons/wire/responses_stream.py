"""Responses to Responses: the story (story.py) as OpenAI streams it.

Every event is numbered anew, for some were taken out and some put in. Each is one line of JSON under its own name and leaves in
one piece. A failure is told twice, as `error` and then as `response.failed`: openai-python raises at a nested `error` and
passes over a flat one, other clients read the flat members, and nanobot knows `response.failed` only.
"""

from addons.wire import failures
from addons.wire.errors import OpenAIError
from addons.wire.events import Event, written
from addons.wire.plan import Answering
from addons.wire.response_object import BULKY, ResponseObjects
from addons.wire.sse import DONE, KEEPALIVE, encode
from addons.wire.stage import Stage
from addons.wire.story import ENDS, FAILED, Story

LAST = {*ENDS, FAILED}

# Clients with a line scanner: nanobot reads 1 MiB, before v0.0.62 and in its chat dialect 64 KiB. `data: ` and the line's end
# count too.
AROUND = len(b"data: \n")
SHORT_LINE = 64 * 1024 - AROUND
LONG_LINE = 1024 * 1024 - AROUND


class ResponsesWriter:
    def __init__(self, answering: Answering, done: bool = True) -> None:
        """`done`: end with `[DONE]`. OpenAI does not, the Open Responses specification demands it, every client tried takes it."""
        self._objects = ResponseObjects(answering.model, answering.echo)
        self._done = [DONE] if done else []
        self._number = 0

    def numbered(self, event: Event) -> Event:
        """The event with its number, and with the response object as the client is to see it."""
        if "response" in event:
            event = {**event, "response": self._objects.of(event["response"])}
        event["sequence_number"] = self._number
        self._number += 1
        return event

    def tell(self, event: Event) -> list[bytes]:
        told = [framed(self.numbered(event))]
        return told + self._done if event["type"] in LAST else told

    def fail(self, event: Event, error: OpenAIError) -> list[bytes]:
        inner = failures.in_event(error)
        flat: Event = {"type": "error", **{k: inner[k] for k in ("code", "message", "param")}, "error": inner}
        return [framed(self.numbered(flat)), *self.tell(event)]

    def keepalive(self) -> list[bytes]:
        return [KEEPALIVE]


def framed(event: Event) -> bytes:
    """The event in one line. Echoes are left out if they make it too long for a client.

    That is: if without them it is short enough for the oldest client, or with them too long for any. A line that its output alone
    makes too long is sent as it is; there is nothing to leave out.
    """
    line = written(event)
    if len(line) >= SHORT_LINE and "response" in event:
        slim = written({**event, "response": event["response"] | BULKY})
        if len(slim) < SHORT_LINE or len(line) >= LONG_LINE:
            line = slim
    return encode(line, event["type"].encode())


class ResponsesStage(Stage):
    def __init__(self, answering: Answering, response_id: str, created_at: int, done: bool = True) -> None:
        """`response_id`, `created_at`: for an answer that upstream gives none, or never gives."""
        super().__init__(Story(answering, response_id, created_at), ResponsesWriter(answering, done))
