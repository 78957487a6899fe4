"""mitmproxy's own functions that the engine has put something in the place of."""

from collections.abc import Callable
from typing import Any

known: dict[tuple[Any, str], Callable[..., Any]] = {}


def original(owner: Any, name: str) -> Callable[..., Any]:
    return known[owner, name]
