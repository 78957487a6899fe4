from typing import Any

import orjson
import pytest
from hypothesis import given, settings

from addons.wire.chat_stream import ChatStage
from addons.wire.plan import Answering
from tests.fakes.events import Event
from tests.fakes.speech import Call, Message, Reasoning, Utterance
from tests.wire.clients import DONE, ChatAnswer, feed, read_chat
from tests.wire.upstream import CITATION, EVERYTHING, HELLO, TWO_CALLS, answer, answers, cited, ended, sse, without


def stage(**answering: Any) -> ChatStage:
    return ChatStage(Answering("chat", True, "gpt-client", **answering), "chatcmpl-1", 1_700_000_000)


def read(events: list[Event], **answering: Any) -> ChatAnswer:
    out = feed(stage(**answering), sse(events))
    return read_chat(out, answering.get("include_usage", False), answering.get("legacy_functions", False))


def deltas(told: ChatAnswer) -> list[dict[str, Any]]:
    return [chunk["choices"][0]["delta"] for chunk in told.chunks if chunk["choices"]]


def calls(told: ChatAnswer) -> list[tuple[str, str]]:
    return [(call["function"]["name"], call["function"]["arguments"]) for call in told.message["tool_calls"]]


class TestTheChunks:
    def test_of_an_ordinary_answer(self) -> None:
        told = read(answer(*HELLO))
        assert deltas(told) == [
            {"role": "assistant", "content": "", "refusal": None},
            *({"content": word} for word in ("Hello", " there,", " old", " friend.")),
            {},
        ]
        assert told.finish_reason == "stop"

    def test_say_whose_they_are(self) -> None:
        for chunk in read(answer(*HELLO, service_tier="priority")).chunks:
            assert {name: value for name, value in chunk.items() if name != "choices"} == {
                "id": "chatcmpl-1",
                "object": "chat.completion.chunk",
                "created": 1_700_000_000,
                "model": "gpt-client",
                "service_tier": "priority",
                "system_fingerprint": None,
            }

    @pytest.mark.parametrize(
        ("said", "first", "second"),
        [
            ([], {"role": "assistant", "content": "", "refusal": None}, {}),
            ([Message("x")], {"role": "assistant", "content": "", "refusal": None}, {"content": "x"}),
            ([Message("x", refusal=True)], {"role": "assistant", "content": None, "refusal": ""}, {"refusal": "x"}),
            ([Reasoning("x")], {"role": "assistant", "content": None}, {"reasoning_content": "x"}),
            ([Call("f", "x")], {"role": "assistant", "content": None}, None),
        ],
        ids=["nothing", "text", "refusal", "reasoning", "call"],
    )
    def test_open_by_what_is_said_first(self, said: list[Utterance], first: Any, second: Any) -> None:
        opening, then, *_ = deltas(read(answer(*said)))
        assert opening == first
        assert second is None or then == second

    def test_are_short_whatever_is_said(self) -> None:
        told = feed(stage(), sse(answer(Message("\x01" * 50_000), Call("f", "\x01" * 50_000))))
        assert max(map(len, told)) < 64 * 1024

    def test_come_from_a_terminal_event_alone(self) -> None:
        events = answer(*EVERYTHING, fill=True)
        assert read([events[-1]]).message == read(events).message


class TestText:
    def test_of_several_messages_comes_in_order_with_nothing_in_between(self) -> None:
        told = read(answer(Message("Let me look."), Call("f", "{}"), Message(" It is late.")))
        assert told.message["content"] == "Let me look. It is late."
        assert told.finish_reason == "tool_calls"

    def test_that_is_a_refusal_ends_with_stop(self) -> None:
        told = read(answer(Message("I cannot.", refusal=True)))
        assert (told.message["content"], told.message["refusal"], told.finish_reason) == (None, "I cannot.", "stop")

    def test_of_any_script(self) -> None:
        text = "Grüße, 世界 👩‍👩‍👧‍👦\u2028\u0085\x00"
        assert read(answer(Message(text))).message["content"] == text


class TestReasoning:
    SAID = (Reasoning("One thought."), Message("Hm."), Reasoning("Another."), Message(" Yes."))

    def test_is_told_apart_from_the_content(self) -> None:
        told = read(answer(*self.SAID))
        assert told.message["reasoning_content"] == "One thought.\n\nAnother."
        assert told.message["content"] == "Hm. Yes."

    def test_in_parts_has_blank_lines(self) -> None:
        parts = [{"type": "summary_text", "text": text} for text in ("a", "", "b")]
        item = {"type": "reasoning", "id": "rs_1", "summary": parts, "content": [{"type": "reasoning_text", "text": "c"}]}
        told = read([{"type": "response.completed", "response": {"output": [item]}}])
        assert sorted(told.message["reasoning_content"].split("\n\n")) == ["a", "b", "c"]

    def test_is_hidden_if_it_is_not_wanted(self) -> None:
        told = read(answer(*self.SAID), show_reasoning=False)
        assert "reasoning_content" not in told.message
        assert deltas(told)[0] == {"role": "assistant", "content": "", "refusal": None}


