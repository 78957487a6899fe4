from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given, settings

from addons.wire.errors import OpenAIError
from addons.wire.fold import ChatFold, Fold, ResponsesFold, folded
from addons.wire.plan import Answering
from addons.wire.responses_stream import ResponsesStage
from tests.fakes.chat import completion
from tests.fakes.events import Event
from tests.fakes.speech import Call, Message, Prompt, Utterance
from tests.wire.clients import feed, read_chat, read_responses
from tests.wire.test_chat_stream import stage as chat_stage
from tests.wire.test_stage import LIMITED, STREAMS
from tests.wire.upstream import EVERYTHING, HELLO, TWO_CALLS, answer, answers, ended, sse


def chat_fold(**answering: Any) -> ChatFold:
    return ChatFold(Answering("chat", False, "gpt-client", **answering), "chatcmpl-1", 1_700_000_000)


def responses_fold(**answering: Any) -> ResponsesFold:
    return ResponsesFold(Answering("responses", False, "gpt-client", **answering), "resp_own", 1_700_000_000)


def whole(stage: Fold, events: Sequence[Event]) -> Any:
    body = folded(stage, sse(events))
    return orjson.loads(body) if isinstance(body, bytes) else body


def assert_fold_and_stream_agree(events: Sequence[Event], **answering: Any) -> None:
    chat = whole(chat_fold(**answering), events)
    streamed = read_chat(feed(chat_stage(**answering, include_usage=True), sse(events)), include_usage=True)
    if isinstance(chat, OpenAIError):
        assert streamed.error == orjson.loads(chat.body())["error"]
    else:
        (choice,) = chat["choices"]
        assert (choice["message"], choice["finish_reason"], chat["usage"]) == (
            streamed.message,
            streamed.finish_reason,
            streamed.usage,
        )
    response = whole(responses_fold(**answering), events)
    stage = ResponsesStage(Answering("responses", True, "gpt-client", **answering), "resp_own", 1_700_000_000)
    told = read_responses(feed(stage, sse(events)))
    if isinstance(response, OpenAIError):
        assert told.error == orjson.loads(response.body())["error"]
    else:
        assert response == told.response


class TestTheFoldIsWhatTheStreamSays:
    @pytest.mark.parametrize("limits", [{}, LIMITED], ids=["", "limits"])
    @pytest.mark.parametrize("events", STREAMS.values(), ids=STREAMS)
    def test_in_every_case(self, events: list[Event], limits: dict[str, Any]) -> None:
        assert_fold_and_stream_agree(events, **limits)

    @given(answers())
    @settings(max_examples=200, deadline=None)
    def test_in_any_case(self, drawn: tuple[list[Event], list[Event]]) -> None:
        assert_fold_and_stream_agree(drawn[1])
        assert_fold_and_stream_agree(drawn[1], **LIMITED)


class TestTheCompletion:
    @pytest.mark.parametrize("said", [HELLO, TWO_CALLS, (Message("No.", refusal=True),), (Message("x"), Call("p", "y", "custom"))])
    def test_is_that_of_the_platform(self, said: Sequence[Utterance]) -> None:
        """The strict fake writes its chat completions by itself: the translation of one origin's answer is the other's."""
        ours = whole(chat_fold(), answer(*said))
        platform = completion({"model": "gpt-client"}, Prompt(length=7), said)
        for call in [
            *ours["choices"][0]["message"].get("tool_calls", ()),
            *platform["choices"][0]["message"].get("tool_calls", ()),
        ]:
            del call["id"]
        assert ours["choices"] == platform["choices"]
        assert ours.keys() == platform.keys()
        assert ours["usage"]["completion_tokens"] == platform["usage"]["completion_tokens"]

    def test_has_null_for_content_if_there_are_only_calls(self) -> None:
        message = whole(chat_fold(), answer(*TWO_CALLS))["choices"][0]["message"]
        assert message["content"] is None and len(message["tool_calls"]) == 2

    def test_says_whose_it_is(self) -> None:
        told = whole(chat_fold(), answer(*HELLO))
        assert (told["id"], told["object"], told["created"], told["model"]) == (
            "chatcmpl-1",
            "chat.completion",
            1_700_000_000,
            "gpt-client",
        )
        assert told["choices"][0]["logprobs"] is None and told["system_fingerprint"] is None

    def test_of_legacy_functions(self) -> None:
        told = whole(chat_fold(legacy_functions=True), answer(TWO_CALLS[0]))["choices"][0]
        assert told["message"]["function_call"] == {"name": "weather", "arguments": '{"city": "Bern"}'}
        assert told["finish_reason"] == "function_call" and "tool_calls" not in told["message"]

    def test_has_no_usage_if_upstream_told_none(self) -> None:
        assert whole(chat_fold(), ended(answer(*HELLO), "response.completed", usage=None))["usage"] is None

    def test_of_megabytes(self) -> None:
        text = "x" * 2_000_000
        assert whole(chat_fold(), answer(Message(text), Call("f", text)))["choices"][0]["message"]["content"] == text


class TestTheResponse:
    def test_is_that_of_the_terminal_event_with_its_output(self) -> None:
        events = answer(*EVERYTHING)
        told = whole(responses_fold(), events)
        assert told["output"] == [event["item"] for event in events if event["type"] == "response.output_item.done"]
        assert (told["status"], told["model"], told["id"]) == ("completed", "gpt-client", events[-1]["response"]["id"])

    def test_that_is_incomplete_is_a_success(self) -> None:
        told = whole(responses_fold(max_output_tokens=2), answer(*HELLO))
        assert (told["status"], told["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})

    def test_keeps_its_echo_however_long(self) -> None:
        echo = {"instructions": "i" * 2_000_000}
        assert whole(responses_fold(echo=echo), answer(*HELLO))["instructions"] == echo["instructions"]


class TestAFailure:
    @pytest.mark.parametrize("make", [chat_fold, responses_fold])
    def test_has_its_status_however_late_it_comes(self, make: Any) -> None:
        stage = make()
        failure = {"code": "context_length_exceeded", "message": "too long"}
        error = whole(stage, ended(answer(*HELLO), "response.failed", error=failure))
        assert isinstance(error, OpenAIError) and (error.status, error.code) == (400, "context_length_exceeded")
        assert stage.refusal == error

    @pytest.mark.parametrize("make", [chat_fold, responses_fold])
    def test_is_handed_out_as_a_body_too(self, make: Any) -> None:
        out = feed(make(), sse(answer(*HELLO)[:4]))
        assert [orjson.loads(chunk)["error"]["code"] for chunk in out] == ["upstream_stream_incomplete"]

    @pytest.mark.parametrize("make", [chat_fold, responses_fold])
    def test_until_the_end_nothing_is_said_and_nothing_decided(self, make: Any) -> None:
        stage = make()
        assert feed(stage, sse(answer(*HELLO)[:-1]), b": hi\n\n", end=False) == []
        assert not stage.decided
