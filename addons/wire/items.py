"""The output items of one answer, each told whole, with what upstream left out put in. The order is right already (turns.py).

    output_item.added
        content_part.added, deltas, output_text.done, content_part.done     once for each part
        deltas, function_call_arguments.done                                for a call
    output_item.done

Text that comes only with a `done` is told as a delta first. Empty deltas are left out, giant ones are cut (MAX_PIECE). `done` is
what counts: where it differs from the deltas the finished item has what `done` said, and no delta takes anything back. An item
whose `done` is empty gets what its deltas told.

A limit that is reached (cutoff.py) ends the telling: later events are not taken, and `close` finishes what has been begun.
"""

from collections.abc import Callable, Mapping
from typing import Any

from addons.wire.cutoff import Limits
from addons.wire.events import CALLS, DELTAS, DONES, OUTPUT_TEXT, PART_EVENTS, PARTS, Event, Family, Malformed
from addons.wire.turns import ADDED, DONE

# Some clients read lines of 64 KiB at most. JSON writes a character in six bytes at worst (\\u0001), and what stands around it fits
# into the rest.
MAX_PIECE = 10_000

# In which list of the item a part is announced or closed, and which of the two.
PART_MOMENTS = {f"{stem}.{moment}": (home, moment == "added") for home, stem in PART_EVENTS.items() for moment in ("added", "done")}


class Text:
    """One text of an item: a part, or what a call is called with. `pieces` has been told, `held` is kept back by a limit."""

    __slots__ = ("annotations", "family", "held", "index", "part_done", "pieces", "told")

    def __init__(self, family: Family, index: int) -> None:
        self.family = family
        self.index = index
        self.annotations: list[Any] = []
        self.pieces: list[str] = []
        self.held = ""
        self.told = False
        self.part_done = not family.home

    @property
    def received(self) -> str:
        return "".join(self.pieces) + self.held

    def part(self) -> Event:
        part: Event = {"type": self.family.part, self.family.whole: self.received}
        return part | {"annotations": self.annotations} if self.annotations else part


class Item:
    __slots__ = ("done", "index", "texts", "value")

    def __init__(self, index: int, value: Event) -> None:
        self.index = index
        self.value = value
        self.texts: dict[tuple[str, int], Text] = {}
        self.done = False

    def filled(self, value: Event) -> Event:
        """The value, with the empty members of it as the deltas told them."""
        if all(value.get(text.family.home or text.family.whole) for text in self.texts.values()):
            return value
        texts = sorted(self.texts.values(), key=lambda text: text.index)
        heard: Event = {text.family.whole: text.received for text in texts if not text.family.home}
        for home in {text.family.home for text in texts if text.family.home}:
            heard[home] = [text.part() for text in texts if text.family.home == home]
        return value | {member: told for member, told in heard.items() if not value.get(member)}

    def event(self, kind: str, text: Text) -> Event:
        """One of those that upstream has left out."""
        event: Event = {"type": kind, "item_id": self.value["id"], "output_index": self.index}
        if text.family.place:
            event[text.family.place] = text.index
        return event


