"""Messages and hooks, as mitmproxy has them and in less time. Each function here takes the place of one of theirs.

A call makes four messages and eight hooks. mitmproxy asks their annotations what they mean each time one is made.
"""

from dataclasses import fields
from functools import cache
from typing import Any

from mitmproxy import hooks, http

from addons.engine.originals import original

# The types of messages that were found right, with those of their members. There are some ten; no more are kept than this.
_right: set[tuple[type, ...]] = set()
_KEPT = 100


def check_types(self: http.MessageData) -> None:
    """mitmproxy's own check asks nothing but types: none of the members is a list."""
    types = (type(self), *map(type, vars(self).values()))
    if types not in _right:
        original[http.MessageData, "__post_init__"](self)
        if len(_right) < _KEPT:
            _right.add(types)


@cache
def _members(hook: type[hooks.Hook]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(hook))  # type: ignore[arg-type]


def arguments(self: hooks.Hook) -> list[Any]:
    return [getattr(self, name) for name in _members(type(self))]  # type: ignore[arg-type]


def unchecked(cls: type[Any], *args: Any, **kwargs: Any) -> Any:
    """mitmproxy asks of each hook and each reply whether its class was written as it should be. A call makes ten."""
    return object.__new__(cls)
