"""What holds for the stages of every dialect, whatever upstream sends and however it is cut up."""

import copy
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addons.streams import StreamChain
from addons.wire import stage as stage_module
from addons.wire.chat_stream import ChatStage
from addons.wire.errors import OpenAIError
from addons.wire.fold import ChatFold, Fold, ResponsesFold, folded
from addons.wire.plan import Answering
from addons.wire.responses_stream import ResponsesStage
from addons.wire.sse import MAX_EVENT
from addons.wire.stage import MAX_SIDE_EVENTS, Stage
from tests.fakes.events import Event, frame
from tests.fakes.speech import Message, Utterance
from tests.wire.clients import DONE, KEEPALIVE, ChatAnswer, ResponsesAnswer, byte_by_byte, feed, read_chat, read_responses
from tests.wire.upstream import (
    CITATION,
    EVERYTHING,
    HELLO,
    RATE_LIMITS,
    answer,
    answers,
    cited,
    ended,
    small,
    sse,
    two_pieces,
    without,
)

RESPONSES = Answering("responses", True, "gpt-client")
CHAT = Answering("chat", True, "gpt-client", include_usage=True, custom_tools=True)
LIMITED: dict[str, Any] = {"max_output_tokens": 9, "stop": ("the", "ou s")}


def responses(**more: Any) -> ResponsesStage:
    return ResponsesStage(Answering("responses", True, "gpt-client", **more), "resp_1", 1)


def chat(**more: Any) -> ChatStage:
    return ChatStage(Answering("chat", True, "gpt-client", include_usage=True, custom_tools=True, **more), "chatcmpl-1", 1)


def stages(**more: Any) -> Iterator[Stage]:
    yield responses(**more)
    yield chat(**more)
    yield ResponsesFold(Answering("responses", False, "gpt-client", **more), "resp_1", 1)
    yield ChatFold(Answering("chat", False, "gpt-client", **more), "chatcmpl-1", 1)


def read_both(*pieces: bytes) -> tuple[ResponsesAnswer, ChatAnswer]:
    return read_responses(feed(responses(), *pieces)), read_chat(feed(chat(), *pieces), include_usage=True)


STREAMS: dict[str, list[Event]] = {
    "a greeting": answer(*HELLO),
    "everything": answer(*EVERYTHING),
    "citations": cited(answer(*HELLO), CITATION),
    "nothing": answer(),
    "empty texts": answer(Message(""), Message("", refusal=True)),
    "incomplete": ended(answer(*HELLO), "response.incomplete", incomplete_details={"reason": "max_output_tokens"}),
    "failed": ended(answer(*HELLO), "response.failed", error={"code": "server_error", "message": "no"}),
    "a bare error": [*answer(*HELLO)[:5], {"type": "error", "code": "slow_down", "message": "no", "param": None}],
    "cut off": answer(*HELLO)[:5],
    "keepalives": [e for event in answer(*HELLO) for e in (event, {"type": "keepalive"})],
}


@pytest.mark.parametrize("limits", [{}, LIMITED], ids=["", "limits"])
@pytest.mark.parametrize(
    "events",
    [pytest.param(events, id=name, marks=pytest.mark.slow if name == "everything" else ()) for name, events in STREAMS.items()],
)
class TestHoweverItIsCutUp:
    def test_byte_by_byte(self, events: list[Event], limits: dict[str, Any]) -> None:
        stream = sse(events)
        for whole, in_bytes in zip(stages(**limits), stages(**limits), strict=True):
            assert feed(in_bytes, *byte_by_byte(stream)) == feed(whole, stream)

    @pytest.mark.parametrize("make", [responses, chat])
    def test_in_two_pieces(self, make: Callable[..., Stage], events: list[Event], limits: dict[str, Any]) -> None:
        stream = sse(small(events))
        whole = feed(make(**limits), stream)
        # Of a long stream every seventh cut: over the cases each place within an event comes up, and byte by byte is tried above.
        cuts = islice(two_pieces(stream), 0, None, 1 if len(stream) < 4_000 else 7)
        assert all(feed(make(**limits), *pieces) == whole for pieces in cuts)

    def test_with_other_line_ends(self, events: list[Event], limits: dict[str, Any]) -> None:
        stream = sse(events)
        for whole, other in zip(stages(**limits), stages(**limits), strict=True):
            assert feed(other, *byte_by_byte(stream.replace(b"\n", b"\r\n"))) == feed(whole, stream)


