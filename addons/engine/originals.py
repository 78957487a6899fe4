"""mitmproxy's own functions that the engine has put something in the place of, by where they were and their name."""

from collections.abc import Callable
from typing import Any

original: dict[tuple[Any, str], Callable[..., Any]] = {}
