"""LangChain's ChatOpenAI, in both of its dialects, against the real proxy before the fake OpenAI."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from langsmith import tracing_context
from pydantic import BaseModel

from tests.clients.deltas import told_in
from tests.fakes.control import Control
from tests.proxy import RunningProxy

CALL_WEATHER = 'call weather {"city":"São Paulo"}'
FORTY_WORDS = " ".join(f"word{n}" for n in range(40))


class City(BaseModel):
    said: str


def weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


@pytest.fixture(autouse=True)
def untraced() -> Iterator[None]:
    """Whoever has LangSmith switched on in the environment has not meant these."""
    with tracing_context(enabled=False):
        yield


@pytest.fixture(params=[False, True], ids=["chat", "responses"])
def llm(request: pytest.FixtureRequest, proxy: RunningProxy) -> ChatOpenAI:
    return ChatOpenAI(
        model="gpt-5.5",
        base_url=proxy.url,
        api_key="placeholder",
        max_retries=0,
        use_responses_api=request.param,
        stream_usage=True,
    )


def streamed(llm: Any, heard: Any) -> AIMessage:
    """The same answer, put together from its chunks as LangChain does it."""
    chunks = list(llm.stream(heard))
    assert len(chunks) > 1
    answer = chunks[0]
    for chunk in chunks[1:]:
        answer += chunk
    return answer


both_ways = pytest.mark.parametrize("ask", [lambda llm, heard: llm.invoke(heard), streamed], ids=["invoke", "stream"])


@both_ways
class TestAnswers:
    def test_a_text_and_what_it_cost(self, ask: Any, llm: ChatOpenAI) -> None:
        answer = ask(llm, [("system", "Be brief."), ("human", "say 40 words")])
        assert answer.text == FORTY_WORDS
        assert (answer.usage_metadata["input_tokens"], answer.usage_metadata["output_tokens"]) == (5, 40)

    def test_a_tool_is_called_and_its_result_answered(self, ask: Any, llm: ChatOpenAI) -> None:
        able = llm.bind_tools([weather])
        heard: list[BaseMessage] = [HumanMessage(CALL_WEATHER)]
        calling = ask(able, heard)
        [call] = calling.tool_calls
        assert (call["name"], call["args"]) == ("weather", {"city": "São Paulo"})
        heard += [calling, ToolMessage(weather(**call["args"]), tool_call_id=call["id"])]
        assert ask(able, heard).text == "Tool said: rain in São Paulo"

    def test_what_it_thought_is_no_part_of_what_it_says(self, ask: Any, llm: ChatOpenAI) -> None:
        thought = ask(llm, [HumanMessage("say reasoning")])
        assert thought.text == "You said: say reasoning"
        assert ask(llm, [HumanMessage("say reasoning"), thought, HumanMessage("again")]).text == "You said: again"


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(method: Any, llm: ChatOpenAI, control: Control) -> None:
    ask = {"json_schema": "a city", "function_calling": 'call City {"said":"a city"}'}
    assert llm.with_structured_output(City, method=method).invoke(ask[method]) == City(said="a city")
    body = control.seen("backend", "responses")[-1].json
    if method == "json_schema":
        assert (body["text"]["format"]["type"], body["text"]["format"]["name"]) == ("json_schema", "City")
    else:
        assert body["tool_choice"] == {"type": "function", "name": "City"}


def test_a_model_that_the_plan_does_not_have(llm: ChatOpenAI, control: Control) -> None:
    llm.model_name = "gpt-4.1-nano"
    assert llm.invoke("hello").text == "You said: hello"
    assert control.seen("backend", "responses")[-1].json["model"] == "gpt-6-luna"


# A minute is longer than anybody waits for within a request, so the client is told at once.
LATER = {"retry-after": "60"}
EARLY: dict[str, tuple[dict[str, Any], type[openai.APIStatusError]]] = {
    "a refusal": ({"status": 400, "body": {"detail": "no"}}, openai.BadRequestError),
    "a limit": ({"status": 429, "body": {"detail": "slow down"}, "headers": LATER}, openai.RateLimitError),
    "a break before the first word": ({"cut_after_bytes": 700, "how": "rst"}, openai.InternalServerError),
}


@both_ways
@pytest.mark.parametrize(("fault", "expected"), EARLY.values(), ids=EARLY)
def test_an_early_failure_keeps_its_status(
    fault: dict[str, Any], expected: type[openai.APIStatusError], ask: Any, llm: ChatOpenAI, control: Control
) -> None:
    control.fault("responses", fault, times=None)
    with pytest.raises(expected):
        ask(llm, "hello")


BREAKS: dict[str, dict[str, Any]] = {
    "reset": {"cut_after_bytes": 6000, "how": "rst"},
    "clean end": {"clean_eof_after_events": 12},
}


class TestAFailureInTheMiddle:
    """Never a shorter success."""

    @pytest.mark.parametrize("fault", BREAKS.values(), ids=BREAKS)
    def test_a_break(self, fault: dict[str, Any], llm: ChatOpenAI, control: Control) -> None:
        control.fault("responses", fault)
        with pytest.raises(openai.APIError, match="ended before the answer was complete"):
            streamed(llm, "say 40 words")

    def test_upstream_says_that_it_failed(self, llm: ChatOpenAI, control: Control) -> None:
        control.script(told_in(["half ", "an answer"], failure={"code": "server_error", "message": "upstream gave up"}))
        with pytest.raises(openai.APIError, match="upstream gave up"):
            streamed(llm, "hello")
