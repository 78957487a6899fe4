"""An answer as a person reads it: what was said and called, put together from its pieces, what it cost, and which events it was."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from addons.wire.events import CALLS, DELTAS, DONES
from addons.wire.readable import compact, content, objects, one_line, page, parsed, piece, raw, text_of
from addons.wire.sse import COMMENT, DONE, Decoder, EventTooLarge
from addons.wire.usage import usage_in

type Piece = tuple[float | None, bytes]
"""A part of the answer, and the seconds after the request's start at which it came, if they are known."""

# An answer has 50 kinds of events at most, and as many items as its model has patience for.
MAX_KINDS = 100
MAX_BLOCKS = 500

TITLES = {
    "output_text": "answer",
    "refusal": "refusal",
    "reasoning_summary_text": "reasoning",
    "reasoning_text": "reasoning",
    "content": "answer",
    "reasoning_content": "reasoning",
    "reasoning": "reasoning",
}


@dataclass(slots=True)
class Block:
    title: str
    pieces: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Seen:
    """Events of one kind."""

    count: int = 0
    first: float | None = None
    last: float | None = None


class Assembly:
    """Takes an answer's events, of either dialect, in their order."""

    def __init__(self) -> None:
        self.blocks: dict[tuple[Any, ...], Block] = {}
        self.seen: dict[str, Seen] = {}
        self.head: dict[str, str] = {}
        """What is known of the answer as a whole, by what it is."""
        self.errors: list[str] = []
        self.usage: str = ""

    def note(self, kind: str, at: float | None) -> None:
        if kind not in self.seen and len(self.seen) >= MAX_KINDS:
            kind = "(others)"
        seen = self.seen.setdefault(kind, Seen())
        seen.count += 1
        seen.last = at
        if seen.count == 1:
            seen.first = at

    def take(self, event: dict[str, Any]) -> None:
        kind = text_of(event.get("type"))
        if kind in DELTAS:
            self._block(kind.removesuffix(".delta"), event).pieces.append(text_of(event.get("delta")))
        elif kind in DONES:
            whole = text_of(event.get(DONES[kind].whole))
            if whole:
                self._block(kind.removesuffix(".done"), event).pieces = [whole]
        elif isinstance(event.get("item"), dict) and kind.startswith("response.output_item."):
            self._item(event["item"], event.get("output_index"))
        elif isinstance(event.get("response"), dict):
            self.document(event["response"])
        elif "choices" in event or "error" in event or kind == "error":
            self.document(event)

    def document(self, told: dict[str, Any]) -> None:
        """A response object, a chat completion, one of its chunks, or an error."""
        for name in ("model", "id", "status"):
            if text_of(told.get(name)):
                self.head[name] = one_line(told[name])
        for position, item in enumerate(objects(told.get("output"))):
            self._item(item, position)
        for choice in objects(told.get("choices")):
            self._choice(choice)
        if usage := usage_in(told):
            cached = f" ({usage.cached_tokens} of it from the cache)" if usage.cached_tokens else ""
            thought = f" ({usage.reasoning_tokens} of it reasoning)" if usage.reasoning_tokens else ""
            self.usage = f"{usage.input_tokens} tokens in{cached}, {usage.output_tokens} out{thought}"
        failure = told.get("error") or (told if told.get("type") == "error" else None)
        if failure:
            self.errors.append(_error(failure))
        if isinstance(told.get("incomplete_details"), dict):
            self.head["because of"] = one_line(compact(told["incomplete_details"].get("reason")))

    def _block(self, stem: str, event: dict[str, Any]) -> Block:
        family = DELTAS[f"{stem}.delta"]
        if family.item in CALLS:
            return self._named(("item", event.get("output_index")), f"call  {text_of(event.get('item_id'))}")
        part = event.get("content_index", event.get("summary_index"))
        return self._named(("item", event.get("output_index"), stem, part), TITLES.get(stem.rpartition(".")[2], stem))

    def _named(self, key: tuple[Any, ...], title: str) -> Block:
        try:
            if key not in self.blocks and len(self.blocks) >= MAX_BLOCKS:
                key, title = ("others",), "more"
            return self.blocks.setdefault(key, Block(title))
        except TypeError:  # an index that is a list
            return self.blocks.setdefault(("others",), Block("more"))

    def _item(self, item: dict[str, Any], index: Any) -> None:
        kind = text_of(item.get("type"))
        if kind in CALLS:
            block = self._named(("item", index), "")
            block.title = f"call {item.get('name')}  {item.get('call_id', '')}"
            block.pieces = [text_of(item.get(CALLS[kind].whole))] if item.get(CALLS[kind].whole) else block.pieces
        elif kind in ("message", "reasoning"):
            known = any(key[:2] == ("item", index) for key in self.blocks)
            parts = [*content(item.get("summary") or None), *content(item.get("content") or None)]
            if parts and not known:
                self._named(("item", index), "answer" if kind == "message" else kind).pieces = parts
        elif kind:
            self._named(("item", index), kind).pieces = [one_line(compact(item))]

    def _choice(self, choice: dict[str, Any]) -> None:
        index = choice.get("index")
        told = next((told for name in ("delta", "message") if isinstance(told := choice.get(name), dict)), {})
        for name in ("reasoning_content", "reasoning", "content", "refusal"):
            if text_of(told.get(name)):
                self._named((name, index), TITLES.get(name, name)).pieces.append(told[name])
        for position, call in enumerate(objects(told.get("tool_calls"))):
            function = call.get("function")
            named = function if isinstance(function, dict) else {}
            block = self._named(("call", index, call.get("index", position)), "call")
            if text_of(named.get("name")):
                block.title = f"call {named['name']}  {call.get('id', '')}"
            block.pieces.append(text_of(named.get("arguments")))
        if text_of(choice.get("finish_reason")):
            self.head["ended with"] = one_line(choice["finish_reason"])

    def sections(self) -> Iterator[tuple[str, Iterable[str]]]:
        if self.head:
            yield "", [" · ".join(f"{name} {value}" for name, value in self.head.items())]
        for error in self.errors[:3]:
            yield "error", [error]
        for block in self.blocks.values():
            text = "".join(block.pieces) if block.title != "more" else "\n".join(block.pieces)
            yield block.title, [piece(text)]
        if self.usage:
            yield "cost", [self.usage]
        if self.seen:
            yield "events", [_line(kind, seen) for kind, seen in self.seen.items()]


