from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addons.wire.items import MAX_PIECE
from addons.wire.plan import Answering
from addons.wire.responses_stream import LONG_LINE, SHORT_LINE, ResponsesStage
from tests.fakes.events import Event
from tests.fakes.speech import Call, Message, Reasoning
from tests.wire.clients import DONE, RESPONSE_MEMBERS, ResponsesAnswer, events_of, feed, read_responses
from tests.wire.upstream import CITATION, EVERYTHING, HELLO, TWO_CALLS, answer, answers, cited, ended, sse, without


def stage(**answering: Any) -> ResponsesStage:
    return ResponsesStage(Answering("responses", True, "gpt-client", **answering), "resp_own", 1_700_000_000)


def read(events: list[Event], **answering: Any) -> ResponsesAnswer:
    return read_responses(feed(stage(**answering), sse(events)))


def text_of(item: Event) -> str:
    return "".join(part.get("text", part.get("refusal", "")) for part in item["content"])


def said(items: list[Event]) -> list[Any]:
    """What counts of the items, those that say nothing left out."""
    told = []
    for item in items:
        parts = [*(item.get("content") or ()), *(item.get("summary") or ())]
        texts = [(part["type"], part.get("text", part.get("refusal"))) for part in parts]
        call = [item.get(member) for member in ("name", "call_id", "arguments", "input")]
        if any(text for _, text in texts) or any(call):
            told.append((item["type"], [text for text in texts if text[1]], call))
    return told


def item(index: int, value: Event, moment: str) -> Event:
    return {"type": f"response.output_item.{moment}", "output_index": index, "item": value}


def arguments(index: int, moment: str, **members: str) -> Event:
    return {"type": f"response.function_call_arguments.{moment}", "item_id": f"fc_{index}", "output_index": index, **members}


def call(index: int, text: str = "") -> Event:
    return {"id": f"fc_{index}", "type": "function_call", "name": f"f{index}", "call_id": f"call_{index}", "arguments": text}


def around(*events: Event, final: str = "response.completed", output: list[Event] | None = None) -> list[Event]:
    response = {"id": "resp_1", "created_at": 5, "model": "gpt-upstream"}
    return [
        {"type": "response.created", "response": {**response, "status": "in_progress"}},
        *events,
        {"type": final, "response": {**response, "output": output or []}},
    ]


class TestAnOrdinaryAnswer:
    def test_is_told_in_openais_order(self) -> None:
        assert read(answer(*HELLO)).kinds == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            *["response.output_text.delta"] * 4,
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]

    def test_its_output_is_filled_from_the_items(self) -> None:
        events = answer(*EVERYTHING)
        assert events[-1]["response"]["output"] == []
        assert read(events).output == [event["item"] for event in events if event["type"] == "response.output_item.done"]

    def test_what_upstream_found_out_is_kept(self) -> None:
        events = ended(answer(*HELLO), "response.completed", completed_at=99, service_tier="priority", billing={"payer": "x"})
        response = read(events).response
        assert response["id"] == events[-1]["response"]["id"]
        assert (response["completed_at"], response["service_tier"], response["billing"]) == (99, "priority", {"payer": "x"})
        assert response["usage"]["output_tokens"] == 4
        assert response["usage"]["input_tokens_details"] == {"cached_tokens": 0, "cache_write_tokens": 0}

    def test_events_of_kinds_that_are_not_known_pass(self) -> None:
        events = answer(*HELLO)
        search = {"type": "response.web_search_call.searching", "output_index": 0, "item_id": "ws_1"}
        told = read([*events[:3], {"type": "response.metadata", "a": 1}, *events[3:5], search, *events[5:]])
        assert [event for event in told.events if event["type"] == "response.metadata"][0]["a"] == 1
        assert "response.web_search_call.searching" in told.kinds

    def test_the_phase_of_a_message_is_kept(self) -> None:
        assert read(answer(*HELLO)).output[0]["phase"] == "final_answer"

    @pytest.mark.parametrize("done", [True, False])
    def test_the_end_mark_is_a_setting(self, done: bool) -> None:
        one = ResponsesStage(Answering("responses", True, "m"), "resp_1", 1, done=done)
        assert (feed(one, sse(answer(*HELLO)))[-1] == DONE) == done


