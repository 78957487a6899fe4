"""Responses to Chat Completions: the story (story.py) as chunks.

The order of things is settled before: items are whole, calls come one after the other, there is one end. So only two states are
left, and the first thing said decides how the message opens:

    SILENT    the client has had nothing
    SPEAKING  it has had the role; the role is never told again

The awkward cases:

- Parallel calls: `index` counts the calls. `output_index` would not do, reasoning and messages have one too.
- A call with nothing to say gets `{}` for its arguments: clients parse them. Not if it was cut off, for then it is not to be run.
- Legacy functions: one `function_call`, without id or index. There is room for one only. The request forbids a second; if it came,
  its arguments would be glued to the first's, so it is left out.
- Custom tools are in the API but not in the SDKs' chunk types. Only a client that has offered one can be given a call of it.
- Calls of hosted tools are upstream's own business and none of the client's.
- Several messages (commentary, then the answer): their texts one after the other, with nothing in between.
- Reasoning: `reasoning_content`, as DeepSeek, vLLM and the AI SDK have it, a blank line between its parts; never tags in the text,
  which would break whoever expects JSON there.
- Annotations are told when their message ends; their places are counted in the whole content.
- `length` wins over `tool_calls`: a call that was cut off is not to be run.
- A failure: an error frame and `[DONE]`. With a finish reason as well it would look like an answer.
"""

from collections.abc import Callable
from typing import Any

from addons.wire.errors import OpenAIError
from addons.wire.events import CALLS, THOUGHT, Event, written
from addons.wire.plan import Answering
from addons.wire.sse import DONE, KEEPALIVE, encode
from addons.wire.stage import Stage
from addons.wire.story import ENDS, Story
from addons.wire.turns import ADDED
from addons.wire.turns import DONE as ITEM_DONE
from addons.wire.usage import usage_of

type Chunk = dict[str, Any]

# How the message opens, by what is said first; as recorded from api.openai.com.
OPENINGS: dict[str, Chunk] = {
    "content": {"role": "assistant", "content": "", "refusal": None},
    "refusal": {"role": "assistant", "content": None, "refusal": ""},
}
OTHER_OPENING: Chunk = {"role": "assistant", "content": None}

# By the reason of `response.incomplete`. One that is not known must not pass for an answer that is whole.
UNFINISHED = {"max_output_tokens": "length", "content_filter": "content_filter"}


