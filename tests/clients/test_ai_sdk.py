"""Vercel's AI SDK against the real proxy before the fake OpenAI: its provider for OpenAI, in both dialects, and for its likes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.deltas import told_in
from tests.clients.program import Program, running_program
from tests.fakes.control import Control
from tests.proxy import RunningProxy

PROVIDERS = ["chat", "responses", "compatible"]
WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "array", "items": {"type": "integer"}}},
    "required": ["city"],
    "additionalProperties": False,
}
# The fake's model cuts its deltas at blanks.
ASK_TOOL = 'call weather {"city": "São Paulo", "days": [1, 2, 3]}'
CALL = {"name": "weather", "arguments": {"city": "São Paulo", "days": [1, 2, 3]}}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def question(prompt: str, *, model: str = "gpt-5.5", **more: Any) -> dict[str, Any]:
    return {"model": model, "ask": {"prompt": prompt, **more}}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


@pytest.fixture(scope="module")
def program(shared_proxy: RunningProxy, home: Path, js: Path) -> Iterator[Program]:
    with running_program(js / "ai_sdk.js", shared_proxy, home) as program:
        yield program


@pytest.fixture
def sdk(program: Program, proxy: RunningProxy) -> Program:
    """Signed in afresh."""
    return program


@pytest.mark.parametrize("way", ["generate", "stream", "await stream"])
@pytest.mark.parametrize("of", PROVIDERS)
class TestAnswers:
    def test_a_text_and_what_it_cost(self, of: str, way: str, sdk: Program) -> None:
        saw = sdk.saw(of, way, **question("hello there"))
        assert (saw["text"], saw["finish"], saw["calls"]) == ("You said: hello there", "stop", [])
        assert saw["tokens"] == 6, "two words heard, four said"

    def test_tools_there_and_back(self, of: str, way: str, sdk: Program) -> None:
        saw = sdk.saw(of, way, **question(ASK_TOOL), tools={"weather": WEATHER}, result="rain")
        assert (saw["calls"], saw["text"], saw["finish"]) == ([CALL], "Tool said: rain", "stop")

    def test_a_limit_is_told_from_an_end(self, of: str, way: str, sdk: Program) -> None:
        saw = sdk.saw(of, way, **question("say 40 words", maxOutputTokens=5))
        assert (saw["text"], saw["finish"]) == ("word0 word1 word2 word3 word4", "length")

    def test_every_character_whatever_it_is_cut_into(self, of: str, way: str, sdk: Program, control: Control) -> None:
        control.script(told_in(["a\u2028b\u2029c\x85 ", "\ud83d", "\ude00", "\U0001f469", "\u200d", "\U0001f680"]))
        control.fault("responses", split="bytes")
        assert sdk.saw(of, way, **question("hello"))["text"] == "a\u2028b\u2029c\x85 \U0001f600\U0001f469\u200d\U0001f680"

    def test_a_model_by_a_name_that_the_plan_does_not_have(self, of: str, way: str, sdk: Program, control: Control) -> None:
        assert sdk.saw(of, way, **question("hello", model="gpt-4.1-nano"))["model"] == "gpt-4.1-nano"
        assert control.seen("backend", "responses")[-1].json["model"] == "gpt-6-luna"


@pytest.mark.parametrize("way", ["generate object", "stream object"])
@pytest.mark.parametrize("of", PROVIDERS)
def test_structured_output(of: str, way: str, sdk: Program, control: Control) -> None:
    assert sdk.saw(of, way, **question("a city"))["parsed"] == {"said": "a city"}
    sent = control.seen("backend", "responses")[-1].json["text"]["format"]
    assert (sent["type"], sent["strict"]) == ("json_schema", True)
    assert sent["schema"]["properties"] == {"said": {"type": "string"}}


@pytest.mark.parametrize("of", PROVIDERS)
def test_images(of: str, sdk: Program, control: Control) -> None:
    parts = [{"type": "text", "text": "what is this"}, {"type": "file", "mediaType": "image/png", "data": PIXEL}]
    saw = sdk.saw(of, "generate", model="gpt-5.5", ask={"messages": [user(parts)]})
    assert saw["text"] == "You said: what is this"
    image = control.seen("backend", "responses")[-1].json["input"][-1]["content"][1]
    assert (image["type"], image["image_url"]) == ("input_image", f"data:image/png;base64,{PIXEL}")


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "not stored"])
@pytest.mark.parametrize("model", ["gpt-5.5", "gpt-4.1"], ids=["one that reasons", "one that does not, for all the SDK knows"])
def test_a_conversation_that_reasons_and_calls(model: str, stored: bool, sdk: Program, control: Control) -> None:
    """Unless told otherwise, the SDK takes everything for stored at OpenAI, and only refers to it from then on."""
    ask = {"messages": [user(f"say reasoning {ASK_TOOL}")], "providerOptions": {"openai": {"store": stored}}}
    saw = sdk.saw("responses", "converse", model=model, ask=ask, tools={"weather": WEATHER}, result="rain", then=user("and now"))
    assert saw["text"] == "You said: and now"
    sent = [seen.json for seen in control.seen("backend", "responses")]
    kinds = [item.get("role") or item["type"] for item in sent[-1]["input"]]
    assert kinds[kinds.index("user") :] == [
        *("user", "reasoning", "function_call", "function_call_output"),
        *("reasoning", "assistant", "user"),
    ]
    assert len(sent) == 3 and len({body["prompt_cache_key"] for body in sent}) == 1


# So that the proxy tells the client at once, instead of trying again itself.
LATER = {"retry-after": "60"}
EARLY: dict[str, tuple[dict[str, Any], int, str | None]] = {
    "a refusal": ({"status": 400, "body": {"detail": "no"}}, 400, None),
    "a limit": ({"status": 429, "body": {"detail": "slow down"}, "headers": LATER}, 429, "rate_limit_exceeded"),
    "a challenge": ({"html": 403}, 403, "upstream_blocked"),
    "an outage": ({"status": 503, "body": "x", "headers": LATER}, 503, "server_is_overloaded"),
    "a break before the first word": ({"cut_after_bytes": 700, "how": "rst"}, 502, "upstream_stream_incomplete"),
}


@pytest.mark.parametrize("way", ["generate", "stream"])
@pytest.mark.parametrize("of", PROVIDERS)
@pytest.mark.parametrize(("fault", "status", "code"), EARLY.values(), ids=EARLY)
def test_an_early_failure_keeps_its_status_and_code(
    fault: dict[str, Any], status: int, code: str | None, of: str, way: str, sdk: Program, control: Control
) -> None:
    control.fault("responses", fault, times=None)
    failure = sdk.failed(of, way, **question("hello"))
    assert (failure.kind, failure.status, failure.code) == ("APICallError", status, code)
    assert failure.request_id


BREAKS = {"reset": {"cut_after_bytes": 6000, "how": "rst"}, "clean end": {"clean_eof_after_events": 12}}


@pytest.mark.parametrize("of", PROVIDERS)
class TestAFailureInTheMiddleIsAnError:
    """Never a shorter success. A StreamProviderError is what the SDK makes of an error in a stream that began well."""

    @pytest.mark.parametrize("fault", BREAKS.values(), ids=BREAKS)
    def test_a_break(self, fault: dict[str, Any], of: str, sdk: Program, control: Control) -> None:
        control.fault("responses", fault)
        failure = sdk.failed(of, "stream", **question("say 40 words"))
        assert (failure.kind, failure.code) == ("StreamProviderError", "upstream_stream_incomplete")

    def test_a_failure_that_upstream_tells(self, of: str, sdk: Program, control: Control) -> None:
        control.script(told_in(["one ", "two"], failure={"code": "rate_limit_exceeded", "message": "slow down"}))
        failure = sdk.failed(of, "stream", **question("hello"))
        assert (failure.kind, failure.code, failure.message) == ("StreamProviderError", "rate_limit_exceeded", "slow down")

    @pytest.mark.parametrize("fault", BREAKS.values(), ids=BREAKS)
    def test_a_break_of_a_stream_that_is_only_awaited(self, fault: dict[str, Any], of: str, sdk: Program, control: Control) -> None:
        """The SDK resolves to what it has then, and has this one word for it."""
        control.fault("responses", fault)
        assert sdk.saw(of, "await stream", **question("say 40 words"))["finish"] == "error"

    def test_a_break_of_structured_output(self, of: str, sdk: Program, control: Control) -> None:
        control.fault("responses", clean_eof_after_events=7)
        assert sdk.failed(of, "stream object", **question("a very long city")).kind == "NoObjectGeneratedError"


def test_two_answers_are_refused_by_name(sdk: Program, control: Control) -> None:
    """Only this provider lets a program ask for them."""
    failure = sdk.failed("compatible", "generate", **question("hello", providerOptions={"compatible": {"n": 2}}))
    assert (failure.kind, failure.status, failure.param, failure.code) == ("APICallError", 400, "n", "unsupported_value")
    assert control.seen("backend", "responses") == []
