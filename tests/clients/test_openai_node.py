"""The official JavaScript SDK against the real proxy before the fake OpenAI."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.deltas import told_in
from tests.clients.program import Program, running_program
from tests.fakes.control import Control
from tests.proxy import RunningProxy

WEATHER: dict[str, Any] = {
    "name": "weather",
    "description": "The weather in a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "array", "items": {"type": "integer"}}},
        "required": ["city"],
    },
}
# The fake's model cuts its deltas at blanks.
ARGUMENTS = '{"city": "São Paulo", "days": [1, 2, 3]}'
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def chat(content: Any, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-5.5", "messages": [{"role": "user", "content": content}], **more}


def responses(content: Any, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-5.5", "input": content, **more}


ASK = {"chat": chat, "responses": responses}
TOOLS = {"chat": [{"type": "function", "function": WEATHER}], "responses": [{"type": "function", "strict": False, **WEATHER}]}
ENDS = {
    "chat": {"whole": "stop", "calls": "tool_calls", "cut": "length"},
    "responses": {"whole": "completed", "calls": "completed", "cut": "max_output_tokens"},
}
LIMIT = {"chat": "max_tokens", "responses": "max_output_tokens"}


@pytest.fixture(scope="module")
def program(shared_proxy: RunningProxy, home: Path, js: Path) -> Iterator[Program]:
    with running_program(js / "openai_node.js", shared_proxy, home) as program:
        yield program


@pytest.fixture
def sdk(program: Program, proxy: RunningProxy) -> Program:
    """Signed in afresh."""
    return program


@pytest.mark.parametrize("way", ["create", "iterate", "helper"])
@pytest.mark.parametrize("of", ["chat", "responses"])
class TestAnswers:
    def test_a_text_and_what_it_cost(self, of: str, way: str, sdk: Program) -> None:
        saw = sdk.saw(of, way, ask=ASK[of]("hello there"))
        assert (saw["text"], saw["finish"], saw["calls"]) == ("You said: hello there", ENDS[of]["whole"], [])
        assert saw["tokens"] == 6, "two words heard, four said"

    def test_calls_with_all_of_their_arguments(self, of: str, way: str, sdk: Program) -> None:
        saw = sdk.saw(of, way, ask=ASK[of](f'call weather {ARGUMENTS} call weather {{"city":"Berlin"}}', tools=TOOLS[of]))
        assert [call["arguments"] for call in saw["calls"]] == [ARGUMENTS, '{"city":"Berlin"}']
        assert {call["name"] for call in saw["calls"]} == {"weather"} and saw["finish"] == ENDS[of]["calls"]

    def test_a_limit_is_told_from_an_end(self, of: str, way: str, sdk: Program) -> None:
        saw = sdk.saw(of, way, ask=ASK[of]("say 40 words", **{LIMIT[of]: 5}))
        assert (saw["text"], saw["finish"]) == ("word0 word1 word2 word3 word4", ENDS[of]["cut"])

    def test_every_character_whatever_it_is_cut_into(self, of: str, way: str, sdk: Program, control: Control) -> None:
        control.script(told_in(["a\u2028b\u2029c\x85 ", "\ud83d", "\ude00", "\U0001f469", "\u200d", "\U0001f680"]))
        control.fault("responses", split="bytes")
        assert sdk.saw(of, way, ask=ASK[of]("hello"))["text"] == "a\u2028b\u2029c\x85 \U0001f600\U0001f469\u200d\U0001f680"

    def test_a_model_by_a_name_that_the_plan_does_not_have(self, of: str, way: str, sdk: Program, control: Control) -> None:
        assert sdk.saw(of, way, ask=ASK[of]("hello", model="gpt-4.1-nano"))["model"] == "gpt-4.1-nano"
        assert control.seen("backend", "responses")[-1].json["model"] == "gpt-6-luna"


@pytest.mark.parametrize("of", ["chat", "responses"])
class TestBoth:
    def test_tools_there_and_back(self, of: str, sdk: Program, control: Control) -> None:
        saw = sdk.saw(of, "run tools", ask=ASK[of](f"say reasoning call weather {ARGUMENTS}", tools=TOOLS[of]), result="rain")
        assert saw["calls"] == [{"name": "weather", "arguments": ARGUMENTS}] and saw["text"] == "Tool said: rain"
        first, second = (seen.json for seen in control.seen("backend", "responses"))
        assert second["prompt_cache_key"] == first["prompt_cache_key"]

    def test_structured_output(self, of: str, sdk: Program, control: Control) -> None:
        assert sdk.saw(of, "parse", ask=ASK[of]("a city"))["parsed"] == {"said": "a city"}
        sent = control.seen("backend", "responses")[-1].json["text"]["format"]
        assert (sent["type"], sent["name"], sent["strict"]) == ("json_schema", "City", True)


IMAGES: dict[str, list[dict[str, Any]]] = {
    "chat": [{"type": "text", "text": "what is this"}, {"type": "image_url", "image_url": {"url": PIXEL}}],
    "responses": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "what is this"},
                {"type": "input_image", "image_url": PIXEL, "detail": "auto"},
            ],
        }
    ],
}


@pytest.mark.parametrize(("of", "content"), IMAGES.items(), ids=IMAGES)
def test_images(of: str, content: list[dict[str, Any]], sdk: Program, control: Control) -> None:
    assert sdk.saw(of, "create", ask=ASK[of](content))["text"] == "You said: what is this"
    sent = control.seen("backend", "responses")[-1].json["input"][-1]["content"]
    assert sent[1] == {"type": "input_image", "image_url": PIXEL, "detail": "auto"}


def test_models(sdk: Program) -> None:
    assert "gpt-5.5" in sdk.saw("models", "list")["models"]
    assert sdk.saw("models", "retrieve", model="gpt-4.1-nano")["models"] == ["gpt-4.1-nano"]
    missing = sdk.failed("models", "retrieve", model="nonsense")
    assert (missing.kind, missing.status, missing.code) == ("NotFoundError", 404, "model_not_found")


# So that the proxy tells the client at once, instead of trying again itself.
LATER = {"retry-after": "60"}
EARLY: dict[str, tuple[dict[str, Any], str, int, str | None]] = {
    "a refusal": ({"status": 400, "body": {"detail": "no"}}, "BadRequestError", 400, None),
    "a limit": ({"status": 429, "body": {"detail": "slow down"}, "headers": LATER}, "RateLimitError", 429, "rate_limit_exceeded"),
    "a challenge": ({"html": 403}, "PermissionDeniedError", 403, "upstream_blocked"),
    "an outage": ({"status": 503, "body": "x", "headers": LATER}, "InternalServerError", 503, "server_is_overloaded"),
    "a break before the first word": (
        {"cut_after_bytes": 700, "how": "rst"},
        "InternalServerError",
        502,
        "upstream_stream_incomplete",
    ),
}


@pytest.mark.parametrize("way", ["create", "iterate"])
@pytest.mark.parametrize("of", ["chat", "responses"])
@pytest.mark.parametrize(("fault", "kind", "status", "code"), EARLY.values(), ids=EARLY)
def test_an_early_failure_is_the_sdks_own_error(
    fault: dict[str, Any], kind: str, status: int, code: str | None, of: str, way: str, sdk: Program, control: Control
) -> None:
    control.fault("responses", fault, times=None)
    failure = sdk.failed(of, way, ask=ASK[of]("hello"))
    assert (failure.kind, failure.status, failure.code) == (kind, status, code)
    assert failure.request_id


BREAKS = {"reset": {"cut_after_bytes": 6000, "how": "rst"}, "clean end": {"clean_eof_after_events": 12}}


@pytest.mark.parametrize("way", ["iterate", "helper"])
@pytest.mark.parametrize("of", ["chat", "responses"])
class TestAFailureInTheMiddleIsAnError:
    """Never a shorter success, whichever way the SDK is used. A status would be that of a failure before the first word."""

    @pytest.mark.parametrize("fault", BREAKS.values(), ids=BREAKS)
    def test_a_break(self, fault: dict[str, Any], of: str, way: str, sdk: Program, control: Control) -> None:
        control.fault("responses", fault)
        failure = sdk.failed(of, way, ask=ASK[of]("say 40 words"))
        assert (failure.kind, failure.status, failure.code) == ("APIError", None, "upstream_stream_incomplete")

    def test_a_failure_that_upstream_tells(self, of: str, way: str, sdk: Program, control: Control) -> None:
        control.script(told_in(["one ", "two"], failure={"code": "rate_limit_exceeded", "message": "slow down"}))
        failure = sdk.failed(of, way, ask=ASK[of]("hello"))
        assert (failure.kind, failure.status, failure.code) == ("APIError", None, "rate_limit_exceeded")
        assert failure.message == "slow down"


def test_two_answers_are_refused_by_name(sdk: Program, control: Control) -> None:
    failure = sdk.failed("chat", "create", ask=chat("hello", n=2))
    assert (failure.kind, failure.status, failure.param, failure.code) == ("BadRequestError", 400, "n", "unsupported_value")
    assert control.seen("backend", "responses") == []
