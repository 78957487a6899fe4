"""The tools of a Chat Completions request, and the choice among them, as the Responses API wants them: one level flatter."""

from collections.abc import Callable, Mapping
from typing import Any

from addons.wire.parameters import Edits, only
from addons.wire.plan import BadRequest
from addons.wire.refusals import expect, require, wrong_value

type Tool = dict[str, Any]

NO_PARAMETERS = {"type": "object", "properties": {}}
CHOICES = ("none", "auto", "required")

FUNCTION = {name: name for name in ("name", "description", "parameters", "strict")}
CUSTOM = {name: name for name in ("name", "description", "format")}

# OpenAI's own tools are no part of the Chat API, but some clients ask for them there, and the backend runs them.
HOSTED = ("web_search", "file_search", "code_interpreter", "image_generation", "mcp", "local_shell", "tool_search")


def tools_of(given: list[Any], edits: Edits) -> list[Tool]:
    return [_tool(expect(tool, (dict,), f"tools[{i}]"), f"tools[{i}]", edits) for i, tool in enumerate(given)]


def functions_of(given: list[Any], edits: Edits) -> list[Tool]:
    """The `functions` of 2023."""
    return [_function(expect(function, (dict,), f"functions[{i}]"), f"functions[{i}]", edits) for i, function in enumerate(given)]


def choice_of(given: Any, param: str = "tool_choice") -> Any:
    if isinstance(given, str):
        if given not in CHOICES:
            raise wrong_value(given, CHOICES, param)
        return given
    if given.get("type") != "allowed_tools":
        return _named(given, param)
    at = f"{param}.allowed_tools"
    allowed = require(given, "allowed_tools", (dict,), param)
    tools = [_named(tool, f"{at}.tools[{i}]") for i, tool in enumerate(require(allowed, "tools", (list,), at))]
    return {"type": "allowed_tools", "mode": require(allowed, "mode", (str,), at), "tools": tools}


def function_choice_of(given: Any) -> Any:
    """The `function_call` of 2023."""
    if isinstance(given, str):
        return choice_of(given, "function_call")
    return {"type": "function", "name": require(given, "name", (str,), "function_call")}


def check_choice_of_nothing(choice: Any) -> None:
    """Where there are no tools, `auto` and `none` ask for nothing. What cannot be had is refused in OpenAI's words."""
    if choice not in (None, "auto", "none"):
        words = "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified."
        raise BadRequest(words, "tool_choice")


def _named(tool: Any, at: str) -> Any:
    kind = require(expect(tool, (dict,), at), "type", (str,), at)
    if kind not in _FLATTEN:
        return tool
    return {"type": kind, "name": require(require(tool, kind, (dict,), at), "name", (str,), f"{at}.{kind}")}


def web_search(options: Mapping[str, Any], edits: Edits) -> Tool:
    known = {"search_context_size": "search_context_size", "user_location": "user_location"}
    wanted = only(options, known, "web_search_options", edits)
    if "user_location" in wanted:
        location = expect(wanted["user_location"], (dict,), "web_search_options.user_location")
        place = require(location, "approximate", (dict,), "web_search_options.user_location")
        wanted["user_location"] = {"type": "approximate", **place}
    return {"type": "web_search", **wanted}


def _tool(tool: Mapping[str, Any], at: str, edits: Edits) -> Tool:
    kind = require(tool, "type", (str,), at)
    if kind in _FLATTEN:
        return _FLATTEN[kind](require(tool, kind, (dict,), at), f"{at}.{kind}", edits)
    if kind in HOSTED:
        return dict(tool)
    raise wrong_value(kind, tuple(_FLATTEN), f"{at}.type")


def _function(function: Mapping[str, Any], at: str, edits: Edits) -> Tool:
    """`strict` is said in so many words, because it is false by default in Chat and true in Responses."""
    require(function, "name", (str,), at)
    known = only(function, FUNCTION, "tools[].function", edits)
    return {"type": "function", "parameters": NO_PARAMETERS, "strict": False, **known}


def _custom(custom: Mapping[str, Any], at: str, edits: Edits) -> Tool:
    require(custom, "name", (str,), at)
    known = only(custom, CUSTOM, "tools[].custom", edits)
    form = expect(known.get("format", {}), (dict,), f"{at}.format")
    if form.get("type") == "grammar":
        known["format"] = {"type": "grammar", **require(form, "grammar", (dict,), f"{at}.format")}
    return {"type": "custom", **known}


_FLATTEN: dict[str, Callable[[Mapping[str, Any], str, Edits], Tool]] = {"function": _function, "custom": _custom}