class TestTheResponseObject:
    def test_a_bare_one_gets_every_member(self) -> None:
        told = read([{"type": "response.completed", "response": {}}])
        for event in told.events:
            assert RESPONSE_MEMBERS <= event["response"].keys()
        response = told.response
        assert (response["id"], response["created_at"], response["model"]) == ("resp_own", 1_700_000_000, "gpt-client")
        assert [response[m] for m in ("temperature", "top_p", "presence_penalty", "top_logprobs")] == [1.0, 1.0, 0.0, 0]

    def test_the_clients_own_parameters_come_back_and_not_the_translated_ones(self) -> None:
        events = answer(*HELLO, instructions="the proxy's", tools=[{"type": "function", "name": "short"}])
        echo = {"instructions": None, "tools": [{"type": "function", "name": "long"}], "temperature": 0, "store": True}
        for event in read(events, echo=echo).events:
            if "response" in event:
                assert {name: event["response"][name] for name in echo} == echo

    def test_before_the_end_nothing_is_there_yet(self) -> None:
        created, progress = read(answer(*HELLO, fill=True)).events[:2]
        for event in (created, progress):
            response = event["response"]
            assert (response["status"], response["output"], response["usage"]) == ("in_progress", [], None)

    def test_half_a_surrogate_pair_in_an_echo(self) -> None:
        chunks = feed(stage(echo={"instructions": "\ud83d"}), sse(answer(*HELLO)))
        assert all(rb'"instructions":"\ud83d"' in chunk for chunk in chunks if b'"response":{' in chunk)


class TestWhatUpstreamLeavesOut:
    @given(answers())
    @settings(max_examples=300, deadline=None)
    def test_is_put_in_however_the_items_are_mixed(self, drawn: tuple[list[Event], list[Event]]) -> None:
        items, events = drawn
        told = read(events)
        assert said(told.output) == said(items)
        assert told.kinds[-1] == "response.completed"

    def test_response_created(self) -> None:
        told = read(without(answer(*HELLO), "created", "in_progress"))
        assert told.kinds[:2] == ["response.created", "response.output_item.added"]

    def test_everything_but_the_terminal_event(self) -> None:
        events = answer(*EVERYTHING, fill=True)
        told = read([events[-1]])
        created, _, *others = read(events).kinds
        assert told.kinds == [created, *_with_single_deltas(others)]
        assert told.output == events[-1]["response"]["output"]

    def test_every_done(self) -> None:
        events = answer(*HELLO, *TWO_CALLS)
        items = [event["item"] for event in events if event["type"] == "response.output_item.done"]
        assert said(read(without(events, ".done")).output) == said(items)

    def test_the_output_index(self) -> None:
        events = answer(*EVERYTHING)
        bare = [{name: value for name, value in event.items() if name != "output_index"} for event in events]
        assert read(bare).events == read(events).events

    @pytest.mark.parametrize("empty", [None, ""])
    def test_the_id_of_an_item(self, empty: str | None) -> None:
        both = around(item(0, {**call(0), "id": empty}, "added"), item(0, {**call(0, "{}"), "id": empty}, "done"))
        assert [one["id"] for one in read(both).output] == ["item_0"]
        last = around(item(0, call(0), "added"), item(0, {**call(0, "{}"), "id": empty}, "done"))
        assert [one["id"] for one in read(last).output] == ["fc_0"]

    def test_a_done_that_is_empty(self) -> None:
        events = around(item(0, call(0), "added"), arguments(0, "delta", delta="{}"), item(0, call(0, ""), "done"))
        assert read(events).output[0]["arguments"] == "{}"

    def test_arguments_only_in_the_items_done(self) -> None:
        told = read(around(item(0, call(0), "added"), item(0, call(0, '{"a":1}'), "done")))
        assert told.texts == {(0, "response.function_call_arguments", 0): '{"a":1}'}

    def test_arguments_in_empty_deltas_and_then_a_done(self) -> None:
        told = read(around(item(0, call(0), "added"), arguments(0, "delta", delta=""), arguments(0, "done", arguments="{}")))
        assert told.kinds.count("response.function_call_arguments.delta") == 1

    def test_a_done_that_contradicts_its_deltas_counts_and_nothing_is_taken_back(self) -> None:
        events = around(item(0, call(0), "added"), arguments(0, "delta", delta='{"a":1'), item(0, call(0, '{"b":2}'), "done"))
        told = read_responses(feed(stage(), sse(events)), deltas_agree=False)
        assert told.output[0]["arguments"] == '{"b":2}'
        assert told.texts == {(0, "response.function_call_arguments", 0): '{"a":1'}


