"""Agents of pydantic-ai, on either of its OpenAI models, against the real proxy before the fake OpenAI."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.deltas import told_in
from tests.clients.program import Program, running_program
from tests.fakes.control import Control
from tests.proxy import RunningProxy

CALL_WEATHER = 'call weather {"city":"São Paulo"}'
FORTY_WORDS = " ".join(f"word{n}" for n in range(40))

of_both = pytest.mark.parametrize("of", ["chat", "responses"])
both_ways = pytest.mark.parametrize("way", ["run", "stream"])


@pytest.fixture(scope="module")
def program(shared_proxy: RunningProxy, home: Path, clients: Path) -> Iterator[Program]:
    script = Path(__file__).with_name("pydantic_ai_agent.py")
    with running_program(script, shared_proxy, home, runs=clients / "python") as program:
        yield program


@pytest.fixture
def agent(program: Program, proxy: RunningProxy) -> Program:
    """Signed in afresh."""
    return program


@of_both
@both_ways
class TestAnswers:
    def test_a_text_and_what_it_cost(self, of: str, way: str, agent: Program) -> None:
        saw = agent.saw(of, way, prompts=["say 40 words"])
        assert (saw["output"], saw["finish_reason"], saw["tokens"]) == (FORTY_WORDS, "stop", [5, 40])
        assert saw["deltas"] == (40 if way == "stream" else 0)

    def test_a_tool_is_called_and_its_result_answered(self, of: str, way: str, agent: Program, control: Control) -> None:
        saw = agent.saw(of, way, prompts=[CALL_WEATHER])
        assert saw["output"] == "Tool said: rain in São Paulo"
        assert saw["parts"] == ["UserPromptPart", "ToolCallPart", "ToolReturnPart", "TextPart"]
        assert len(control.seen("backend", "responses")) == 2

    def test_a_conversation_goes_on_after_a_tool(self, of: str, way: str, agent: Program, control: Control) -> None:
        assert agent.saw(of, way, prompts=[CALL_WEATHER, "and now"])["output"] == "You said: and now"
        *_, before, last = control.seen("backend", "responses")
        assert last.json["prompt_cache_key"] == before.json["prompt_cache_key"]
        assert [item.get("type") for item in last.json["input"]].count("function_call_output") == 1

    def test_a_model_that_the_plan_does_not_have(self, of: str, way: str, agent: Program, control: Control) -> None:
        saw = agent.saw(of, way, prompts=[CALL_WEATHER], model="gpt-4.1-nano")
        assert saw["output"] == "Tool said: rain in São Paulo"
        assert control.seen("backend", "responses")[-1].json["model"] == "gpt-6-luna"

    def test_a_refusal_is_not_an_answer(self, of: str, way: str, agent: Program) -> None:
        failure = agent.failed(of, way, prompts=["refuse this"])
        assert failure.kind == "ContentFilterError" and "I cannot help with that." in failure.message


@of_both
@pytest.mark.parametrize("output", ["by tool", "by schema"])
def test_structured_output(of: str, output: str, agent: Program, control: Control) -> None:
    ask = {"by tool": 'call final_result {"said":"a city"}', "by schema": "a city"}
    assert agent.saw(of, "run", prompts=[ask[output]], output=output)["output"] == {"said": "a city"}
    body = control.seen("backend", "responses")[-1].json
    if output == "by tool":
        assert body["tool_choice"] == "required" and "final_result" in [tool["name"] for tool in body["tools"]]
    else:
        assert (body["text"]["format"]["type"], body["text"]["format"]["strict"]) == ("json_schema", True)


@both_ways
def test_reasoning_comes_back_on_the_next_turn(way: str, agent: Program, control: Control) -> None:
    saw = agent.saw("responses", way, prompts=["say reasoning", "again"])
    assert saw["output"] == "You said: again" and "ThinkingPart" in saw["parts"]
    [reasoning] = [item for item in control.seen("backend", "responses")[-1].json["input"] if item.get("type") == "reasoning"]
    assert reasoning["encrypted_content"] and "id" not in reasoning


# A minute is longer than anybody waits for within a request, so the client is told at once.
LATER = {"retry-after": "60"}
EARLY: dict[str, tuple[dict[str, Any], int, str]] = {
    "a refusal": ({"status": 400, "body": {"detail": "no"}}, 400, "ModelRequestRejectedError"),
    "a limit": ({"status": 429, "body": {"detail": "slow down"}, "headers": LATER}, 429, "ModelRateLimitError"),
    "an outage": ({"status": 503, "body": "x", "headers": LATER}, 503, "ModelOverloadedError"),
    "a break before the first word": ({"cut_after_bytes": 700, "how": "rst"}, 502, "ModelServerError"),
}


@of_both
@both_ways
@pytest.mark.parametrize(("fault", "status", "kind"), EARLY.values(), ids=EARLY)
def test_an_early_failure_keeps_its_status(
    fault: dict[str, Any], status: int, kind: str, of: str, way: str, agent: Program, control: Control
) -> None:
    control.fault("responses", fault, times=None)
    failure = agent.failed(of, way, prompts=["hello"])
    assert (failure.status, failure.kind) == (status, kind) and failure.request_id


@pytest.mark.parametrize(("of", "status"), [("chat", 404), ("responses", 400)])
def test_a_model_that_nobody_knows(of: str, status: int, agent: Program) -> None:
    failure = agent.failed(of, "run", prompts=["hello"], model="nonsense")
    assert (failure.status, failure.kind, failure.code) == (status, "ModelNotFoundError", "model_not_found")


BREAKS: dict[str, dict[str, Any]] = {
    "reset": {"cut_after_bytes": 6000, "how": "rst"},
    "clean end": {"clean_eof_after_events": 12},
}


@of_both
class TestAFailureInTheMiddle:
    """Never a shorter success."""

    @pytest.mark.parametrize("fault", BREAKS.values(), ids=BREAKS)
    def test_a_break(self, fault: dict[str, Any], of: str, agent: Program, control: Control) -> None:
        control.fault("responses", fault)
        assert agent.failed(of, "stream", prompts=["say 40 words"]).code == "upstream_stream_incomplete"

    def test_upstream_says_that_it_failed(self, of: str, agent: Program, control: Control) -> None:
        control.script(told_in(["half ", "an answer"], failure={"code": "server_error", "message": "upstream gave up"}))
        failure = agent.failed(of, "stream", prompts=["hello"])
        assert failure.code == "server_error" and "upstream gave up" in failure.message