class TestATruncatedStream:
    """Cut at any byte it has one end, and that is an error unless the terminal event was there to its last brace."""

    @pytest.mark.parametrize("said", [HELLO, pytest.param(EVERYTHING, marks=pytest.mark.slow)], ids=["a greeting", "everything"])
    def test_at_every_byte(self, said: Sequence[Utterance]) -> None:
        stream = sse(small(answer(*said)))
        for at in range(len(stream)):
            complete = at >= stream.rindex(b"}") + 1
            for told in read_both(*filter(None, [stream[:at]])):
                assert (told.error is None) == complete
                assert complete or (told.error and told.error["code"] == "upstream_stream_incomplete")

    @given(answers(), st.data())
    def test_of_any_kind(self, drawn: tuple[list[Event], list[Event]], data: st.DataObject) -> None:
        stream = sse(drawn[1])
        at = data.draw(st.integers(0, len(stream)))
        for told in read_both(*filter(None, [stream[:at]])):
            assert (told.error is None) == (at >= stream.rindex(b"}") + 1)

    @pytest.mark.parametrize("status", ["completed", "incomplete"])
    def test_a_terminal_event_without_a_blank_line_is_one(self, status: str) -> None:
        stream = sse(ended(answer(*HELLO), f"response.{status}"))[:-2]
        told, _ = read_both(stream)
        assert told.response["status"] == status

    def test_folds_are_a_bad_gateway(self) -> None:
        stream = sse(answer(*HELLO)[:-1])
        for stage in (ResponsesFold(RESPONSES, "resp_1", 1), ChatFold(CHAT, "chatcmpl-1", 1)):
            error = folded(stage, stream)
            assert not isinstance(error, bytes)
            assert (error.status, error.code) == (502, "upstream_stream_incomplete")


class TestUntilItIsDecided:
    """Nothing goes out before it is known that the answer is a 200."""

    def test_the_begin_waits_for_something_to_be_said(self) -> None:
        stage, events = responses(), without(answer(*HELLO), "codex.")
        assert feed(stage, sse(events[:2]), end=False) == [] and not stage.decided
        assert len(feed(stage, sse(events[2:3]), end=False)) == 3 and stage.decided

    def test_keepalives_do_not_decide(self) -> None:
        assert feed(responses(), sse([RATE_LIMITS, {"type": "keepalive"}]), b": hi\n\n", end=False) == []

    @pytest.mark.parametrize(
        ("events", "status", "code"),
        [
            ([{"type": "error", "error": {"code": "slow_down", "message": "slow"}}], 429, "slow_down"),
            ([{"type": "error", "status": 400, "error": {"message": "bad"}}], 400, "upstream_error"),
            (ended(answer(), "response.failed", error={"code": "server_is_overloaded"}), 503, "server_is_overloaded"),
            ([], 502, "upstream_stream_incomplete"),
            (answer()[:3], 502, "upstream_stream_incomplete"),
            (["oops"], 502, "upstream_error"),
        ],
        ids=["error", "error with a status", "response.failed", "no stream", "only a begin", "no JSON"],
    )
    def test_an_early_failure_has_a_status_and_is_in_the_stream_as_well(self, events: list[Any], status: int, code: str) -> None:
        stream = b"".join(frame(event) if isinstance(event, dict) else b"data: oops\n\n" for event in events)
        for stage in stages():
            out = feed(stage, *filter(None, [stream]))
            assert stage.decided and stage.finished
            assert stage.refusal and (stage.refusal.status, stage.refusal.code) == (status, code)
            assert code.encode() in b"".join(out)

    def test_a_late_failure_is_no_refusal_unless_all_is_told_at_the_end(self) -> None:
        for stage in stages():
            feed(stage, sse(answer(*HELLO)[:5]))
            assert stage.failure
            assert (stage.refusal is None) == isinstance(stage, ResponsesStage | ChatStage)

    def test_who_cannot_wait_gets_what_there_is(self) -> None:
        stage, events = responses(), without(answer(*HELLO), "codex.")
        feed(stage, sse(events[:2]), end=False)
        assert len(stage.release()) == 2
        assert feed(stage, b": hi\n\n", end=False) == [KEEPALIVE]
        assert feed(stage)[-1] == DONE and stage.failure and stage.refusal is None