def _with_single_deltas(kinds: list[str]) -> list[str]:
    return [kind for before, kind in pairwise(["", *kinds]) if kind != before or not kind.endswith(".delta")]


class TestCalls:
    def test_that_are_told_at_once_are_told_one_after_the_other(self) -> None:
        told = read(
            around(
                *(item(index, call(index), "added") for index in range(3)),
                *(arguments(index, "delta", delta=piece) for piece in ("{", "}") for index in range(3)),
                *(item(index, call(index, "{}"), "done") for index in (1, 0, 2)),
            )
        )
        assert [event["output_index"] for event in told.events[1:-1]] == [0] * 5 + [1] * 5 + [2] * 5
        assert said(told.output) == said([call(index, "{}") for index in range(3)])

    def test_a_text_beside_a_call_waits_and_a_text_beside_a_text_does_not(self) -> None:
        hello, other = (without(answer(*said), "created", "progress", "completed", "codex.") for said in (HELLO, HELLO))
        shifted = [{**event, "output_index": 2} for event in other]
        shifted = [{**event, "item": {**event["item"], "id": "msg_other"}} if "item" in event else event for event in shifted]
        told = read(around(hello[0], item(1, call(1), "added"), *hello[1:], item(1, call(1, "{}"), "done"), *shifted))
        assert [event["output_index"] for event in told.events[1:-1]] == [0, *[1] * 4, *[0] * (len(hello) - 1), *[2] * len(shifted)]

    def test_arguments_wait_for_the_name(self) -> None:
        told = read(around(arguments(0, "delta", delta="{"), arguments(0, "delta", delta="}"), item(0, call(0, "{}"), "done")))
        assert told.kinds[1:4] == ["response.output_item.added", *["response.function_call_arguments.delta"] * 2]
        assert told.output == [{**call(0, "{}")}]

    def test_a_call_that_upstream_never_names_is_its_failure(self) -> None:
        told = read(around(arguments(0, "delta", delta="{}")))
        assert told.error and told.error["code"] == "upstream_error" and "never named" in told.error["message"]

    @pytest.mark.parametrize("broken", [{"name": ""}, {"call_id": None}])
    def test_a_call_without_a_name_or_an_id_is_none(self, broken: Event) -> None:
        assert read(around(item(0, {**call(0), **broken}, "added"))).error

    def test_names_and_ids_that_were_shortened_are_restored(self) -> None:
        one = call(0, "{}")
        events = around(
            item(0, call(0), "added"), arguments(0, "done", arguments="{}", name="f0"), item(0, one, "done"), output=[one]
        )
        told = read(events, tool_names={"f0": "long_name"}, call_ids={"call_0": "long_id"})
        named = [event.get("name", event.get("item", {}).get("name")) for event in told.events[1:-1]]
        assert named == ["long_name", None, "long_name", "long_name"]
        assert (told.output[0]["name"], told.output[0]["call_id"]) == ("long_name", "long_id")

    def test_500_at_once(self) -> None:
        n = 500
        told = read(
            around(
                *(item(index, call(index), "added") for index in range(n)),
                *(arguments(index, "delta", delta="{}") for index in reversed(range(n))),
                *(item(index, call(index, "{}"), "done") for index in reversed(range(n))),
            )
        )
        assert len(told.output) == n

    def test_two_megabytes_of_arguments(self) -> None:
        text = orjson.dumps({"text": "ü\u2028" * 400_000}).decode()
        for events in (
            around(item(0, call(0), "added"), item(0, call(0, text), "done")),
            around(item(0, call(0), "added"), *(arguments(0, "delta", delta=piece) for piece in (text[:7], text[7:]))),
        ):
            chunks = feed(stage(), sse(events))
            told = read_responses(chunks)
            assert told.output[0]["arguments"] == text == told.texts[0, "response.function_call_arguments", 0]
            assert all(len(chunk) < SHORT_LINE for chunk in chunks if b".delta" in chunk[:60])