def answer_text(pieces: Iterable[Piece]) -> str:
    """Of a stream, or of a JSON document, whole or in pieces."""
    told = list(pieces)
    data = b"".join(data for _, data in told)
    document = parsed(data)
    assembly = Assembly()
    if isinstance(document, dict):
        assembly.document(document)
        return page(assembly.sections()) if assembly.blocks or assembly.errors or assembly.usage else raw(data)
    for at, name, event in _events([*told, (told[-1][0] if told else None, b"")]):
        assembly.note(name, at)
        assembly.take(event)
    return page(assembly.sections()) if assembly.seen else raw(data)


def _events(pieces: Iterable[Piece]) -> Iterator[tuple[float | None, str, dict[str, Any]]]:
    decoder = Decoder()
    for at, data in pieces:
        try:
            found = decoder.feed(data)
        except EventTooLarge:
            return
        for event in found:
            if event is COMMENT:
                yield at, "(comment)", {}
            elif event.data.strip() == DONE[6:].strip():
                yield at, "[DONE]", {}
            else:
                told = parsed(event.data)
                named = told if isinstance(told, dict) else {}
                name = text_of(named.get("type")) or event.name.decode("utf-8", "replace") or text_of(named.get("object"))
                yield at, one_line(name, 80) or ("(unreadable)" if told is None else "(nameless)"), named


def _error(error: Any) -> str:
    if not isinstance(error, dict):
        return one_line(text_of(error) or compact(error))
    named = " ".join(one_line(text_of(error.get(name)), 80) for name in ("type", "code") if text_of(error.get(name)))
    message = one_line(text_of(error.get("message")), 1000)
    return ": ".join(filter(None, (named, message))) or one_line(compact(error))


def _line(kind: str, seen: Seen) -> str:
    when = "" if seen.first is None or seen.last is None else f"{seen.first:8.2f}s"
    until = f" – {seen.last:.2f}s" if when and seen.count > 1 and seen.last is not None else ""
    return f"{when}{until:11} {seen.count:6}  {kind}" if when else f"{seen.count:6}  {kind}"
