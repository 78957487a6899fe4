"""What mitmproxy says of each connection, which is not said at all where nobody wants to hear it.

A filter of the log comes after the record is made, for which Python looks at the stack, the thread and the task: 35 calls for each
line, and a streamed call has one.
"""

import logging
from collections.abc import Callable
from typing import Any

from mitmproxy.proxy.server import ConnectionHandler

from addons.engine.originals import original

_is_said: Callable[[str, int], bool] | None = None


def log(self: ConnectionHandler, message: str, level: int = logging.INFO, exc_info: Any = None) -> None:
    if _is_said is None or _is_said(message, level):
        original[ConnectionHandler, "log"](self, message, level, exc_info)


def say_only(is_said: Callable[[str, int], bool]) -> None:
    """Of messages and their levels."""
    global _is_said
    _is_said = is_said


def say_all() -> None:
    global _is_said
    _is_said = None