class TestWhatContradictsItself:
    MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}

    @pytest.mark.parametrize(
        "events",
        [
            (item(0, call(0), "added"), item(0, {**call(0), "arguments": {"a": 1}}, "done")),
            (item(0, MESSAGE, "added"), arguments(0, "delta", delta="{}")),
            (item(0, MESSAGE, "added"), item(0, call(0), "done")),
        ],
        ids=["arguments that are no text", "a piece of another kind of item", "an item that became another"],
    )
    def test_is_a_failure_of_upstreams(self, events: tuple[Event, ...]) -> None:
        told = read(around(*events))
        assert told.error and told.error["code"] == "upstream_error"

    def test_more_text_after_its_done_is_not_told(self) -> None:
        events = around(item(0, call(0), "added"), arguments(0, "done", arguments="{}"), arguments(0, "delta", delta="x"))
        assert read(events).output[0]["arguments"] == "{}"

    def test_parts_of_kinds_that_are_not_known_pass_unless_their_place_is_taken(self) -> None:
        at = {"output_index": 0, "item_id": "msg_1", "content_index": 0}
        unknown = {"type": "response.content_part.added", **at, "part": {"type": "output_hologram"}}
        done = {**unknown, "type": "response.content_part.done"}
        assert read(around(item(0, self.MESSAGE, "added"), unknown, done)).kinds[2:4] == [unknown["type"], done["type"]]
        delta = {"type": "response.output_text.delta", **at, "delta": "x"}
        told = read(around(item(0, self.MESSAGE, "added"), delta, done))
        assert told.kinds.count("response.content_part.done") == 1 and text_of(told.output[0]) == "x"


class TestText:
    def test_giant_deltas_are_cut_so_that_every_line_is_short(self) -> None:
        text = "\x01" * (3 * MAX_PIECE + 1)
        events = [{**event, "delta": text} if event["type"].endswith("text.delta") else event for event in answer(Message("x"))]
        chunks = feed(stage(), sse(without(events, ".done")))
        assert read_responses(chunks).output[0]["content"][0]["text"] == text
        assert max(len(chunk) for chunk in chunks if b"output_text.delta" in chunk[:60]) < SHORT_LINE

    @pytest.mark.parametrize("whole", [True, False])
    def test_an_emoji_between_two_deltas(self, whole: bool) -> None:
        stream = sse(answer(Message("AB"))).replace(b'"AB"', rb'"a\ud83d\ude00b"')
        delta = stream[stream.index(b"event: response.output_text.delta") : stream.index(b"event: response.output_text.done")]
        if not whole:
            stream = stream.replace(delta, delta.replace(rb"\ude00b", b"") + delta.replace(rb"a\ud83d", b""))
        told = read_responses(feed(stage(), stream))
        assert text_of(told.output[0]) == "a😀b" == told.texts[0, "response.output_text", 0]

    def test_half_a_pair_at_the_end(self) -> None:
        stream = sse(answer(Message("AB"))).replace(b'"AB"', rb'"a\ud83d"')
        told = read_responses(feed(stage(), stream))
        assert text_of(told.output[0]) == "a\ufffd" == told.texts[0, "response.output_text", 0]

    def test_annotations(self) -> None:
        events = cited(answer(*HELLO), CITATION)
        added = {"type": "response.output_text.annotation.added", "output_index": 0, "content_index": 0, "annotation": CITATION}
        events.insert(-6, added)
        assert read(events).output[0]["content"][0]["annotations"] == [CITATION]
        assert added["type"] in read(events).kinds
        plain = feed(stage(show_annotations=False), sse(events))
        assert b"url_citation" not in b"".join(plain) and added["type"] not in read_responses(plain).kinds
        # without the item's end they come from the event
        assert read(without(events, ".done")).output[0]["content"][0]["annotations"] == [CITATION]