class TestBesideTheAnswer:
    def test_events_of_the_backends_own_kind_are_handed_out(self) -> None:
        for stage in stages():
            feed(stage, sse(answer(*HELLO)))
            assert list(stage.side_events) == [RATE_LIMITS, RATE_LIMITS]

    def test_they_are_bounded_and_the_last_ones_count(self) -> None:
        stage = chat()
        feed(stage, sse([{"type": "codex.n", "n": n} for n in range(1000)]), end=False)
        assert [event["n"] for event in stage.side_events] == list(range(1000 - MAX_SIDE_EVENTS, 1000))

    def test_signs_of_life_become_comments(self) -> None:
        events = answer(*HELLO)
        for stage in (responses(), chat()):
            feed(stage, sse(events[:6]), end=False)
            assert feed(stage, frame({"type": "keepalive"}), b": ping\n\n", b"event: ping\ndata:\n\n", end=False) == [KEEPALIVE] * 3

    def test_usage_and_the_model_that_it_was(self) -> None:
        usage = {
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 3},
            "total_tokens": 15,
        }
        for stage in stages():
            feed(stage, sse(ended(answer(*HELLO), "response.completed", usage=usage)))
            assert stage.usage and stage.usage.for_responses() == usage
            assert stage.usage.model == "gpt-upstream" and not stage.usage.estimated

    def test_the_response_is_there_with_its_output(self) -> None:
        for stage in stages():
            feed(stage, sse(answer(*HELLO)))
            assert stage.response["output"][0]["content"][0]["text"] == "Hello there, old friend."


class TestTheEnd:
    def test_nothing_comes_after_it(self) -> None:
        stream = sse(answer(*HELLO))
        for stage in stages():
            feed(stage, stream, end=False)
            assert stage.finished and not stage.wants_cancel
            assert feed(stage, stream, b": hi\n\n", b"\xff", b"") == []

    def test_what_stands_behind_it_in_the_same_chunk(self) -> None:
        stream = sse(answer(*HELLO))
        for one, two in zip(stages(), stages(), strict=True):
            assert feed(one, stream + stream + b"data: oops\n\n") == feed(two, stream)

    def test_an_error_and_then_response_failed_are_one_failure(self) -> None:
        failure = {"code": "server_error", "message": "no"}
        stream = sse([*answer(*HELLO)[:5], {"type": "error", "error": failure}, *ended(answer(), "response.failed", error=failure)])
        for told in read_both(stream):
            assert told.error and told.error["code"] == "server_error"

    def test_giving_up_is_told_like_a_failure_of_upstreams(self) -> None:
        error = OpenAIError(504, "too slow", code="upstream_timeout")
        for stage in stages():
            out = b"".join([*stage(sse(answer(*HELLO)[:5])), *stage.give_up(error)])
            assert out.count(b"upstream_timeout") >= 1 and stage.finished and stage.wants_cancel
            assert stage.give_up(error) == [] and feed(stage, sse(answer(*HELLO)), b"") == []

    def test_it_says_that_it_is_alive_between_its_first_word_and_its_last(self) -> None:
        for stage in stages():
            assert stage.say_alive() == []
            stage(sse(answer(*HELLO)[:5]))
            assert stage.say_alive() == ([] if isinstance(stage, Fold) else [KEEPALIVE])
            stage(sse(answer(*HELLO)[5:]))
            assert stage.finished and stage.say_alive() == []

    def test_it_fits_a_stream_chain(self) -> None:
        chain = StreamChain()
        chain.stages.append(chat())
        said = b"".join([chunk for piece in [*byte_by_byte(sse(answer(*HELLO))), b""] for chunk in chain(piece)])
        out = [event + b"\n\n" for event in said.removesuffix(b"\n\n").split(b"\n\n")]
        assert read_chat(out, include_usage=True).message["content"] == "Hello there, old friend."