class TestCalls:
    def test_are_counted_by_themselves(self) -> None:
        told = read(answer(Reasoning("x"), Message("y"), *TWO_CALLS))
        assert calls(told) == [("weather", '{"city": "Bern"}'), ("clock", "{}")]
        assert told.message["content"] == "y" and told.finish_reason == "tool_calls"

    def test_open_with_everything_but_their_arguments(self) -> None:
        events = answer(TWO_CALLS[0])
        call_id = events[-3]["item"]["call_id"]
        _, opener, *pieces, _ = deltas(read(events))
        function = {"name": "weather", "arguments": ""}
        assert opener == {"tool_calls": [{"index": 0, "id": call_id, "type": "function", "function": function}]}
        assert pieces == [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in ('{"city":', ' "Bern"}')]

    @pytest.mark.parametrize("left_out", [(".delta",), (".delta", "arguments.done"), ("item.added",), ("item.done",), (".done",)])
    def test_whose_events_are_not_all_there(self, left_out: tuple[str, ...]) -> None:
        assert calls(read(without(answer(*TWO_CALLS), *left_out))) == [("weather", '{"city": "Bern"}'), ("clock", "{}")]

    def test_that_are_told_at_once(self) -> None:
        events = answer(*TWO_CALLS)
        first, second = ([event for event in events if event.get("output_index") == index] for index in (0, 1))
        mixed = [event for pair in zip(first, [*second, *second[-1:]], strict=False) for event in pair]
        assert calls(read([events[1], *mixed, *first[len(second) :], events[-1]])) == calls(read(events))

    def test_without_arguments_have_an_empty_object(self) -> None:
        assert calls(read(answer(Call("f", "")))) == [("f", "{}")]

    def test_that_were_cut_off_have_what_there_was(self) -> None:
        events = ended(
            without(answer(Call("f", "")), "done"), "response.incomplete", incomplete_details={"reason": "max_output_tokens"}
        )
        told = read(events)
        assert (calls(told), told.finish_reason) == ([("f", "")], "length")

    def test_of_custom_tools(self) -> None:
        told = read(answer(Call("patch", "*** Begin\n", "custom"), TWO_CALLS[1]), custom_tools=True)
        custom, function = told.message["tool_calls"]
        assert (custom["type"], custom["custom"]) == ("custom", {"name": "patch", "input": "*** Begin\n"})
        assert function["function"]["name"] == "clock"

    def test_of_hosted_tools_are_none_of_the_clients_business(self) -> None:
        search = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search"}}
        events = answer(*HELLO)
        hosted = [
            {"type": "response.output_item.added", "output_index": 5, "item": search},
            {"type": "response.web_search_call.searching", "output_index": 5, "item_id": "ws_1"},
            {"type": "response.output_item.done", "output_index": 5, "item": search},
        ]
        told = read([*events[:3], *hosted, *events[3:]])
        assert told.message == read(events).message and told.finish_reason == "stop"

    def test_have_their_long_names_again(self) -> None:
        events = answer(TWO_CALLS[0])
        call_id = events[-3]["item"]["call_id"]
        told = read(events, tool_names={"weather": "weather_of_the_town"}, call_ids={call_id: "long"})
        assert calls(told)[0][0] == "weather_of_the_town" and told.message["tool_calls"][0]["id"] == "long"


@given(answers())
@settings(max_examples=300, deadline=None)
def test_nothing_is_lost_however_the_items_are_mixed(drawn: tuple[list[Event], list[Event]]) -> None:
    items, events = drawn
    told = read(events, custom_tools=True)
    made = {call["id"]: call[call["type"]] for call in told.message.get("tool_calls", ())}
    assert made == {
        item["call_id"]: {"name": item["name"], "input": item["input"]}
        if item["type"] == "custom_tool_call"
        else {"name": item["name"], "arguments": item["arguments"] or "{}"}
        for item in items
        if "call" in item["type"]
    }
    parts = [part for item in items if item["type"] == "message" for part in item["content"]]
    assert (told.message["content"] or "") == "".join(part.get("text", "") for part in parts)
    assert (told.message["refusal"] or "") == "".join(part.get("refusal", "") for part in parts)
    thoughts = [part["text"] for item in items if item["type"] == "reasoning" for part in item["summary"] if part["text"]]
    assert told.message.get("reasoning_content", "") == "\n\n".join(thoughts)
    assert told.finish_reason == ("tool_calls" if made else "stop")


class TestLegacyFunctions:
    def test_have_one_call_without_index_and_id(self) -> None:
        told = read(answer(TWO_CALLS[0]), legacy_functions=True)
        assert told.message["function_call"] == {"name": "weather", "arguments": '{"city": "Bern"}'}
        assert deltas(told)[1] == {"function_call": {"name": "weather", "arguments": ""}}
        assert told.finish_reason == "function_call"

    def test_have_no_room_for_a_second(self) -> None:
        assert read(answer(*TWO_CALLS), legacy_functions=True).message == read(answer(TWO_CALLS[0]), legacy_functions=True).message