class TestFailures:
    def test_are_told_twice_and_with_what_there_was(self) -> None:
        for event in (
            {"type": "error", "code": "server_error", "message": "boom", "param": None},
            {"type": "error", "error": {"type": "server_error", "code": "server_error", "message": "boom", "param": None}},
            ended(answer(), "response.failed", error={"code": "server_error", "message": "boom"})[-1],
        ):
            told = read([*answer(*HELLO)[:7], event, *answer(*HELLO)[7:]])
            assert told.kinds[-2:] == ["error", "response.failed"]
            assert told.error == {"type": "server_error", "code": "server_error", "message": "boom", "param": None}
            assert told.response["error"] == {"code": "server_error", "message": "boom"}
            (half,) = told.output
            assert (half["status"], text_of(half)) == ("incomplete", "Hello there,")

    def test_a_stream_that_ends_too_early_is_one(self) -> None:
        told = read(answer(*HELLO)[:-1])
        assert told.error and told.error["code"] == "upstream_stream_incomplete"
        assert text_of(told.output[0]) == "Hello there, old friend."

    def test_json_instead_of_a_stream_is_one(self) -> None:
        told = read_responses(feed(stage(), orjson.dumps(answer(*HELLO)[-1]["response"])))
        assert told.error and told.error["code"] == "upstream_stream_incomplete"

    def test_incomplete_is_none(self) -> None:
        events = ended(without(answer(*HELLO), "done"), "response.incomplete", incomplete_details={"reason": "content_filter"})
        told = read(events)
        assert told.response["incomplete_details"] == {"reason": "content_filter"}
        assert told.output[0]["status"] == "incomplete"


