"""Messages and hooks, as mitmproxy has them and in less time. Each function here takes the place of one of theirs.

A call makes four messages and eight hooks. mitmproxy asks their annotations what they mean each time one is made.
"""

from dataclasses import fields
from functools import cache
from typing import Any, get_args

from mitmproxy import hooks, http

from addons.engine.originals import original


@cache
def _kinds(message: type[http.MessageData]) -> tuple[tuple[str, tuple[type, ...]], ...]:
    """Of each member, the types that it may have: what is annotated is one or a union of some."""
    return tuple((field.name, get_args(field.type) or (field.type,)) for field in fields(message))


def check_types(self: http.MessageData) -> None:
    """mitmproxy's own check finds the words for what is wrong, and knows exceptions (a whole number for a time)."""
    members = vars(self)
    for name, kinds in _kinds(type(self)):
        if type(members[name]) not in kinds and not isinstance(members[name], kinds):
            return original[http.MessageData, "__post_init__"](self)


@cache
def _members(hook: type[hooks.Hook]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(hook))  # type: ignore[arg-type]


def arguments(self: hooks.Hook) -> list[Any]:
    return [getattr(self, name) for name in _members(type(self))]  # type: ignore[arg-type]


def unchecked(cls: type[Any], *args: Any, **kwargs: Any) -> Any:
    """mitmproxy asks of each hook and each reply whether its class was written as it should be. A call makes ten."""
    return object.__new__(cls)
