"""What the Codex backend takes in a request body, as far as it is known from those who were refused.

`check_responses` and `check_compact` run their checks in order, and the first that is not content refuses the request. The
`detail` texts are literal unless marked as made up. A key that is not on the list of accepted ones is refused like those
that are known to be: a proxy has to decide about every key by itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from .catalog import Model
from .errors import refuse, refuse_detail
from .items import check_items, check_text_format, check_tool_choice, check_tools, item_type, offered_tools
from .shapes import expect_members, expect_one_of

type Body = Mapping[str, Any]

COMPACT = {
    "model",
    "input",
    "instructions",
    "tools",
    "parallel_tool_calls",
    "reasoning",
    "service_tier",
    "prompt_cache_key",
    "text",
}
ACCEPTED = COMPACT | {"stream", "store", "include", "tool_choice", "stream_options", "client_metadata"}
KINDS = {
    "tools": list,
    "parallel_tool_calls": bool,
    "reasoning": dict,
    "service_tier": str,
    "prompt_cache_key": str,
    "text": dict,
    "include": list,
    "stream_options": dict,
    "client_metadata": dict,
}
# What the catalog names in `service_tiers`; the others of the platform are for API keys.
SERVICE_TIERS = ("priority",)
INCLUDE = ("reasoning.encrypted_content",)
# The CLI's own; OpenAI's `include_usage` and `include_obfuscation` are refused.
STREAM_OPTIONS = ("reasoning_summary_delivery",)
LITE_TOOLS = ("function", "custom", "namespace", "tool_search")


def check_responses(body: Body, models: Sequence[Model], lite_header: bool, lite_required: bool) -> None:
    _check_instructions(body)
    _check_input(body)
    _check_flags(body)
    _check_keys(body, ACCEPTED)
    _check_values(body)
    model = _model(body, models)
    _check_effort(body, model)
    _check_lite(body, model, lite_header, lite_required)
    _check_content(body)


def check_compact(body: Body, models: Sequence[Model]) -> None:
    """Unary: what has to do with streaming and storing is not even known here."""
    _check_input(body)
    _check_keys(body, COMPACT)
    _check_effort(body, _model(body, models))
    _check_content(body)


def _check_instructions(body: Body) -> None:
    """Required, though they may be empty; left out only by who opens with a developer message instead, as CLI 0.169 does."""
    if isinstance(body.get("instructions"), str):
        return
    spoken = [item for item in _objects(body.get("input")) if item_type(item) != "additional_tools"]
    if "instructions" in body or not spoken or spoken[0].get("role") != "developer":
        refuse_detail("Instructions are required")


def _check_input(body: Body) -> None:
    if not isinstance(body.get("input"), list):
        refuse_detail("Input must be a list")
    if any(item.get("role") == "system" for item in _objects(body["input"])):
        refuse_detail("System messages are not allowed")


def _check_flags(body: Body) -> None:
    if body.get("store") is not False:
        refuse_detail("Store must be set to false")
    if body.get("stream") is not True:
        refuse_detail("Stream must be set to true")


def _check_keys(body: Body, accepted: set[str]) -> None:
    for key in body:
        if key not in accepted:
            refuse_detail(f"Unsupported parameter: {key}")
    expect_members(body, KINDS)
    if any(key not in STREAM_OPTIONS for key in body.get("stream_options") or ()):
        refuse_detail("Unsupported parameter: stream_options")
    for item in _objects(body["input"]):
        if any("prompt_cache_breakpoint" in part for part in _objects(item.get("content"))):
            refuse_detail("Unsupported parameter: prompt_cache_breakpoint")


def _check_values(body: Body) -> None:
    """Values that only API keys may use. These texts are made up."""
    tier = body.get("service_tier")
    if tier is not None and tier not in SERVICE_TIERS:
        refuse_detail(f"Unsupported service_tier: {tier}")
    for include in body.get("include") or ():
        if include not in INCLUDE:
            refuse_detail(f"Unsupported include: {include}")


def _model(body: Body, models: Sequence[Model]) -> Model:
    slug = body.get("model")
    for model in models:
        if model.slug == slug:
            return model
    refuse_detail(f"The '{slug}' model is not supported when using Codex with a ChatGPT account.")


def _check_effort(body: Body, model: Model) -> None:
    effort = (body.get("reasoning") or {}).get("effort")
    # `ultra` is a level of the catalog only; the CLI sends it as `max`.
    supported = ("none", *(e for e in model.efforts if e != "ultra"))
    if effort is not None and effort not in supported:
        listed = ", ".join(f"'{e}'" for e in supported)
        message = f"Unsupported value: '{effort}' is not supported with the '{model.slug}' model. Supported values are: {listed}."
        refuse(400, "unsupported_value", message, "reasoning.effort")


def _check_lite(body: Body, model: Model, header: bool, required: bool) -> None:
    """Responses Lite is a dialect that goes with the model; mixing is refused both ways. Only the first text is on record."""
    additional = [item for item in _objects(body["input"]) if item_type(item) == "additional_tools"]
    if not model.lite:
        if header or additional:
            message = "This model is not supported when using X-OpenAI-Internal-Codex-Responses-Lite."
            refuse(400, "unsupported_value", message, "model")
        return
    if (body.get("reasoning") or {}).get("context") != "all_turns":
        refuse(400, "unsupported_value", "This model requires reasoning.context to be 'all_turns'.", "reasoning.context")
    if not header:
        if required or additional:
            refuse(400, "unsupported_value", "This model requires X-OpenAI-Internal-Codex-Responses-Lite.", "model")
        return
    if body.get("tools"):
        refuse(400, "unsupported_value", "Responses Lite takes its tools in an additional_tools item.", "tools")
    if body.get("parallel_tool_calls") is not False:
        refuse(400, "unsupported_value", "Responses Lite needs parallel_tool_calls to be false.", "parallel_tool_calls")
    for item in additional:
        if item is not body["input"][0] or item.get("role") != "developer":
            refuse(400, "unsupported_value", "additional_tools is the first item, and the developer's.", "input")
        for tool in _objects(item.get("tools")):
            expect_one_of(tool.get("type"), LITE_TOOLS, "input[0].tools")


def _check_content(body: Body) -> None:
    check_items(body["input"])
    check_tools(body.get("tools") or [])
    if body.get("tool_choice") is not None:
        check_tool_choice(body["tool_choice"], offered_tools(body))
    check_text_format(body.get("text") or {}, body["input"])


def _objects(value: Any) -> list[dict[str, Any]]:
    """The objects in what may be an array; what is wrong about the rest is found when it is that check's turn."""
    return [element for element in value if isinstance(element, dict)] if isinstance(value, list) else []
