"""How OpenAI words its complaint about a wrong request. SDK users have seen these sentences, and some clients match on them."""

from collections.abc import Collection, Mapping
from typing import Any

from addons.wire.plan import BadRequest

WORDS: dict[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    type(None): "null",
}
NUMBER = (int, float)


def missing(param: str) -> BadRequest:
    return BadRequest(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def wrong_type(value: Any, kinds: tuple[type, ...], param: str) -> BadRequest:
    wanted = [WORDS[kind] for kind in kinds if kind is not int or float not in kinds]
    expected = wanted[0] if len(wanted) == 1 else f"one of {', '.join(wanted[:-1])} or {wanted[-1]}"
    got = WORDS.get(type(value), "something else")
    return BadRequest(f"Invalid type for '{param}': expected {expected}, but got {got} instead.", param, "invalid_type")


def wrong_value(value: Any, supported: Collection[str], param: str) -> BadRequest:
    *most, last = (f"'{choice}'" for choice in supported)
    listed = f"{', '.join(most)}{',' if len(most) > 1 else ''} and {last}" if most else last
    return BadRequest(f"Invalid value: '{str(value)[:100]}'. Supported values are: {listed}.", param, "invalid_value")


def outside(value: float, low: float | None, high: float | None, param: str) -> BadRequest | None:
    """The complaint if the number lies outside of the bounds."""
    kind = "integer" if isinstance(value, int) else "decimal"
    if low is not None and not value >= low:
        message = f"Invalid '{param}': {kind} below minimum value. Expected a value >= {low}, but got {value} instead."
        return BadRequest(message, param, f"{kind}_below_min_value")
    if high is not None and not value <= high:
        message = f"Invalid '{param}': {kind} above maximum value. Expected a value <= {high}, but got {value} instead."
        return BadRequest(message, param, f"{kind}_above_max_value")
    return None


def too_many(count: int, limit: int, param: str) -> BadRequest:
    message = f"Invalid '{param}': array too long. Expected an array with maximum length {limit}, but got {count} instead."
    return BadRequest(message, param, "array_above_max_length")


def nothing_in(param: str) -> BadRequest:
    message = f"Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array instead."
    return BadRequest(message, param, "empty_array")


def expect[T](value: T, kinds: tuple[type, ...], param: str) -> T:
    """The value, which is of one of these kinds. A boolean is no integer, as in JSON."""
    if type(value) not in kinds:
        raise wrong_type(value, kinds, param)
    return value


def require(thing: Mapping[str, Any], name: str, kinds: tuple[type, ...], at: str) -> Any:
    """A member that is there, not null, and of one of these kinds."""
    value = thing.get(name)
    if value is None:
        raise missing(f"{at}.{name}")
    return value if type(value) in kinds else expect(value, kinds, f"{at}.{name}")
