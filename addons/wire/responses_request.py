"""A Responses request, as any OpenAI client sends it, becomes one that the Codex backend takes.

`PARAMETERS` is the whole policy for the top level; input items have theirs in input_items.py, what the newer models want besides
is in lite.py. A request that is in the backend's own dialect, as the Codex CLI sends it, comes out as it went in.
"""

from collections.abc import Mapping
from typing import Any

from addons.wire import effort
from addons.wire.codex_body import ENCRYPTED, NO_TIER, finish, fit_tier
from addons.wire.echo import echo
from addons.wire.ends import stops, token_limit
from addons.wire.input_items import check_says_json, items_of
from addons.wire.models import Resolved, model_name
from addons.wire.parameters import CACHES, LOCKED, NOT_TAKEN, WHO, Edits, Parameter, only, sift
from addons.wire.plan import Answering, BadRequest, Plan
from addons.wire.refusals import NUMBER, expect, require

PARAMETERS: dict[str, Parameter] = {
    "model": Parameter("mapped", "aliases, effort suffixes and dates are resolved; other names go as they are"),
    "input": Parameter("mapped", "a string becomes a message; ids and what is only a reference are taken off the items"),
    "instructions": Parameter("kept", "the backend wants them, if empty; newer models as a developer message", (str,)),
    "store": Parameter("emulated", "the backend stores nothing: the turn is kept in this proxy's memory", (bool,), (False,)),
    "stream": Parameter("forced", "true: the backend only streams; the client gets what it asked for", (bool,)),
    "include": Parameter("forced", "reasoning comes encrypted, or the next turn could not have it; others are not taken", (list,)),
    "tools": Parameter("kept", "newer models take them in an item of the input, and none of OpenAI's own", (list,), ([],)),
    "tool_choice": Parameter("kept", "an empty object becomes the only function, or auto", (str, dict)),
    "parallel_tool_calls": Parameter("kept", "newer models want false", (bool,)),
    "reasoning": Parameter("kept", "the effort is brought to one that the model has", (dict,), ({},)),
    "text": Parameter("kept", "format and verbosity", (dict,), ({},)),
    "prompt_cache_key": Parameter("kept", "decides whether the plan's cache is hit", (str,)),
    "service_tier": Parameter("mapped", "priority, or fast, which is the same; a plan has no others", (str,), NO_TIER),
    "stream_options": Parameter("kept", "only the Codex CLI's own option is taken", (dict,), ({},)),
    "client_metadata": Parameter("kept", "the Codex CLI's own", (dict,)),
    "max_output_tokens": Parameter("emulated", "the answer is cut off here, and upstream cancelled", (int,), low=1),
    "max_completion_tokens": Parameter("emulated", "Chat's name for max_output_tokens", (int,), low=1),
    "max_tokens": Parameter("emulated", "Chat's older name for max_output_tokens", (int,), low=1),
    "stop": Parameter("emulated", "Chat's: the answer is cut off here, and upstream cancelled", (str, list), ("", [])),
    "metadata": Parameter("emulated", "the answer repeats it; it is not stored", (dict,), ({},)),
    "temperature": Parameter("dropped", LOCKED, NUMBER, (1,), 0, 2),
    "top_p": Parameter("dropped", LOCKED, NUMBER, (1,), 0, 1),
    "frequency_penalty": Parameter("dropped", LOCKED, NUMBER, (0,), -2, 2),
    "presence_penalty": Parameter("dropped", LOCKED, NUMBER, (0,), -2, 2),
    "truncation": Parameter("dropped", NOT_TAKEN, (str,), ("disabled",), choices=("auto", "disabled")),
    "context_management": Parameter("dropped", NOT_TAKEN, (list,), ([],)),
    "max_tool_calls": Parameter("dropped", "OpenAI's own tools are not counted here", (int,)),
    "image": Parameter("dropped", NOT_TAKEN, (dict,), ({},)),
    "moderation": Parameter("dropped", NOT_TAKEN, (dict,)),
    "access_programs": Parameter("dropped", NOT_TAKEN, (dict,), ({},)),
    "user": Parameter("dropped", WHO, (str,)),
    "safety_identifier": Parameter("dropped", WHO, (str,)),
    "prompt_cache_retention": Parameter("dropped", CACHES, (str,)),
    "prompt_cache_options": Parameter("dropped", CACHES, (dict,), ({},)),
    "top_logprobs": Parameter("refused", "the backend gives no logprobs", (int,), (0,)),
    "background": Parameter("refused", "the backend keeps no response that could be asked for later", (bool,), (False,)),
    "conversation": Parameter("refused", "the backend keeps no conversations"),
    "prompt": Parameter("refused", "prompt templates are the platform's"),
    # Expanded before `plan` is called, by whoever keeps turns (continuity.py).
    "previous_response_id": Parameter(
        "refused",
        "the backend keeps no responses",
        (str,),
        code="previous_response_not_found",
        says="Previous response with id '{value}' not found.",
    ),
}

