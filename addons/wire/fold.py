"""The answer for a client that does not stream: what the streaming machines tell, put together as a client would.

A fold is a stage like the others (stage.py). It says nothing until the end, and then everything: the one JSON, or an error's
envelope, with `refusal` set. No failure comes too late here to get the status it deserves.
"""

from collections import defaultdict
from typing import Any

from addons.wire.chat_stream import ChatWriter, Chunk
from addons.wire.errors import OpenAIError
from addons.wire.events import CALLS, Event, written
from addons.wire.plan import Answering
from addons.wire.responses_stream import ResponsesWriter
from addons.wire.stage import Stage
from addons.wire.story import ENDS, Story
from addons.wire.usage import usage_of


class Fold(Stage):
    @property
    def decided(self) -> bool:
        return self.finished

    @property
    def refusal(self) -> OpenAIError | None:
        return self.failure


class ResponsesFold(Fold):
    def __init__(self, answering: Answering, response_id: str, created_at: int) -> None:
        super().__init__(Story(answering, response_id, created_at), ResponsesFolder(answering))


class ChatFold(Fold):
    def __init__(self, answering: Answering, chat_id: str, created: int) -> None:
        super().__init__(Story(answering, chat_id, created), ChatFolder(answering, chat_id, created))


def folded(stage: Fold, stream: bytes) -> bytes | OpenAIError:
    """All at once, for a caller that has the whole of upstream's stream."""
    body = b"".join([*stage(stream), *stage(b"")])
    return stage.refusal or body


class Folder:
    """A writer (stage.py) of the one JSON: `tell` is quiet until the end."""

    def fail(self, event: Event, error: OpenAIError) -> list[bytes]:
        return [error.body()]

    def keepalive(self) -> list[bytes]:
        return []


class ResponsesFolder(Folder):
    def __init__(self, answering: Answering) -> None:
        self._writer = ResponsesWriter(answering)

    def tell(self, event: Event) -> list[bytes]:
        if event["type"] not in ENDS:
            return []
        return [written(self._writer.numbered(event)["response"])]


class ChatFolder(Folder):
    def __init__(self, answering: Answering, chat_id: str, created: int) -> None:
        self._writer = ChatWriter(answering, chat_id, created)
        self._legacy = answering.legacy_functions
        self._texts: defaultdict[str, list[str]] = defaultdict(list)
        self._calls: list[tuple[Chunk, list[str]]] = []  # each as it was opened, and the pieces of what it is called with
        self._annotations: list[Chunk] = []

    def tell(self, event: Event) -> list[bytes]:
        for delta in self._writer.deltas(event):
            self._merge(delta)
        return [self._completion(event)] if event["type"] in ENDS else []

    def _merge(self, delta: Chunk) -> None:
        for member, value in delta.items():
            if member == "tool_calls":
                for call in value:
                    self._merge_call(call["index"], call)
            elif member == "function_call":
                self._merge_call(0, {"type": "function", "function": value})
            elif member == "annotations":
                self._annotations += value
            elif member != "role" and value is not None:
                self._texts[member].append(value)

    def _merge_call(self, index: int, call: Chunk) -> None:
        if index == len(self._calls):
            self._calls.append((call, []))
        opened, pieces = self._calls[index]
        pieces.append(call[opened["type"]][_argument(opened)])

    def _completion(self, event: Event) -> bytes:
        usage = usage_of(event["response"])
        finish_reason = self._writer.finish_reason(event)
        choice = {"index": 0, "message": self._message(), "logprobs": None, "finish_reason": finish_reason}
        envelope = {**self._writer.envelope, "object": "chat.completion"}
        return written({**envelope, "choices": [choice], "usage": usage.for_chat() if usage else None})

    def _message(self) -> Chunk:
        texts: dict[str, Any] = {member: "".join(pieces) for member, pieces in self._texts.items()}
        message: Chunk = {"role": "assistant", "content": None, "refusal": None, "annotations": self._annotations, **texts}
        calls = [
            {"id": call.get("id"), "type": call["type"], call["type"]: {**call[call["type"]], _argument(call): "".join(pieces)}}
            for call, pieces in self._calls
        ]
        if calls:
            message |= {"function_call": calls[0]["function"]} if self._legacy else {"tool_calls": calls}
        return message


def _argument(call: Chunk) -> str:
    return CALLS["custom_tool_call" if call["type"] == "custom" else "function_call"].whole
