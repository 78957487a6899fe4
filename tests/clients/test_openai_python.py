"""The official Python SDK, with strict validation of what it gets, against the real proxy before the fake OpenAI."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.e2e.conftest import options_for, write_account
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.proxy import RunningProxy, running_proxy

TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
FLAT_TOOL: Any = {"type": "function", "strict": False, **TOOL["function"]}
ASK_TOOL = 'call weather {"city":"Berlin"}'
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


ACCOUNT = ".codex-mitm/accounts/default/auth.json"
FORTY_WORDS: Any = [{"role": "user", "content": "say 40 words"}]


class City(BaseModel):
    said: str


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sdk")


@pytest.fixture(scope="module")
def proxy(fake: FakeOpenAI, home: Path) -> Iterator[RunningProxy]:
    write_account(home / ACCOUNT, fake.control.login())
    with running_proxy(home, options_for(fake)) as proxy:
        yield proxy


@pytest.fixture
def control(fake: FakeOpenAI) -> Control:
    fake.control.clear_faults()
    return fake.control


@pytest.fixture
def client(proxy: RunningProxy, control: Control) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=proxy.url, api_key="placeholder", max_retries=0, _strict_response_validation=True) as client:
        yield client


class TestChat:
    def test_create(self, client: openai.OpenAI) -> None:
        answer = client.chat.completions.create(model="gpt-5.5", messages=[{"role": "user", "content": "hello"}])
        assert answer.choices[0].message.content == "You said: hello" and answer.choices[0].finish_reason == "stop"
        assert answer.usage and answer.usage.total_tokens > 0

    def test_stream(self, client: openai.OpenAI) -> None:
        with client.chat.completions.stream(model="gpt-5.5", messages=[{"role": "user", "content": "hello"}]) as stream:
            final = stream.get_final_completion()
        assert final.choices[0].message.content == "You said: hello"

    def test_tools_there_and_back(self, client: openai.OpenAI) -> None:
        messages: list[Any] = [{"role": "user", "content": ASK_TOOL}]
        first = client.chat.completions.create(model="gpt-5.5", messages=messages, tools=[TOOL]).choices[0]
        assert first.finish_reason == "tool_calls" and first.message.tool_calls
        call = first.message.tool_calls[0]
        assert call.type == "function" and (call.function.name, call.function.arguments) == ("weather", '{"city":"Berlin"}')
        messages += [first.message.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
        second = client.chat.completions.create(model="gpt-5.5", messages=messages, tools=[TOOL])
        assert second.choices[0].message.content == "Tool said: rain"

    def test_tools_streamed(self, client: openai.OpenAI) -> None:
        with client.chat.completions.stream(
            model="gpt-5.5", messages=[{"role": "user", "content": ASK_TOOL}], tools=[TOOL]
        ) as stream:
            call = (stream.get_final_completion().choices[0].message.tool_calls or [])[0]
        assert call.function.arguments == '{"city":"Berlin"}'

    def test_structured_output(self, client: openai.OpenAI, control: Control) -> None:
        ask: Any = [{"role": "user", "content": "a city"}]
        answer = client.chat.completions.parse(model="gpt-5.5", messages=ask, response_format=City)
        assert answer.choices[0].message.parsed == City(said="a city")
        sent = control.seen("backend", "responses")[-1].json
        assert sent["text"]["format"]["type"] == "json_schema" and sent["text"]["format"]["strict"] is True

    def test_images(self, client: openai.OpenAI, control: Control) -> None:
        parts: Any = [{"type": "text", "text": "what is this"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
        client.chat.completions.create(model="gpt-5.5", messages=[{"role": "user", "content": parts}])
        content = control.seen("backend", "responses")[-1].json["input"][-1]["content"]
        assert content[1] == {"type": "input_image", "image_url": PIXEL, "detail": "auto"}

    def test_async(self, proxy: RunningProxy) -> None:
        async def ask() -> str | None:
            async with openai.AsyncOpenAI(base_url=proxy.url, api_key="x", _strict_response_validation=True) as client:
                answer = await client.chat.completions.create(model="gpt-5.5", messages=[{"role": "user", "content": "hi"}])
                return answer.choices[0].message.content

        assert asyncio.run(ask()) == "You said: hi"


class TestResponses:
    def test_create(self, client: openai.OpenAI) -> None:
        answer = client.responses.create(model="gpt-5.5", input="hello", temperature=0.5, metadata={"a": "b"})
        assert answer.output_text == "You said: hello" and answer.metadata == {"a": "b"} and answer.temperature == 0.5

    def test_stream(self, client: openai.OpenAI) -> None:
        with client.responses.stream(model="gpt-5.5", input="hello") as stream:
            deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
            assert "".join(deltas) == stream.get_final_response().output_text == "You said: hello"

    def test_tools_there_and_back(self, client: openai.OpenAI) -> None:
        first = client.responses.create(model="gpt-5.5", input=ASK_TOOL, tools=[FLAT_TOOL])
        call = next(item for item in first.output if item.type == "function_call")
        assert call.arguments == '{"city":"Berlin"}'
        history: Any = [
            {"role": "user", "content": ASK_TOOL},
            *(item.model_dump() for item in first.output),
            {"type": "function_call_output", "call_id": call.call_id, "output": "rain"},
        ]
        assert client.responses.create(model="gpt-5.5", input=history, tools=[FLAT_TOOL]).output_text == "Tool said: rain"

    def test_structured_output(self, client: openai.OpenAI, control: Control) -> None:
        assert client.responses.parse(model="gpt-5.5", input="a city", text_format=City).output_parsed == City(said="a city")
        assert control.seen("backend", "responses")[-1].json["text"]["format"]["name"] == "City"


class TestContinuity:
    """What OpenAI keeps and the Codex backend does not."""

    def test_going_on_from_a_response(self, client: openai.OpenAI, control: Control) -> None:
        first = client.responses.create(model="gpt-5.5", input=ASK_TOOL, tools=[FLAT_TOOL])
        call = next(item for item in first.output if item.type == "function_call")
        result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
        second = client.responses.create(model="gpt-5.5", input=[result], tools=[FLAT_TOOL], previous_response_id=first.id)
        assert second.output_text == "Tool said: rain" and second.previous_response_id == first.id
        with client.responses.stream(model="gpt-5.5", input="more", previous_response_id=second.id) as stream:
            third = stream.get_final_response()
        assert third.output_text == "You said: more" and third.previous_response_id == second.id
        kinds = [item["type"] for item in control.seen("backend", "responses")[-1].json["input"]]
        assert kinds == ["message", "function_call", "function_call_output", "message", "message"]

    def test_reading_it_again(self, client: openai.OpenAI) -> None:
        told = client.responses.create(model="gpt-5.5", input="say reasoning hello", tools=[FLAT_TOOL])
        assert client.responses.retrieve(told.id) == told and told.model_dump()["store"] is True
        client.responses.delete(told.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(told.id)

    def test_listing_what_led_to_it(self, client: openai.OpenAI) -> None:
        picture: Any = {"type": "input_image", "image_url": PIXEL}
        given: Any = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "say reasoning hello"}, picture]},
            {"role": "assistant", "content": "hello"},
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "rain"},
            {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "x"},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": "done"},
            {"role": "user", "content": "say reasoning hello"},
        ]
        first = client.responses.create(model="gpt-5.5", input=given)
        second = client.responses.create(model="gpt-5.5", input="more", previous_response_id=first.id)
        items = list(client.responses.input_items.list(second.id, limit=3, order="asc"))
        assert [item.type for item in items] == [
            *["message"] * 3,
            "function_call",
            "function_call_output",
            "custom_tool_call",
            "custom_tool_call_output",
            "message",
            *[item.type for item in first.output],
            "message",
        ]
        assert list(client.responses.input_items.list(second.id)) == items[::-1]

    def test_what_is_not_there(self, client: openai.OpenAI) -> None:
        told = client.responses.create(model="gpt-5.5", input="hello", store=False)
        assert told.model_dump()["store"] is False
        with pytest.raises(openai.BadRequestError) as raised:
            client.responses.create(model="gpt-5.5", input="more", previous_response_id=told.id)
        assert raised.value.code == "previous_response_not_found"
        with pytest.raises(openai.NotFoundError):
            list(client.responses.input_items.list(told.id))

    def test_what_cannot_be_done(self, client: openai.OpenAI) -> None:
        told = client.responses.create(model="gpt-5.5", input="hello")
        with pytest.raises(openai.BadRequestError, match="synchronous"):
            client.responses.cancel(told.id)
        with pytest.raises(openai.BadRequestError, match="stream"):
            list(client.responses.retrieve(told.id, stream=True))


def test_models(client: openai.OpenAI) -> None:
    assert "gpt-5.5" in [model.id for model in client.models.list()]
    assert client.models.retrieve("gpt-4.1-nano").id == "gpt-4.1-nano"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nonsense")


# So that the proxy tells the client at once, instead of trying again itself.
LATER = {"retry-after": "60"}
FAILURES: dict[str, tuple[dict[str, Any], type[openai.APIStatusError]]] = {
    "a refusal": ({"status": 400, "body": {"detail": "no"}}, openai.BadRequestError),
    "a limit": ({"status": 429, "body": {"detail": "slow down"}, "headers": LATER}, openai.RateLimitError),
    "a challenge": ({"html": 403}, openai.PermissionDeniedError),
    "an outage": ({"status": 503, "body": "x", "headers": LATER}, openai.InternalServerError),
    "a break before the first word": ({"cut_after_bytes": 700, "how": "rst"}, openai.InternalServerError),
}


@pytest.mark.parametrize(("fault", "expected"), FAILURES.values(), ids=FAILURES)
def test_failures_are_the_sdks_own_errors(
    fault: dict[str, Any], expected: type[openai.APIStatusError], client: openai.OpenAI, control: Control, home: Path
) -> None:
    write_account(home / ACCOUNT, control.login(f"{expected.__name__}@example.com"))  # of whom nothing bad is known
    control.fault("responses", fault, times=None)
    with pytest.raises(expected) as raised:
        client.chat.completions.create(model="gpt-5.5", messages=[{"role": "user", "content": "hello"}])
    assert raised.value.request_id


@pytest.mark.parametrize(
    "fault", [{"cut_after_bytes": 6000, "how": "rst"}, {"clean_eof_after_events": 12}], ids=["reset", "clean end"]
)
class TestABreakInTheMiddleIsAnError:
    """Never a shorter success, whichever way the SDK is used."""

    def test_chat_iterated(self, fault: dict[str, Any], client: openai.OpenAI, control: Control) -> None:
        control.fault("responses", fault)
        with pytest.raises(openai.APIError):
            list(client.chat.completions.create(model="gpt-5.5", messages=FORTY_WORDS, stream=True))

    def test_chat_helper(self, fault: dict[str, Any], client: openai.OpenAI, control: Control) -> None:
        control.fault("responses", fault)
        with (
            pytest.raises(openai.APIError),
            client.chat.completions.stream(model="gpt-5.5", messages=FORTY_WORDS) as stream,
        ):
            stream.get_final_completion()

    def test_responses_iterated(self, fault: dict[str, Any], client: openai.OpenAI, control: Control) -> None:
        control.fault("responses", fault)
        with pytest.raises(openai.APIError):
            list(client.responses.create(model="gpt-5.5", input="say 40 words", stream=True))

    def test_responses_helper(self, fault: dict[str, Any], client: openai.OpenAI, control: Control) -> None:
        control.fault("responses", fault)
        with pytest.raises(openai.APIError), client.responses.stream(model="gpt-5.5", input="say 40 words") as stream:
            stream.get_final_response()