class TestAnnotations:
    def events(self) -> list[Event]:
        return cited(answer(Message("12345"), Message("abc")), CITATION, {"type": "file_path", "file_id": "x"})

    def test_are_counted_in_the_whole_content(self) -> None:
        told = read(self.events())
        places = [(a["url_citation"]["start_index"], a["url_citation"]["end_index"]) for a in told.message["annotations"]]
        assert places == [(1, 3), (6, 8)]
        assert told.message["annotations"][0] == {
            "type": "url_citation",
            "url_citation": {"start_index": 1, "end_index": 3, "title": "t", "url": "https://example.org"},
        }

    def test_are_left_out_for_who_cannot_read_them(self) -> None:
        assert read(self.events(), show_annotations=False).message["annotations"] == []


class TestUsage:
    def test_is_told_last_if_it_is_asked_for(self) -> None:
        usage = {
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 4},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 3},
            "total_tokens": 15,
        }
        told = read(ended(answer(*HELLO), "response.completed", usage=usage), include_usage=True)
        assert told.usage == {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0, "cache_write_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 3,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def test_that_upstream_does_not_tell_is_not_made_up(self) -> None:
        events = ended(answer(*HELLO), "response.completed", usage=None)
        told = read(events, include_usage=True)
        assert told.usage is None and told.finish_reason == "stop"


class TestTheFinish:
    @pytest.mark.parametrize(
        ("said", "status", "details", "reason"),
        [
            (HELLO, "completed", None, "stop"),
            (TWO_CALLS, "completed", None, "tool_calls"),
            (HELLO, "incomplete", {"reason": "max_output_tokens"}, "length"),
            (HELLO, "incomplete", {"reason": "content_filter"}, "content_filter"),
            (HELLO, "incomplete", {"reason": "something new"}, "length"),
            (HELLO, "incomplete", None, "length"),
            (TWO_CALLS, "incomplete", {"reason": "max_output_tokens"}, "length"),
            ([], "completed", None, "stop"),
        ],
    )
    def test_reason(self, said: tuple[Utterance, ...], status: str, details: Any, reason: str) -> None:
        assert read(ended(answer(*said), f"response.{status}", incomplete_details=details)).finish_reason == reason

    @pytest.mark.parametrize(
        ("limits", "said", "content", "reason"),
        [
            ({"max_output_tokens": 2}, HELLO, "Hello there,", "length"),
            ({"max_output_tokens": 4}, HELLO, "Hello there, old friend.", "stop"),
            ({"stop": ("old", "there")}, HELLO, "Hello ", "stop"),
            ({"stop": ("there, o",)}, HELLO, "Hello ", "stop"),
            ({"stop": ("old",), "max_output_tokens": 2}, HELLO, "Hello there,", "length"),
            ({"stop": ("never",)}, HELLO, "Hello there, old friend.", "stop"),
            ({"stop": ("old",)}, (*TWO_CALLS, *HELLO), "Hello there, ", "tool_calls"),
        ],
    )
    def test_at_a_limit(self, limits: dict[str, Any], said: tuple[Utterance, ...], content: str, reason: str) -> None:
        told = read(answer(*said), **limits)
        assert (told.message["content"], told.finish_reason) == (content, reason)

    def test_at_a_limit_cancels_upstream_and_estimates_the_usage(self) -> None:
        one = stage(max_output_tokens=2, include_usage=True, prompt_tokens=40)
        told = read_chat(feed(one, sse(answer(*HELLO)[:8]), end=False), include_usage=True)
        assert one.wants_cancel and one.finished
        assert told.usage and (told.usage["prompt_tokens"], told.usage["completion_tokens"]) == (40, 2)

    def test_within_the_arguments_of_a_call(self) -> None:
        told = read(answer(*TWO_CALLS), max_output_tokens=1)
        assert (calls(told), told.finish_reason) == ([("weather", '{"city":')], "length")


class TestFailures:
    @pytest.mark.parametrize("after", [1, 4, 7])
    def test_are_an_error_frame_and_the_end_mark(self, after: int) -> None:
        failure = {"type": "server_error", "code": "server_error", "message": "boom", "param": None}
        for event in ({"type": "error", "error": failure}, ended(answer(), "response.failed", error=failure)[-1]):
            out = feed(stage(), sse([*answer(*HELLO)[:after], event]))
            assert out[-1] == DONE and orjson.loads(out[-2][6:]) == {"error": failure}
            assert read_chat(out).finish_reason is None

    def test_a_stream_that_ends_too_early_is_one(self) -> None:
        told = read(answer(*HELLO)[:-1])
        assert told.error and told.error["code"] == "upstream_stream_incomplete"
        assert told.message["content"] == "Hello there, old friend."
