"""A Chat Completions request becomes a Responses request that the Codex backend takes.

`PARAMETERS` is the whole policy for the top level; messages have theirs in chat_messages.py, tools in chat_tools.py. Translation
itself is no edit: edits tell what the client asked for and gets otherwise, or not at all.
"""

from collections.abc import Mapping
from typing import Any

from addons.wire import effort
from addons.wire.chat_messages import check_says_json, items_of
from addons.wire.chat_tools import check_choice_of_nothing, choice_of, function_choice_of, functions_of, tools_of, web_search
from addons.wire.codex_body import NO_TIER, finish, fit_tier
from addons.wire.ends import stops, token_limit
from addons.wire.models import Resolved, model_name
from addons.wire.parameters import CACHES, LOCKED, NOT_TAKEN, WHO, Edits, Parameter, only, sift
from addons.wire.plan import Answering, BadRequest, Plan
from addons.wire.refusals import NUMBER, expect, missing, require, wrong_value
from addons.wire.shorten import NAME

NO_LOGPROBS = "the backend gives no logprobs"
NO_AUDIO = "the backend neither hears nor speaks"

PARAMETERS: dict[str, Parameter] = {
    "model": Parameter("mapped", "aliases, effort suffixes and dates are resolved; other names go as they are"),
    "messages": Parameter("mapped", "each becomes an item of the input, in place; a system message is the developer's", (list,)),
    "stream": Parameter("forced", "true: the backend only streams; the client gets what it asked for", (bool,)),
    "store": Parameter("forced", "false: the backend stores nothing", (bool,), (False,)),
    "stream_options": Parameter("mapped", "include_usage is kept; other options are not", (dict,)),
    "tools": Parameter("mapped", "one level flatter, with strict said in so many words", (list,)),
    "tool_choice": Parameter("mapped", "one level flatter", (str, dict)),
    "parallel_tool_calls": Parameter("kept", "newer models want false", (bool,)),
    "functions": Parameter("mapped", "as tools; the answer has the form of 2023 again", (list,), ([],)),
    "function_call": Parameter("mapped", "as tool_choice", (str, dict)),
    "web_search_options": Parameter("mapped", "as the web_search tool", (dict,)),
    "response_format": Parameter("mapped", "is text.format", (dict,)),
    "verbosity": Parameter("mapped", "is text.verbosity", (str,), choices=("low", "medium", "high")),
    "reasoning_effort": Parameter("mapped", "is reasoning.effort, brought to one that the model has", (str,)),
    "reasoning": Parameter("mapped", "OpenRouter's: effort and summary; with exclude, reasoning is not shown", (dict,)),
    "x_codex": Parameter("mapped", "reasoning_effort is taken from it", (dict,)),
    "prompt_cache_key": Parameter("kept", "decides whether the plan's cache is hit", (str,)),
    "service_tier": Parameter("mapped", "priority, or fast, which is the same; a plan has no others", (str,), NO_TIER),
    "max_completion_tokens": Parameter("emulated", "the answer is cut off here, and upstream cancelled", (int,), low=1),
    "max_tokens": Parameter("emulated", "the older name of max_completion_tokens", (int,), low=1),
    "stop": Parameter("emulated", "the answer is cut off here, and upstream cancelled", (str, list), ("", [])),
    "temperature": Parameter("dropped", LOCKED, NUMBER, (1,), 0, 2),
    "top_p": Parameter("dropped", LOCKED, NUMBER, (1,), 0, 1),
    "frequency_penalty": Parameter("dropped", LOCKED, NUMBER, (0,), -2, 2),
    "presence_penalty": Parameter("dropped", LOCKED, NUMBER, (0,), -2, 2),
    "logit_bias": Parameter("dropped", LOCKED, (dict,), ({},)),
    "seed": Parameter("dropped", LOCKED, (int,)),
    "prediction": Parameter("dropped", NOT_TAKEN, (dict,)),
    "moderation": Parameter("dropped", NOT_TAKEN, (dict,)),
    "metadata": Parameter("dropped", "nothing is stored that it could mark", (dict,), ({},)),
    "user": Parameter("dropped", WHO, (str,)),
    "safety_identifier": Parameter("dropped", WHO, (str,)),
    "prompt_cache_retention": Parameter("dropped", CACHES, (str,)),
    "prompt_cache_options": Parameter("dropped", CACHES, (dict,), ({},)),
    "n": Parameter("refused", "the backend gives one answer", (int,), (1,), low=1, code="unsupported_value"),
    "logprobs": Parameter("refused", NO_LOGPROBS, (bool,), (False,)),
    "top_logprobs": Parameter("refused", NO_LOGPROBS, (int,), (0,)),
    "modalities": Parameter("refused", NO_AUDIO, (list,), (["text"], [])),
    "audio": Parameter("refused", NO_AUDIO, (dict,)),
}

STREAM_OPTIONS = {"include_usage": "include_usage"}
REASONING = {name: name for name in ("effort", "summary", "exclude", "enabled")}
JSON_SCHEMA = {name: name for name in ("name", "description", "schema", "strict")}
FORMATS = ("text", "json_object", "json_schema")


