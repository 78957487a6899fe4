"""Upstream's streams: genuine ones from the fake, and broken, mixed up and hurried ones made of the same events."""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from hypothesis import strategies as st

from tests.fakes.events import Event, frame, response_object, story, usage_of
from tests.fakes.speech import Call, Message, Prompt, Reasoning, Utterance

LONG_ID = re.compile(r"(?<=_)[\w-]{24,}")
RATE_LIMITS: Event = {"type": "codex.rate_limits", "plan_type": "plus"}
TERMINAL = ("response.completed", "response.incomplete", "response.failed")

HELLO = (Message("Hello there, old friend."),)
CITATION: Event = {"type": "url_citation", "url": "https://example.org", "title": "t", "start_index": 1, "end_index": 3}
TWO_CALLS = (Call("weather", '{"city": "Bern"}'), Call("clock", "{}"))
EVERYTHING = (
    Reasoning("First I think."),
    Message("Let me look that up."),
    *TWO_CALLS,
    Call("patch", "*** Begin Patch", "custom"),
    Reasoning("Then again."),
    Message("Grüße, 世界 👋🏽\u2028done"),
)


def answer(*said: Utterance, fill: bool = False, **body: Any) -> list[Event]:
    """The events of the Codex backend's answer: numbered, with its own in between and nothing in the last one's output."""
    prompt = Prompt(length=7)
    events = story(response_object({"model": "gpt-upstream", **body}), said, usage_of(prompt, said), fill)
    numbered = [{"type": event["type"], "sequence_number": n, **event} for n, event in enumerate(events)]
    return [RATE_LIMITS, *numbered[:-1], RATE_LIMITS, numbered[-1]]


def cited(events: list[Event], *annotations: Event) -> list[Event]:
    """The same with annotations at every text that is done."""
    for event in events:
        for part in [event.get("part"), *event.get("item", {}).get("content", ())]:
            if part and part.get("text"):
                part["annotations"] = [*annotations]
    return events


def small(events: Sequence[Event]) -> list[Event]:
    """The same in few bytes, for tests that try every one of them: short ids, no echoes in the response objects."""
    kept = ("id", "model", "status", "output", "usage", "error", "incomplete_details")
    short = [
        event | {"response": {name: event["response"][name] for name in kept}} if "response" in event else event for event in events
    ]
    shortened: list[Event] = orjson.loads(LONG_ID.sub(lambda match: match[0][:8], orjson.dumps(short).decode()))
    return shortened


def sse(events: Sequence[Event]) -> bytes:
    return b"".join(map(frame, events))


def without(events: Sequence[Event], *kinds: str) -> list[Event]:
    return [event for event in events if not any(kind in event["type"] for kind in kinds)]


def ended(events: Sequence[Event], kind: str, **members: Any) -> list[Event]:
    """The same with another end."""
    response = {**events[-1]["response"], "status": kind.removeprefix("response."), **members}
    return [*events[:-1], {"type": kind, "response": response}]


def two_pieces(data: bytes) -> Iterator[list[bytes]]:
    return ([data[:at], data[at:]] for at in range(1, len(data)))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.sampled_from(
    ["", "\u2028", "👩‍👩‍👧‍👦", "\x00\x01", '"\\', "\r\n", "data: [DONE]\n\n"]
)
arguments = texts | st.sampled_from(["{}", '{"a": 1}', '{"text": "\\u2028"}'])
utterances = st.one_of(
    st.builds(Reasoning, texts),
    st.builds(Message, texts, st.booleans()),
    st.builds(Call, st.sampled_from(["f", "g"]), arguments, st.sampled_from(["function", "custom"])),
)


def in_deltas(draw: st.DrawFn, text: str) -> list[str]:
    """The text in pieces, some of them empty."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[start:end] for start, end in itertools.pairwise([0, *cuts, len(text)])]


@st.composite
def answers(draw: st.DrawFn) -> tuple[list[Event], list[Event]]:
    """The finished items of an answer, and its events: deltas of any size, the calls mixed into everything else, much left out.

    What stays is enough to know everything: each text is in its deltas or in the `done` of its item.
    """
    events = without(answer(*draw(st.lists(utterances, max_size=4)), fill=draw(st.booleans())), "codex.")
    items = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    lanes: dict[int, list[Event]] = {}  # what is no call comes in order, in a lane of its own
    for index, item in enumerate(items):
        of_item = [event for event in events if event.get("output_index") == index]
        lanes.setdefault(index if "call" in item["type"] else -1, []).extend(_sloppy(draw, _redelta(draw, of_item), item))
    mixed = []
    while waiting := [lane for lane in lanes.values() if lane]:
        mixed.append(waiting[draw(st.integers(0, len(waiting) - 1))].pop(0))
    return items, [*events[:2], *mixed, events[-1]]


def _redelta(draw: st.DrawFn, events: list[Event]) -> list[Event]:
    deltas = [event for event in events if event["type"].endswith(".delta")]
    if not deltas:
        return events
    first = events.index(deltas[0])
    pieces = in_deltas(draw, "".join(event["delta"] for event in deltas))
    return [*events[:first], *({**deltas[0], "delta": piece} for piece in pieces), *events[first + len(deltas) :]]


SLOPPY = [
    (),
    ("_part.added",),
    ("_part.", "_text.done", "refusal.done", "arguments.done", "input.done"),
    (".delta",),
    ("item.added",),
]


def _sloppy(draw: st.DrawFn, events: list[Event], item: Event) -> list[Event]:
    left_out = draw(st.sampled_from(SLOPPY))
    may_stay_open = left_out != (".delta",) and (left_out != ("item.added",) or "call" not in item["type"])
    return without(events, *left_out, *(["item.done"] if may_stay_open and draw(st.booleans()) else []))