KEPT = ("instructions", "tools", "tool_choice", "parallel_tool_calls", "prompt_cache_key", "client_metadata")

# Of the nested ones, the members that are taken, and the name that each has at the backend.
MEMBERS: dict[str, dict[str, str]] = {
    "reasoning": {"effort": "effort", "summary": "summary", "generate_summary": "summary", "context": "context"},
    "text": {"format": "format", "verbosity": "verbosity"},
    "stream_options": {"reasoning_summary_delivery": "reasoning_summary_delivery"},
}

LOGPROBS = "message.output_text.logprobs"


def plan(body: Mapping[str, Any], *, model: Resolved, strict: bool = False, previous_response_id: str | None = None) -> Plan:
    """What goes to the backend in place of `body`, which is not changed. Raises BadRequest.

    `strict` refuses whatever would be dropped. `previous_response_id` has been expanded already, and taken off the body
    (continuity.py); it is only repeated in the answer.
    """
    name = model_name(body)
    edits = Edits(strict, model.edits)
    asked = sift(body, PARAMETERS, edits)
    if body.get("store") is None:  # OpenAI stores what does not say otherwise
        edits.add("emulated", "store", PARAMETERS["store"].why)
    _see_to_forced(asked, edits)
    _check_tools(asked.get("tools", []), "tools")
    if asked.get("tool_choice") == {}:
        asked["tool_choice"] = _only_choice(asked.get("tools", []), edits)
    native = "client_metadata" in asked and body.get("store") is False and body.get("stream") is True
    sent: dict[str, Any] = {
        "model": model.slug,
        "input": items_of(asked.get("input"), edits, verbatim=native),
        **{name: asked.get(name) for name in KEPT},
        **_nested(asked, model, edits),
        "service_tier": asked.get("service_tier") if native else fit_tier(asked.get("service_tier"), edits),
    }
    if (sent["text"] or {}).get("format", {}).get("type") == "json_object":
        check_says_json(sent["input"])
    answering = Answering(
        dialect="responses",
        stream=asked.get("stream", False),
        model=name,
        echo=echo(body, previous_response_id=previous_response_id, tool_choice=asked.get("tool_choice", "auto")),
        max_output_tokens=token_limit(asked),
        stop=stops(asked),
    )
    return finish(sent, answering, model, edits, native=native)


def _see_to_forced(asked: Mapping[str, Any], edits: Edits) -> None:
    """`finish` sets these for every body; here it is told where that is not what the client said."""
    if asked.get("stream") is not True:
        edits.add("forced", "stream", PARAMETERS["stream"].why)
    included = asked.get("include", [])
    if LOGPROBS in included:
        raise BadRequest(f"Unsupported parameter: 'include': {PARAMETERS['top_logprobs'].why}.", "include", "unsupported_parameter")
    if ENCRYPTED not in included:
        edits.add("added", "include", PARAMETERS["include"].why)
    if any(value != ENCRYPTED for value in included):
        edits.drop("include", f"of what could be included the backend gives {ENCRYPTED} alone")


def _nested(asked: Mapping[str, Any], model: Resolved, edits: Edits) -> dict[str, Any]:
    """`reasoning`, `text` and `stream_options` with what is known of them, and without those that are empty."""
    nested = {name: only(asked.get(name, {}), members, name, edits) for name, members in MEMBERS.items()}
    reasoning, text = nested["reasoning"], nested["text"]
    expect(reasoning.get("effort", ""), (str,), "reasoning.effort")
    if level := effort.decide(reasoning.get("effort"), model.effort, model.efforts, edits):
        reasoning["effort"] = level
    expect(text.get("format", {}), (dict,), "text.format")
    return {name: members or None for name, members in nested.items()}


def _check_tools(tools: list[Any], at: str) -> None:
    for index, tool in enumerate(tools):
        here = f"{at}[{index}]"
        kind = require(expect(tool, (dict,), here), "type", (str,), here)
        if kind in ("function", "custom"):
            require(tool, "name", (str,), here)


def _only_choice(tools: list[dict[str, Any]], edits: Edits) -> Any:
    """nanobot up to v0.0.77 writes `{}` for a tool that it names."""
    functions = [tool for tool in tools if tool["type"] == "function"]
    edits.add("mapped", "tool_choice", PARAMETERS["tool_choice"].why)
    return {"type": "function", "name": functions[0]["name"]} if len(functions) == len(tools) == 1 else "auto"
