"""The shape of a JSON request, and how api.openai.com words its complaint about a wrong one."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NoReturn

from .errors import refuse

NAME = re.compile(r"[A-Za-z0-9_-]+")
MAX_NAME = 64

KINDS = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    type(None): "null",
}


def expect(value: Any, kind: type, param: str) -> Any:
    """The value, which is of that kind."""
    if type(value) is not kind:
        refuse_type(value, KINDS[kind], param)
    return value


def require(thing: Mapping[str, Any], name: str, kind: type, at: str) -> Any:
    """A member that must be there, not null, and of that kind."""
    param = f"{at}.{name}" if at else name
    if thing.get(name) is None:
        refuse_missing(param)
    return expect(thing[name], kind, param)


def expect_members(thing: Mapping[str, Any], kinds: Mapping[str, type], at: str = "") -> None:
    """Each of these members is of its kind, null, or not there."""
    for name, kind in kinds.items():
        if thing.get(name) is not None:
            expect(thing[name], kind, f"{at}.{name}" if at else name)


def each_object(value: Any, at: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of an array, each with its place."""
    for index, element in enumerate(expect(value, list, at)):
        yield f"{at}[{index}]", expect(element, dict, f"{at}[{index}]")


def require_name(thing: Mapping[str, Any], at: str) -> str:
    """The `name` of a function, a custom tool or a schema."""
    name: str = require(thing, "name", str, at)
    if not NAME.fullmatch(name):
        pattern = "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
        refuse(400, "invalid_value", f"Invalid '{at}.name': string does not match pattern. {pattern}", f"{at}.name")
    expect_length(name, MAX_NAME, f"{at}.name")
    return name


def expect_length(value: str, limit: int, param: str) -> None:
    if len(value) > limit:
        message = (
            f"Invalid '{param}': string too long. Expected a string with maximum length {limit}, "
            f"but got a string with length {len(value)} instead."
        )
        refuse(400, "string_above_max_length", message, param)


def expect_one_of(value: Any, supported: Collection[str], param: str) -> str:
    if not isinstance(value, str) or value not in supported:
        refuse_value(value, supported, param)
    return value


def expect_strict_schema(schema: Any, owner: str, param: str, path: tuple[str, ...] = ()) -> None:
    """A strict object schema closes itself and requires every property, at every depth."""
    if not isinstance(schema, dict):
        return
    context = f"Invalid schema for {owner}: In context={path!r}, "
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            message = f"{context}'additionalProperties' is required to be supplied and to be false."
            refuse(400, "invalid_function_parameters", message, param)
        properties = expect(schema.get("properties") or {}, dict, param)
        required = expect(schema.get("required") or [], list, param)
        if missing := [name for name in properties if name not in required]:
            message = (
                f"{context}'required' is required to be supplied and to be an array including every key in properties. "
                f"Missing '{missing[0]}'."
            )
            refuse(400, "invalid_function_parameters", message, param)
        for name, below in properties.items():
            expect_strict_schema(below, owner, param, (*path, "properties", name))
    expect_strict_schema(schema.get("items"), owner, param, (*path, "items"))


def refuse_value(value: Any, supported: Iterable[str], param: str) -> NoReturn:
    *most, last = (f"'{choice}'" for choice in supported)
    listed = f"{', '.join(most)}{',' if len(most) > 1 else ''} and {last}" if most else last
    refuse(400, "invalid_value", f"Invalid value: '{value}'. Supported values are: {listed}.", param)


def refuse_missing(param: str) -> NoReturn:
    refuse(400, "missing_required_parameter", f"Missing required parameter: '{param}'.", param)


def refuse_type(value: Any, expected: str, param: str) -> NoReturn:
    got = KINDS[type(value)]
    refuse(400, "invalid_type", f"Invalid type for '{param}': expected {expected}, but got {got} instead.", param)