class Items:
    def __init__(self, limits: Limits | None, names: Mapping[str, str], call_ids: Mapping[str, str], annotations: bool) -> None:
        self._limits = limits
        self._names = names
        self._call_ids = call_ids
        self._annotations = annotations
        self._items: dict[int, Item] = {}
        self._out: list[Event] = []

    def take(self, event: Event, out: list[Event]) -> None:
        """Adds to `out` what is to be told because of it. Raises Malformed. The event is used up: it may be among what is told."""
        if self._limits is not None and self._cut:
            return
        self._out = out
        handler = HANDLERS.get(event["type"])
        if handler:
            handler(self, event)
        else:
            out.append(event)

    def close(self, status: str, out: list[Event]) -> None:
        """After a cut: the ends of what has been begun. What was held back stays untold."""
        self._limits = None
        self._out = out
        for item in self._items.values():
            if not item.done:
                for text in item.texts.values():
                    text.held = ""
                self._on_done({"type": DONE, "output_index": item.index, "item": {"status": status}})

    def values(self) -> list[Event]:
        """The items in order, as far as they have been told."""
        items = [item for _, item in sorted(self._items.items())]
        return [item.value if item.done else self._tidied(item.filled(item.value | {"status": "incomplete"})) for item in items]

    @property
    def _cut(self) -> bool:
        return self._limits is not None and self._limits.reached is not None

    def _on_added(self, event: Event) -> None:
        value = event["item"] = self._tidied(event["item"])
        self._items[event["output_index"]] = Item(event["output_index"], value)
        self._out.append(event)

    def _on_delta(self, event: Event) -> None:
        delta = event.get("delta")
        if not delta:
            return
        family, item = DELTAS[event["type"]], self._items[event["output_index"]]
        at: Any = event.get(family.place) if family.place else 0
        text = item.texts.get((family.stem, at)) or self._text(item, family, _place_of(event, family))
        if text.told:
            return
        if self._limits:
            delta = event["delta"] = self._limits.admit(text, delta)
            if not delta:
                return
        text.pieces.append(delta)
        if family is OUTPUT_TEXT and "logprobs" not in event:
            event["logprobs"] = []
        if len(delta) > MAX_PIECE:
            self._out += [{**event, "delta": delta[at : at + MAX_PIECE]} for at in range(0, len(delta), MAX_PIECE)]
        else:
            self._out.append(event)

    def _on_text_done(self, event: Event) -> None:
        family, item = DONES[event["type"]], self._items[event["output_index"]]
        self._finish_text(item, self._text(item, family, _place_of(event, family)), event.get(family.whole), event)

    def _on_part(self, event: Event) -> None:
        home, is_added = PART_MOMENTS[event["type"]]
        family, item = PARTS.get((home, str(event["part"].get("type")))), self._items[event["output_index"]]
        if family is None:  # of a kind that is not known here, unless it contradicts what its place was said to be
            if not any(text.family.home == home and text.index == event.get(text.family.place) for text in item.texts.values()):
                self._out.append(event)
        elif is_added:
            self._text(item, family, _place_of(event, family), event)
        else:
            self._finish_part(item, self._text(item, family, _place_of(event, family)), event["part"], event)

    def _on_annotation(self, event: Event) -> None:
        if self._annotations:
            text = self._text(self._items[event["output_index"]], OUTPUT_TEXT, _place_of(event, OUTPUT_TEXT))
            text.annotations.append(event.get("annotation"))
            self._out.append(event)

    def _on_done(self, event: Event) -> None:
        item = self._items[event["output_index"]]
        value = item.value | self._tidied(event["item"])
        for home in PART_EVENTS:
            for at, part in enumerate(value.get(home) or ()):
                if family := PARTS.get((home, part.get("type"))):
                    self._finish_part(item, self._text(item, family, at), part)
        if family := CALLS.get(value["type"]):
            whole = value.get(family.whole)
            if not isinstance(whole, str | None):
                raise Malformed(f"{family.whole} of a call that are no string")
            self._finish_text(item, self._text(item, family, 0), whole or None)
        for text in item.texts.values():
            self._finish_part(item, text, {})
        if not self._cut:
            filled = item.filled(value)
            item.value = event["item"] = value if filled is value else self._tidied(filled)
            item.texts.clear()
            item.done = True
            self._out.append(event)

    def _text(self, item: Item, family: Family, at: int, event: Event | None = None) -> Text:
        """The text of that place, announced if it is new."""
        text = item.texts.get((family.stem, at))
        if text is None:
            if family.item != item.value["type"]:
                raise Malformed(f"{family.stem} in an item of type {item.value['type']}")
            text = item.texts[family.stem, at] = Text(family, at)
            if family.home:
                event = event or item.event(f"{PART_EVENTS[family.home]}.added", text)
                event["part"] = self._tidied_part({**event.get("part", {}), "type": family.part, family.whole: ""})
                self._out.append(event)
        return text

    def _finish_text(self, item: Item, text: Text, whole: str | None, event: Event | None = None) -> None:
        if text.told or self._cut:
            return
        received, kind = text.received, f"{text.family.stem}.delta"
        if whole is None:
            whole = received
        elif len(whole) > len(received) and whole.startswith(received):
            self._on_delta(item.event(kind, text) | {"delta": whole[len(received) :]})
            if self._cut:
                return
        if text.held:
            self._out.append({**item.event(kind, text), "delta": text.held, "logprobs": []})
            text.held = ""
        text.pieces, text.told = [whole], True
        event = event or item.event(f"{text.family.stem}.done", text)
        event[text.family.whole] = whole
        if text.family is OUTPUT_TEXT:
            event.setdefault("logprobs", [])
        self._out.append(self._restored(event))

    def _finish_part(self, item: Item, text: Text, part: Event, event: Event | None = None) -> None:
        whole = part.get(text.family.whole)
        self._finish_text(item, text, whole if isinstance(whole, str) else None)
        if text.part_done or self._cut:
            return
        text.part_done = True
        event = event or item.event(f"{PART_EVENTS[text.family.home]}.done", text)
        event["part"] = self._tidied_part(text.part() | part)
        self._out.append(event)

    def _tidied(self, value: Event) -> Event:
        """With every member that the schemas demand, and the names that the client knows."""
        for home in PART_EVENTS:
            if home in value:
                parts: Any = value[home] if isinstance(value[home], list) else []
                value = value | {home: [self._tidied_part(part) for part in parts if _is_part(part)]}
        return self._restored(value)

    def _tidied_part(self, part: Event) -> Event:
        if part.get("type") != OUTPUT_TEXT.part:
            return part
        annotations, logprobs = part.get("annotations"), part.get("logprobs")
        return part | {
            "annotations": annotations if self._annotations and isinstance(annotations, list) else [],
            "logprobs": logprobs if isinstance(logprobs, list) else [],
        }

    def _restored(self, value: Event) -> Event:
        for member, known in (("name", self._names), ("call_id", self._call_ids)):
            if known and isinstance(name := value.get(member), str):
                value[member] = known.get(name, name)
        return value


def _place_of(event: Event, family: Family) -> int:
    """Which of the item's texts; said in the event afterwards."""
    if not family.place:
        return 0
    if event.get(family.place) is None:
        event[family.place] = 0
    place: int = event[family.place]
    return place


def _is_part(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("type"), str)


HANDLERS: dict[str, Callable[[Items, Event], None]] = {
    **dict.fromkeys(DELTAS, Items._on_delta),
    ADDED: Items._on_added,
    DONE: Items._on_done,
    "response.output_text.annotation.added": Items._on_annotation,
    **dict.fromkeys(DONES, Items._on_text_done),
    **dict.fromkeys(PART_MOMENTS, Items._on_part),
}