class ChatWriter:
    def __init__(self, answering: Answering, chat_id: str, created: int) -> None:
        self._answering = answering
        self._envelope: Chunk = {
            "id": chat_id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": answering.model,
            "service_tier": None,
            "system_fingerprint": None,
        }
        if answering.include_usage:
            self._envelope["usage"] = None
        self._around: tuple[bytes, bytes] | None = None  # what stands before and behind each delta in the stream
        self._silent = True
        self._calls: dict[int, int] = {}  # the item's output_index: how many calls came before it
        self._has_arguments = False  # the call that is being told
        self._blank_line = ""  # before the next reasoning, if there was some
        self._has_reasoning = False
        self._length = 0  # of the content
        self._starts: dict[tuple[int, int], int] = {}  # where in the content a part begins

    def deltas(self, event: Event) -> list[Chunk]:
        """What the message gains by one event of the story."""
        teller = TELLERS.get(event["type"])
        return teller(self, event) if teller else []

    def tell(self, event: Event) -> list[bytes]:
        teller = TELLERS.get(event["type"])
        if teller is None:
            return []
        told: list[bytes] = []
        if deltas := teller(self, event):
            before, behind = self._around or self._frame()
            told = [before + written(delta) + behind for delta in deltas]
        return told + self._end(event) if event["type"] in ENDS else told

    def fail(self, event: Event, error: OpenAIError) -> list[bytes]:
        return [encode(error.body()), DONE]

    def keepalive(self) -> list[bytes]:
        return [KEEPALIVE]

    @property
    def envelope(self) -> Chunk:
        """What every chunk of the answer says, whatever else it does."""
        return self._envelope

    def _frame(self) -> tuple[bytes, bytes]:
        """A chunk differs from the one before by its delta alone, so only that is written anew."""
        before, _, behind = encode(written(self._chunk({}, None))).rpartition(b"{}")
        self._around = before, behind
        return self._around

    def _chunk(self, delta: Chunk, finish_reason: str | None) -> Chunk:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**self._envelope, "choices": [choice]}

    def _say(self, member: str, value: Any) -> list[Chunk]:
        if not self._silent:
            return [{member: value}]
        self._silent = False
        return [OPENINGS.get(member, OTHER_OPENING), {member: value}]

    def _on_response(self, event: Event) -> list[Chunk]:
        self._envelope["service_tier"] = event["response"].get("service_tier") or self._envelope["service_tier"]
        self._around = None
        return []

    def _on_part(self, event: Event) -> list[Chunk]:
        if event["part"].get("type") == THOUGHT.part:
            return self._on_reasoning_part(event)
        self._starts[event["output_index"], event.get("content_index") or 0] = self._length
        return []

    def _on_text(self, event: Event) -> list[Chunk]:
        delta = event["delta"]
        self._length += len(delta)
        return self._say("content", delta) if self._silent else [{"content": delta}]

    def _on_refusal(self, event: Event) -> list[Chunk]:
        return self._say("refusal", event["delta"])

    def _on_reasoning(self, event: Event) -> list[Chunk]:
        if not self._answering.show_reasoning:
            return []
        reasoning, self._has_reasoning, self._blank_line = self._blank_line + event["delta"], True, ""
        return self._say("reasoning_content", reasoning)

    def _on_reasoning_part(self, event: Event) -> list[Chunk]:
        self._blank_line = "\n\n" if self._has_reasoning else ""
        return []

    def _on_call(self, event: Event) -> list[Chunk]:
        item = event["item"]
        if item["type"] not in CALLS:
            return []
        self._calls[event["output_index"]] = len(self._calls)
        self._has_arguments = False
        if item["type"] == "custom_tool_call":
            return self._say_call(event, {"id": item["call_id"], "type": "custom", "custom": {"name": item["name"], "input": ""}})
        function = {"name": item["name"], "arguments": ""}
        return self._say_call(event, {"id": item["call_id"], "type": "function", "function": function})

    def _on_arguments(self, event: Event) -> list[Chunk]:
        self._has_arguments = True
        return self._say_call(event, {"function": {"arguments": event["delta"]}})

    def _on_input(self, event: Event) -> list[Chunk]:
        return self._say_call(event, {"custom": {"input": event["delta"]}})

    def _say_call(self, event: Event, call: Chunk) -> list[Chunk]:
        index = self._calls[event["output_index"]]
        if not self._answering.legacy_functions:
            return self._say("tool_calls", [{"index": index, **call}])
        return self._say("function_call", call["function"]) if index == 0 and "function" in call else []

    def _on_item_done(self, event: Event) -> list[Chunk]:
        item = event["item"]
        if item["type"] == "message":
            found = [
                _moved(annotation, self._starts.get((event["output_index"], at), 0))
                for at, part in enumerate(item.get("content") or ())
                for annotation in part.get("annotations") or ()
                if isinstance(annotation, dict) and annotation.get("type") == "url_citation"
            ]
            return self._say("annotations", found) if found else []
        if item["type"] == "function_call" and not self._has_arguments and item.get("status") != "incomplete":
            return self._on_arguments({**event, "delta": "{}"})
        return []

    def _on_end(self, event: Event) -> list[Chunk]:
        self._on_response(event)
        return [OPENINGS["content"]] if self._silent else []

    def _end(self, event: Event) -> list[bytes]:
        told = [encode(written(self._chunk({}, self.finish_reason(event))))]
        if self._answering.include_usage and (usage := usage_of(event["response"])):
            told.append(encode(written({**self._envelope, "choices": [], "usage": usage.for_chat()})))
        return [*told, DONE]

    def finish_reason(self, event: Event) -> str:
        """Of an answer that ends with this event."""
        if event["type"] == "response.incomplete":
            details = event["response"].get("incomplete_details")
            reason = details.get("reason") if isinstance(details, dict) else None
            return UNFINISHED.get(str(reason), "length")
        if self._calls:
            return "function_call" if self._answering.legacy_functions else "tool_calls"
        return "stop"


def _moved(annotation: Event, start: int) -> Chunk:
    """The chat shape: nested, and its places counted from the begin of the content."""
    places = {name: annotation.get(name) for name in ("start_index", "end_index")}
    citation = {name: place + start if isinstance(place, int) else place for name, place in places.items()}
    return {
        "type": "url_citation",
        "url_citation": {**citation, "title": annotation.get("title"), "url": annotation.get("url")},
    }


# What is not here has no counterpart: that an answer is being worked on, hosted tools at work, texts being done.
TELLERS: dict[str, Callable[[ChatWriter, Event], list[Chunk]]] = {
    "response.created": ChatWriter._on_response,
    "response.content_part.added": ChatWriter._on_part,
    "response.output_text.delta": ChatWriter._on_text,
    "response.refusal.delta": ChatWriter._on_refusal,
    "response.reasoning_summary_part.added": ChatWriter._on_reasoning_part,
    "response.reasoning_summary_text.delta": ChatWriter._on_reasoning,
    "response.reasoning_text.delta": ChatWriter._on_reasoning,
    ADDED: ChatWriter._on_call,
    "response.function_call_arguments.delta": ChatWriter._on_arguments,
    "response.custom_tool_call_input.delta": ChatWriter._on_input,
    ITEM_DONE: ChatWriter._on_item_done,
    "response.completed": ChatWriter._on_end,
    "response.incomplete": ChatWriter._on_end,
}


class ChatStage(Stage):
    def __init__(self, answering: Answering, chat_id: str, created: int) -> None:
        super().__init__(Story(answering, chat_id, created), ChatWriter(answering, chat_id, created))
