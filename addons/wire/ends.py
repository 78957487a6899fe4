"""Where the client wants the answer to end; the backend takes no such limits, so the proxy sees to it."""

from collections.abc import Mapping
from typing import Any

from addons.wire.refusals import expect, too_many

# The API's names for it from today's to the oldest; the first that is given holds.
LIMITS = ("max_output_tokens", "max_completion_tokens", "max_tokens")
MAX_STOPS = 4


def token_limit(asked: Mapping[str, Any]) -> int | None:
    return next((asked[name] for name in LIMITS if name in asked), None)


def stops(asked: Mapping[str, Any]) -> tuple[str, ...]:
    """The stop sequences, each once. An empty one would be found at once everywhere, and is none."""
    given = asked.get("stop") or []
    given = [given] if isinstance(given, str) else given
    if len(given) > MAX_STOPS:
        raise too_many(len(given), MAX_STOPS, "stop")
    return tuple(dict.fromkeys(stop for i, stop in enumerate(given) if expect(stop, (str,), f"stop[{i}]")))
