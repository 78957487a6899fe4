"""Requests, answers and their headers, as mitmproxy has them and in less time. Each function here takes the place of one of theirs.

A call looks a hundred times for a header and makes four messages. mitmproxy converts every name of a head for each look, and asks
the annotations of a message what they mean each time one is made.
"""

from dataclasses import fields
from functools import cache
from typing import Any, get_args

from mitmproxy import hooks, http

from addons.engine.originals import original


def get_all(self: http.Headers, name: str | bytes) -> list[str]:
    wanted = (name.encode("utf-8", "surrogateescape") if isinstance(name, str) else name).lower()
    return [value.decode("utf-8", "surrogateescape") for key, value in self.fields if key.lower() == wanted]


@cache
def _kinds(message: type[http.MessageData]) -> tuple[tuple[str, tuple[type, ...]], ...]:
    """Of each member, the types that it may have: what is annotated is one or a union of some."""
    return tuple((field.name, get_args(field.type) or (field.type,)) for field in fields(message))


def check_types(self: http.MessageData) -> None:
    """mitmproxy's own check finds the words for what is wrong, and knows exceptions (a whole number for a time)."""
    members = vars(self)
    for name, kinds in _kinds(type(self)):
        if not isinstance(members[name], kinds):
            return original(http.MessageData, "__post_init__")(self)


_members: dict[type[hooks.Hook], tuple[str, ...]] = {}


def arguments(self: hooks.Hook) -> list[Any]:
    names = _members.get(type(self))
    if names is None:
        names = _members[type(self)] = tuple(field.name for field in fields(self))  # type: ignore[arg-type]
    return [getattr(self, name) for name in names]