class TestLimits:
    WORDS = (Message("one two three four five"),)

    def test_tokens_by_the_delta(self) -> None:
        one = stage(max_output_tokens=3)
        told = read_responses(feed(one, sse(answer(*self.WORDS)), end=False))
        assert told.kinds[-1] == "response.incomplete"
        assert told.response["incomplete_details"] == {"reason": "max_output_tokens"}
        assert (text_of(told.output[0]), told.output[0]["status"]) == ("one two three", "incomplete")
        assert one.wants_cancel and one.finished
        assert one.usage and one.usage.estimated and told.response["usage"] == one.usage.for_responses()

    def test_a_limit_that_is_just_met_is_not_reached(self) -> None:
        one = stage(max_output_tokens=5)
        assert read_responses(feed(one, sse(answer(*self.WORDS)))).kinds[-1] == "response.completed"
        assert not one.wants_cancel

    def test_tokens_by_the_byte_where_one_delta_is_many(self) -> None:
        events = [{"type": "response.completed", "response": {"output": [{"type": "message", "content": [_part("x" * 1000)]}]}}]
        one = stage(max_output_tokens=16)
        told = read_responses(feed(one, sse(events)))
        assert len(text_of(told.output[0])) == 16 * 5 + 4
        assert told.kinds[-1] == "response.incomplete"

    def test_never_in_the_middle_of_a_character(self) -> None:
        events = [{"type": "response.completed", "response": {"output": [{"type": "message", "content": [_part("👋" * 100)]}]}}]
        assert set(text_of(read(events, max_output_tokens=2).output[0])) == {"👋"}

    def test_reasoning_is_not_counted(self) -> None:
        told = read(answer(Reasoning("a b c d e f"), Message("one two")), max_output_tokens=2)
        assert told.kinds[-1] == "response.completed"

    def test_the_arguments_of_a_call_are(self) -> None:
        told = read(answer(Call("f", '{"a": 1, "b": 2}')), max_output_tokens=2)
        assert told.kinds[-1] == "response.incomplete"
        assert (told.output[0]["arguments"], told.output[0]["status"]) == ('{"a": 1,', "incomplete")

    def test_an_estimate_of_the_prompt_goes_into_the_usage(self) -> None:
        one = stage(max_output_tokens=2, prompt_tokens=50)
        feed(one, sse(answer(*self.WORDS)))
        assert one.usage and (one.usage.input_tokens, one.usage.output_tokens, one.usage.total_tokens) == (50, 2, 52)

    @pytest.mark.parametrize(
        ("stop", "text"),
        [
            (("three",), "one two "),
            (("o three f",), "one tw"),
            (("five", "two"), "one "),
            (("e",), "on"),
            (("one",), ""),
            (("never",), "one two three four five"),
            (("five!",), "one two three four five"),
        ],
    )
    def test_stop(self, stop: tuple[str, ...], text: str) -> None:
        one = stage(stop=stop)
        told = read_responses(feed(one, sse(answer(*self.WORDS)), end=False))
        assert text_of(told.output[0]) == text == told.texts.get((0, "response.output_text", 0), "")
        assert (told.response["status"], told.output[0]["status"]) == ("completed", "completed")
        assert one.wants_cancel == (text != "one two three four five")

    def test_stop_is_not_looked_for_in_calls(self) -> None:
        told = read(answer(Call("f", '{"stop": 1}')), stop=("stop",))
        assert told.output[0]["arguments"] == '{"stop": 1}'

    def test_calls_that_wait_when_it_ends_are_not_told(self) -> None:
        events = around(item(0, call(0), "added"), item(1, call(1), "added"), *(arguments(0, "delta", delta="x") for _ in range(5)))
        told = read(events, max_output_tokens=2)
        assert [one["id"] for one in told.output] == ["fc_0"]

    @given(st.text("ab", max_size=30), st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=4), st.data())
    def test_stop_is_found_wherever_the_deltas_are_cut(self, text: str, stop: list[str], data: st.DataObject) -> None:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
        first, *_ = deltas = [event for event in answer(Message("x")) if event["type"].endswith(".delta")]
        pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        events = answer(Message("x"))
        at = events.index(next(event for event in events if event["type"].endswith("text.delta")))
        stream = [*events[:at], *({**first, "delta": piece} for piece in pieces), *without(events[at + len(deltas) :], "done")]
        found = [(at + len(each), at) for each in stop if (at := text.find(each)) >= 0]
        assert text_of(read(stream, stop=tuple(stop)).output[0]) == text[: min(found, default=(0, len(text)))[1]]


def _part(text: str) -> Event:
    return {"type": "output_text", "text": text}


class TestLongLines:
    """Echoes are left out of a line that is too long with them and short enough without."""

    def responses_of(self, echo: int, output: int) -> list[tuple[int, bool]]:
        """The length of each line with a response object, and whether it has the echo."""
        chunks = feed(stage(echo={"instructions": "i" * echo}), sse(answer(Message("o" * output))))
        lines = [chunk.split(b"\n")[1] for chunk in chunks if b'"response":{' in chunk]
        assert [event for event in events_of(chunks) if "response" in event][0]["response"]["instructions"] in (None, "i" * echo)
        return [(len(line), b"iiiii" in line) for line in lines]

    @pytest.mark.parametrize(
        ("echo", "output", "kept"),
        [
            (1_000, 1_000, [True, True, True]),
            (100_000, 1_000, [False, False, False]),
            (60_000, 10_000, [True, True, False]),
            (60_000, 200_000, [True, True, True]),  # too long for the oldest clients either way, and not for others
            (500_000, 900_000, [False, False, False]),
            (1_000, 1_100_000, [True, True, False]),
        ],
    )
    def test_which_lines_have_it(self, echo: int, output: int, kept: list[bool]) -> None:
        lines = self.responses_of(echo, output)
        assert [has_echo for _, has_echo in lines] == kept
        assert all(length < LONG_LINE or output > 1_000_000 for length, _ in lines)

    def test_the_limits_are_those_of_the_whole_line(self) -> None:
        assert (SHORT_LINE + len("data: \n"), LONG_LINE + len("data: \n")) == (64 * 1024, 1024 * 1024)
