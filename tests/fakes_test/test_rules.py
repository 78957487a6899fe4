"""The Codex backend's rules for a request body: a row for each thing it is known to refuse, and what it is known to take."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.http import Request
from tests.fakes.openai import FakeOpenAI
from tests.fakes.routes import answer, route_of
from tests.fakes.rules import ACCEPTED
from tests.fakes.world import World
from tests.fakes_test.bodies import LITE_HEADER, LOOKUP, lite, plain, user, without

UNSUPPORTED = [
    "max_output_tokens",
    "max_completion_tokens",
    "max_tokens",
    "temperature",
    "top_p",
    "top_logprobs",
    "frequency_penalty",
    "presence_penalty",
    "truncation",
    "user",
    "metadata",
    "safety_identifier",
    "prompt_cache_retention",
    "context_management",
    "previous_response_id",
    # Not on record, and refused for that: a proxy decides about every key.
    "background",
    "reasoning_effort",
]

FORMAT = {"type": "json_schema", "name": "answer", "schema": {"type": "object", "properties": {"n": {"type": "number"}}}}


def message(role: str, kind: str, **part: Any) -> dict[str, Any]:
    return {"role": role, "content": [{"type": kind, **part}]}


@pytest.mark.parametrize(
    "body, detail",
    [
        pytest.param(plain(store=True), "Store must be set to false", id="store true"),
        pytest.param(without(plain(), "store"), "Store must be set to false", id="store missing"),
        pytest.param(plain(stream=False), "Stream must be set to true", id="stream false"),
        pytest.param(without(plain(), "stream"), "Stream must be set to true", id="stream missing"),
        pytest.param(plain(input="hello"), "Input must be a list", id="input a string"),
        pytest.param(plain(input=[message("system", "input_text", text="x")]), "System messages are not allowed", id="role system"),
        pytest.param(without(plain(), "instructions"), "Instructions are required", id="instructions missing"),
        pytest.param(plain(instructions=None), "Instructions are required", id="instructions null"),
        pytest.param(lite(instructions=None), "Instructions are required", id="instructions null beside a developer message"),
        *[pytest.param(plain() | {key: 1}, f"Unsupported parameter: {key}", id=key) for key in UNSUPPORTED],
        pytest.param(plain(stream_options={"include_usage": True}), "Unsupported parameter: stream_options", id="stream_options"),
        pytest.param(
            plain(input=[message("user", "input_text", text="x", prompt_cache_breakpoint={})]),
            "Unsupported parameter: prompt_cache_breakpoint",
            id="prompt_cache_breakpoint in a part",
        ),
        pytest.param(plain(service_tier="flex"), "Unsupported service_tier: flex", id="service_tier flex"),
        pytest.param(plain(include=["file_search_call.results"]), "Unsupported include: file_search_call.results", id="include"),
        pytest.param(
            plain(model="gpt-4.1-nano"),
            "The 'gpt-4.1-nano' model is not supported when using Codex with a ChatGPT account.",
            id="a model of the platform",
        ),
    ],
)
def test_backend_refuses(fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str], body: dict[str, Any], detail: str) -> None:
    answer = http.post(f"{fake.backend_url}/responses", json=body, headers=ada)
    assert (answer.status_code, answer.json()) == (400, {"detail": detail})


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(plain(), id="the least there is"),
        pytest.param(plain(service_tier="priority"), id="service_tier priority"),
        pytest.param(plain(include=["reasoning.encrypted_content"], prompt_cache_key="k"), id="include and cache key"),
        pytest.param(plain(tools=[LOOKUP], tool_choice={"type": "function", "name": "lookup"}), id="tools"),
        pytest.param(plain(tools=[{"type": "web_search"}], parallel_tool_calls=True), id="a hosted tool"),
        pytest.param(plain(reasoning={"effort": "xhigh", "summary": "auto"}), id="reasoning"),
        pytest.param(plain(text={"format": FORMAT, "verbosity": "low"}), id="text format"),
        pytest.param(plain(stream_options={"reasoning_summary_delivery": "sequential_cutoff"}), id="the CLI's stream option"),
        pytest.param(plain(input=[{**user("x"), "id": "msg_1", "phase": "final_answer"}]), id="ids and phases of items"),
        pytest.param(without(plain(input=[message("developer", "input_text", text="x")]), "instructions"), id="leading developer"),
        pytest.param(
            plain(
                input=[
                    user("x"),
                    {"type": "function_call", "call_id": "c1", "name": "lookup", "arguments": "{}"},
                    {"type": "function_call_output", "call_id": "c1", "output": "42"},
                ]
            ),
            id="a call and its result",
        ),
    ],
)
def test_backend_takes(fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str], body: dict[str, Any]) -> None:
    answer = http.post(f"{fake.backend_url}/responses", json=body, headers=ada)
    assert answer.status_code == 200, answer.text


CALL = {"type": "function_call", "call_id": "c1", "name": "lookup", "arguments": "{}"}
STRICT = {"type": "function", "name": "lookup", "strict": True}
PROPERTY = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}


@pytest.mark.parametrize(
    "changes, status, param, message",
    [
        # Parts of messages
        (
            {"input": [message("assistant", "input_text", text="x")]},
            400,
            "input[0].content[0]",
            "Invalid value: 'input_text'. Supported values are: 'output_text' and 'refusal'.",
        ),
        (
            {"input": [message("user", "text", text="x")]},
            400,
            "input[0].content[0]",
            "Invalid value: 'text'. Supported values are: 'input_text', 'input_image', and 'input_file'.",
        ),
        (
            {"input": [message("user", "input_image", image_url={"url": "data:,"})]},
            400,
            "input[0].content[0].image_url",
            "Invalid type for 'input[0].content[0].image_url': expected an image URL, but got an object instead.",
        ),
        # Items that are not stored
        ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, 404, "input", "Item with id 'rs_1' not found."),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, 404, "input", "Item with id 'msg_1' not found."),
        # Calls and results
        (
            {"input": [{**CALL, "id": "call_1"}]},
            400,
            "input[0].id",
            "Invalid 'input[0].id': 'call_1'. Expected an ID that begins with 'fc'.",
        ),
        (
            {"input": [{**CALL, "arguments": {}}]},
            400,
            "input[0].arguments",
            "Invalid type for 'input[0].arguments': expected a string, but got an object instead.",
        ),
        ({"input": [CALL]}, 400, "input", "No tool output found for function call c1."),
        (
            {"input": [{"type": "function_call_output", "call_id": "c9", "output": ""}]},
            400,
            "input",
            "No tool call found for function call output with call_id c9.",
        ),
        (
            {"input": [{**CALL, "call_id": "c" * 65}]},
            400,
            "input[0].call_id",
            "Invalid 'input[0].call_id': string too long. Expected a string with maximum length 64",
        ),
        # Tools
        (
            {"tools": [{"type": "function", "function": {"name": "lookup"}}]},
            400,
            "tools[0].name",
            "Missing required parameter: 'tools[0].name'.",
        ),
        ({"tools": [{"type": "function", "name": "a b"}]}, 400, "tools[0].name", "Invalid 'tools[0].name': string does not match"),
        (
            {"tools": [{**STRICT, "parameters": {"type": "object", "properties": {}}}]},
            400,
            "tools[0].parameters",
            "Invalid schema for function 'lookup': In context=(), 'additionalProperties' is required to be supplied",
        ),
        (
            {"tools": [{**STRICT, "parameters": PROPERTY}]},
            400,
            "tools[0].parameters",
            "Invalid schema for function 'lookup': In context=(), 'required' is required to be supplied",
        ),
        (
            {"tools": [LOOKUP], "tool_choice": {"type": "function", "name": "other"}},
            400,
            "tool_choice",
            "Tool choice 'other' not found in 'tools' parameter.",
        ),
        # Answers in JSON
        (
            {"text": {"format": {"type": "json_schema", "schema": {}}}},
            400,
            "text.format.name",
            "Missing required parameter: 'text.format.name'.",
        ),
        (
            {"text": {"format": {"type": "json_object"}}},
            400,
            "input",
            "Response input messages must contain the word 'json' in some form",
        ),
        # Efforts
        (
            {"reasoning": {"effort": "ultra"}},
            400,
            "reasoning.effort",
            "Unsupported value: 'ultra' is not supported with the 'gpt-5.5' model.",
        ),
    ],
)
def test_responses_api_behind_it_refuses(
    fake: FakeOpenAI,
    http: httpx.Client,
    ada: dict[str, str],
    changes: dict[str, Any],
    status: int,
    param: str,
    message: str,
) -> None:
    answer = http.post(f"{fake.backend_url}/responses", json=plain(**changes), headers=ada)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert error["message"].startswith(message)


ADDITIONAL = lite()["input"][0]


@pytest.mark.parametrize(
    "body, header, param",
    [
        pytest.param(plain(), True, "model", id="lite header for a model that is not"),
        pytest.param(lite(model="gpt-5.5"), False, "model", id="additional_tools for a model that is not"),
        pytest.param(plain(model="gpt-6-luna", reasoning={"context": "all_turns"}), False, "model", id="no lite header"),
        pytest.param(lite(tools=[LOOKUP]) | {"tools": [LOOKUP]}, True, "tools", id="top-level tools"),
        pytest.param(lite(reasoning={"effort": "low"}), True, "reasoning.context", id="no reasoning.context"),
        pytest.param(lite(parallel_tool_calls=True), True, "parallel_tool_calls", id="parallel tool calls"),
        pytest.param(without(lite(), "parallel_tool_calls"), True, "parallel_tool_calls", id="parallel tool calls unsaid"),
        pytest.param(lite(tools=[{"type": "web_search"}]), True, "input[0].tools", id="a hosted tool"),
        pytest.param(lite(instructions="", input=[user("x"), ADDITIONAL]), True, "input", id="additional_tools not first"),
    ],
)
def test_responses_lite_refuses(
    fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str], body: dict[str, Any], header: bool, param: str
) -> None:
    headers = ada | LITE_HEADER if header else ada
    answer = http.post(f"{fake.backend_url}/responses", json=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(lite(), id="as the CLI sends it"),
        pytest.param(lite(instructions="be brief", input=[user("x")]), id="no tools, instructions at the top"),
        pytest.param(lite(tools=[{"type": "namespace", "name": "functions", "tools": [LOOKUP]}]), id="a namespace"),
    ],
)
def test_responses_lite_takes(fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str], body: dict[str, Any]) -> None:
    answer = http.post(f"{fake.backend_url}/responses", json=body, headers=ada | LITE_HEADER)
    assert answer.status_code == 200, answer.text


def test_lite_header_can_be_made_optional(fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str]) -> None:
    fake.control.settings(lite_header_required=False)
    body = plain(model="gpt-6-luna", reasoning={"context": "all_turns"}, tools=[LOOKUP])
    assert http.post(f"{fake.backend_url}/responses", json=body, headers=ada).status_code == 200


@pytest.mark.parametrize("key", ["stream", "store", "include", "tool_choice"])
def test_compact_does_not_know(fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str], key: str) -> None:
    body = {"model": "gpt-5.5", "input": [user("hello")], key: True}
    answer = http.post(f"{fake.backend_url}/responses/compact", json=body, headers=ada)
    assert (answer.status_code, answer.json()) == (400, {"detail": f"Unsupported parameter: {key}"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.sampled_from(["", "message", "user", "function", "function_call"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "role", "content", "tools"]), inner),
)


@settings(deadline=None)
@given(key=st.sampled_from(sorted(ACCEPTED)), value=JSON)
def test_any_json_is_answered_or_refused_but_never_crashes(key: str, value: object) -> None:
    world = World("http://127.0.0.1:1", sentinel="SENTINEL")
    who = world.vault.identity()
    tokens = world.vault.sign_in(who).tokens
    assert tokens is not None
    headers = (
        ("authorization", f"Bearer {tokens.access_token}"),
        ("chatgpt-account-id", who.account_id),
        ("content-type", "application/json"),
    )
    for body, more in ((plain(), ()), (lite(), tuple(LITE_HEADER.items()))):
        data = orjson.dumps(body | {key: value})
        request = Request("backend", 1, "POST", "/backend-api/codex/responses", headers + more, data)
        site = world.sites["backend"]
        response = answer(site, route_of(site, request), request)
        if response.status == 200 and not isinstance(response.body, bytes):
            asyncio.run(exhaust(response.body))
        else:
            assert response.status in (400, 404)


async def exhaust(body: AsyncIterator[bytes]) -> None:
    async for _ in body:
        pass