class TestWhatIsTooMuch:
    def unreadable(self, make_stream: Callable[[], Iterator[bytes]]) -> None:
        for stage in stages():
            out = [chunk for piece in make_stream() for chunk in stage(piece)]
            assert stage.finished and stage.wants_cancel and stage.failure and stage.failure.code == "upstream_error"
            assert b"upstream_error" in b"".join(out)

    def test_an_event(self) -> None:
        megabyte = b"x" * (1 << 20)

        def stream() -> Iterator[bytes]:
            yield sse(answer(*HELLO)[:5]) + b"data: "
            yield from [megabyte] * (MAX_EVENT // len(megabyte) + 1)

        self.unreadable(stream)

    def test_an_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stage_module, "MAX_ANSWER", 3000)
        self.unreadable(lambda: iter([sse(answer(*EVERYTHING))]))

    def test_an_event_that_is_malformed(self) -> None:
        self.unreadable(lambda: iter([sse(answer(*HELLO)[:5]), b"data: {\n\n"]))


MEMBERS = st.sampled_from(["type", "text", "id", "name", "content", "summary"])


class TestWhateverUpstreamSends:
    """A stage raises nothing, its form stays whole, and stream and fold agree."""

    junk = st.recursive(
        st.none() | st.booleans() | st.integers(-3, 10) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(MEMBERS, inner, max_size=2),
        max_leaves=4,
    )
    pristine = answer(*EVERYTHING)

    @given(st.data())
    @settings(max_examples=300, deadline=None)
    def test(self, data: st.DataObject) -> None:
        events = copy.deepcopy(self.pristine)
        for _ in range(data.draw(st.integers(1, 3))):
            self.spoil(data, events)
        stream = b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events)
        for limits in ({}, LIMITED):
            read_responses(feed(responses(**limits), stream), deltas_agree=False)
            told = read_chat(feed(chat(**limits), stream), include_usage=True)
            whole = folded(ChatFold(Answering("chat", False, "gpt-client", **limits), "chatcmpl-1", 1), stream)
            if told.error:
                assert not isinstance(whole, bytes) and whole.code == told.error["code"]
            else:
                assert isinstance(whole, bytes) and orjson.loads(whole)["choices"][0]["message"] == told.message

    def spoil(self, data: st.DataObject, events: list[Any]) -> None:
        at, other = data.draw(st.integers(0, len(events) - 1)), data.draw(st.integers(0, len(events) - 1))
        match data.draw(st.sampled_from(["repeat", "swap", "leave out", "set", "set", "delete"])):
            case "repeat":
                events.insert(other, copy.deepcopy(events[at]))
            case "swap":
                events[at], events[other] = events[other], events[at]
            case "leave out" if len(events) > 1:
                del events[at]
            case "set":
                *way, last = data.draw(st.sampled_from(list(_ways(events[at])) or [("type",)]))
                _inside(events[at], way)[last] = data.draw(self.junk)
            case "delete":
                *way, last = data.draw(st.sampled_from(list(_ways(events[at])) or [("type",)]))
                _inside(events[at], way).pop(last, None) if isinstance(last, str) else _inside(events[at], way).pop(last)


def _ways(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*way, key)
        yield from _ways(value[key], (*way, key))


def _inside(value: Any, way: list[Any]) -> Any:
    for key in way:
        value = value[key]
    return value