def plan(body: Mapping[str, Any], *, model: Resolved, strict: bool = False, show_reasoning: bool = True) -> Plan:
    """What goes to the backend in place of `body`, which is not changed. Raises BadRequest.

    `strict` refuses whatever would be dropped. `show_reasoning` asks the backend for summaries, unless the client wants none.
    """
    name = model_name(body)
    edits = Edits(strict, model.edits)
    asked = sift(body, PARAMETERS, edits)
    if not asked.get("messages"):
        raise missing("messages")
    if asked.get("store"):
        edits.add("forced", "store", PARAMETERS["store"].why)
    options = only(asked.get("stream_options", {}), STREAM_OPTIONS, "stream_options", edits)
    legacy = "functions" in asked and not asked.get("tools")
    reasoning, shown = _reasoning(asked, model, show_reasoning, edits)
    sent = {
        "model": model.slug,
        "instructions": "",
        "input": items_of(asked["messages"], edits),
        **_tools(asked, legacy, edits),
        "reasoning": reasoning or None,
        "text": _text(asked, edits) or None,
        "service_tier": fit_tier(asked.get("service_tier"), edits),
        "prompt_cache_key": asked.get("prompt_cache_key"),
    }
    answering = Answering(
        dialect="chat",
        stream=asked.get("stream", False),
        model=name,
        max_output_tokens=token_limit(asked),
        stop=stops(asked),
        include_usage=options.get("include_usage") is True,
        legacy_functions=legacy,
        custom_tools=any(tool["type"] == "custom" for tool in sent.get("tools", [])),
        show_reasoning=shown,
    )
    return finish(sent, answering, model, edits)


def _tools(asked: Mapping[str, Any], legacy: bool, edits: Edits) -> dict[str, Any]:
    """Tools, the choice among them, and whether there may be several calls at once."""
    tools = [*tools_of(asked.get("tools", []), edits), *functions_of(asked.get("functions", []), edits)]
    if "web_search_options" in asked:
        tools.append(web_search(asked["web_search_options"], edits))
    choice = choice_of(asked["tool_choice"]) if "tool_choice" in asked else None
    if choice is None and "function_call" in asked:
        choice = function_choice_of(asked["function_call"])
    if not tools:
        check_choice_of_nothing(choice)
        return {}
    parallel = asked.get("parallel_tool_calls")
    if legacy:
        edits.add("mapped", "functions", PARAMETERS["functions"].why)
        parallel = False  # the old form has room for one call
    return {"tools": tools, "tool_choice": choice, "parallel_tool_calls": parallel}


def _reasoning(asked: Mapping[str, Any], model: Resolved, show: bool, edits: Edits) -> tuple[dict[str, Any], bool]:
    """What is asked of the backend, and whether the client is shown what comes of it."""
    wanted = only(asked.get("reasoning", {}), REASONING, "reasoning", edits)
    own = asked.get("x_codex", {})
    for member in own:
        if member != "reasoning_effort":
            raise BadRequest(f"Unknown parameter: 'x_codex.{member}'.", f"x_codex.{member}", "unknown_parameter")
    off = "none" if wanted.get("enabled") is False else None
    level = asked.get("reasoning_effort") or wanted.get("effort") or own.get("reasoning_effort") or off
    level = effort.decide(expect(level, (str, type(None)), "reasoning_effort"), model.effort, model.efforts, edits)
    shown = show and wanted.get("exclude") is not True
    summary = wanted.get("summary") or ("auto" if shown and level != "none" else None)
    return {name: value for name, value in (("effort", level), ("summary", summary)) if value}, shown


def _text(asked: Mapping[str, Any], edits: Edits) -> dict[str, Any]:
    text: dict[str, Any] = {}
    if "response_format" in asked and (form := _format(asked["response_format"], edits)):
        text["format"] = form
        if form["type"] == "json_object":
            check_says_json(asked["messages"])
    if "verbosity" in asked:
        text["verbosity"] = asked["verbosity"]
    return text


def _format(given: Mapping[str, Any], edits: Edits) -> dict[str, Any] | None:
    kind = require(given, "type", (str,), "response_format")
    if kind not in FORMATS:
        raise wrong_value(kind, FORMATS, "response_format.type")
    if kind != "json_schema":
        return None if kind == "text" else {"type": kind}
    definition = require(given, "json_schema", (dict,), "response_format")
    schema = only(definition, JSON_SCHEMA, "response_format.json_schema", edits)
    expect(schema.get("schema", {}), (dict,), "response_format.json_schema.schema")
    if not NAME.fullmatch(expect(schema.get("name", "response"), (str,), "response_format.json_schema.name")):
        param = "response_format.json_schema.name"
        raise BadRequest(f"Invalid '{param}': expected 1 to 64 characters of A-Z, a-z, 0-9, _ and -.", param, "invalid_value")
    # As with tools, `strict` is said in so many words.
    return {"type": kind, "name": "response", "schema": {}, "strict": False, **schema}
