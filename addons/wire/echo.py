"""The client's own parameters, as every response object repeats them: what was not given, with the API's default."""

from collections.abc import Mapping
from typing import Any

# What api.openai.com fills in. Numbers are numbers: the schema has no null for them. The service tier is upstream's to say.
DEFAULTS: dict[str, Any] = {
    "instructions": None,
    "previous_response_id": None,
    "tools": [],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_logprobs": 0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "truncation": "disabled",
    "metadata": {},
    "background": False,
    "user": None,
    "safety_identifier": None,
    "prompt_cache_key": None,
    "prompt_cache_retention": None,
}
REASONING = {"effort": None, "summary": None}
TEXT = {"format": {"type": "text"}, "verbosity": "medium"}
FUNCTION = {"description": None, "parameters": None, "strict": True}


def echo(body: Mapping[str, Any], **instead: Any) -> dict[str, Any]:
    """`instead` is for what the answer should say in place of the client's words."""
    said = {name: default if body.get(name) is None else body[name] for name, default in DEFAULTS.items()}
    return {
        **said,
        "tools": [FUNCTION | tool if tool.get("type") == "function" else tool for tool in said["tools"]],
        "reasoning": REASONING | (body.get("reasoning") or {}),
        "text": TEXT | {name: value for name, value in (body.get("text") or {}).items() if value is not None},
        "store": body.get("store") is not False,
        **instead,
    }
