import orjson
import pytest

from addons.wire.events import Event, Fate, Malformed, Reader, fate_of, written
from addons.wire.sse import COMMENT, ServerEvent


def read(data: bytes | str, name: bytes = b"") -> Event | None:
    return Reader().read(ServerEvent(name, data.encode() if isinstance(data, str) else data))


def delta_event(delta: str, **members: object) -> ServerEvent:
    """`delta` as it stands in JSON, escapes and all."""
    event = {"type": "response.output_text.delta", "output_index": 0, "delta": "DELTA", **members}
    return ServerEvent(b"", orjson.dumps(event).replace(b"DELTA", delta.encode()))


def deltas(*given: str) -> list[str]:
    reader = Reader()
    events = [reader.read(delta_event(delta)) for delta in given]
    return [event["delta"] for event in events if event]


@pytest.mark.parametrize(
    ("kind", "fate"),
    [
        ("response.created", Fate.TOLD),
        ("response.output_text.delta", Fate.TOLD),
        ("response.never_heard_of", Fate.TOLD),
        ("error", Fate.TOLD),
        ("keepalive", Fate.ALIVE),
        ("ping", Fate.ALIVE),
        ("codex.rate_limits", Fate.ASIDE),
        ("codex.response.metadata", Fate.ASIDE),
        ("responsesapi.websocket_timing", Fate.ASIDE),
        ("something.else", Fate.ASIDE),
        ("", Fate.ASIDE),
    ],
)
def test_which_events_are_for_the_client(kind: str, fate: Fate) -> None:
    assert fate_of(kind) is fate


READ = {
    "an event": (b"", b'{"type":"response.x","a":1}', {"type": "response.x", "a": 1}),
    "the data's type counts": (b"response.y", b'{"type":"response.x"}', {"type": "response.x"}),
    "a type only in the name": (b"codex.x", b"{}", {"type": "codex.x"}),
    "an error without a type": (b"", b'{"error":{"code":"c"}}', {"type": "error", "error": {"code": "c"}}),
    "a detail without a type": (b"message", b'{"detail":"no"}', {"type": "error", "detail": "no"}),
    "no data": (b"keepalive", b"", {"type": "keepalive"}),
    "no data and no name": (b"", b"", {"type": "keepalive"}),
    "a comment": (*COMMENT, {"type": "keepalive"}),
    "the end mark": (b"", b"[DONE]", None),
    "the end mark with a blank": (b"", b" [DONE] ", None),
    "nulls": (b"", b'{"type":"response.x","delta":null,"item_id":null}', {"type": "response.x", "delta": None, "item_id": None}),
    "U+2028": (b"", '{"type":"x","a":"\u2028"}'.encode(), {"type": "x", "a": "\u2028"}),
    "bytes that are no UTF-8": (b"", b'{"type":"x","a":"\xff"}', {"type": "x", "a": "\ufffd"}),
    "half a pair": (b"", rb'{"type":"x","a":["\ud83d"],"\ud83d":1}', {"type": "x", "a": ["\ufffd"], "\ufffd": 1}),
    "and a number beyond 64 bits": (
        b"",
        rb'{"type":"x","a":18446744073709551616,"":"\ud83d"}',
        {"type": "x", "a": 2.0**64, "": "\ufffd"},
    ),
}


@pytest.mark.parametrize(("name", "data", "event"), READ.values(), ids=READ)
def test_what_is_read(name: bytes, data: bytes, event: Event | None) -> None:
    assert read(data, name) == event


MALFORMED = {
    "no JSON": b"oops",
    "JSON that is cut": b'{"type":"response.x"',
    "no object": b'["response.x"]',
    "no type": b"{}",
    "a type that is none": b'{"type":1}',
    "NaN": b'{"type":"response.x","a":NaN}',
    "infinity beside half a pair": rb'{"type":"response.x","a":1e999,"b":"\ud83d"}',
    "too deep": b"[" * 100_000,
    "too deep to be written": rb'{"type":"x","b":"\ud83d","a":' + b"[" * 600 + b"]" * 600 + b"}",
    "a delta that is no text": b'{"type":"response.output_text.delta","delta":1}',
    "an index that is no number": b'{"type":"response.output_text.delta","output_index":"0"}',
    "an index that is a boolean": b'{"type":"response.output_text.delta","output_index":true}',
    "an item id that is no text": b'{"type":"response.output_text.delta","item_id":[]}',
    "no response": b'{"type":"response.completed"}',
    "no item": b'{"type":"response.output_item.done","item":null}',
    "an item without a type": b'{"type":"response.output_item.done","item":{}}',
    "a part without a type": b'{"type":"response.content_part.added","part":{"type":null}}',
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_what_cannot_be_read_is_said_so(data: bytes) -> None:
    with pytest.raises(Malformed):
        read(data)


def test_an_event_for_the_client_has_data() -> None:
    with pytest.raises(Malformed, match="response.completed without data"):
        read(b"", b"response.completed")


def test_members_of_events_that_are_not_for_the_client_may_be_anything() -> None:
    assert read('{"type":"codex.x","text":1,"output_index":"a"}') == {"type": "codex.x", "text": 1, "output_index": "a"}


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ((r"a\ud83d", r"\ude00b"), ["a", "😀b"]),
        ((r"\ud83d", r"\ude00"), ["", "😀"]),
        ((r"\ud83d\ude00",), ["😀"]),
        ((r"a\ud83d", "b"), ["a", "\ufffdb"]),
        ((r"a\ud83d", r"\ud83d", r"\ude00"), ["a", "\ufffd", "😀"]),
        ((r"\ude00\ud83d", r"\ude00"), ["\ufffd", "😀"]),
        ((r"a\ud83d", "", r"\ude00"), ["a", "", "😀"]),
    ],
)
def test_an_emoji_that_is_cut_between_two_deltas_is_put_together(given: tuple[str, ...], read: list[str]) -> None:
    assert deltas(*given) == read


def test_halves_in_other_texts_do_not_meet() -> None:
    reader = Reader()
    events = [
        delta_event(r"\ud83d", output_index=0),
        delta_event(r"\ude00", output_index=1),
        delta_event(r"\ude00", output_index=0),
    ]
    assert [(reader.read(event) or {})["delta"] for event in events] == ["", "\ufffd", "😀"]


def test_everything_that_can_be_read_can_be_written() -> None:
    assert written({"a": "😀"}) == '{"a":"😀"}'.encode()
    assert written({"a": ["\ud83d"]}) == rb'{"a":["\ud83d"]}'
    deepest = b'{"type":"response.x","a":' + b"[" * 1023 + b"]" * 1023 + b"}"
    assert written(read(deepest)) == deepest
