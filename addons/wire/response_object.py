"""The response object as the client gets it: every member that OpenAI's schema demands, and the client's own parameters.

The parameters that upstream repeats are those of the translated request, and it leaves some out: they count for nothing here. What
upstream found out does: ids, times, status, output, usage, the service tier.
"""

from collections.abc import Mapping
from typing import Any

from addons.wire.echo import echo

# What upstream says, or else this.
RESULTS: dict[str, Any] = {
    "id": "",
    "object": "response",
    "created_at": 0,
    "completed_at": None,
    "error": None,
    "incomplete_details": None,
    "output": [],
    "usage": None,
    "service_tier": "default",
}
UNSAID = echo({})
# Echoes that can be megabytes: a line that would be too long for some clients does without (responses_stream.py).
BULKY = {name: UNSAID[name] for name in ("instructions", "metadata", "text", "tools")}


class ResponseObjects:
    """The response objects of one answer."""

    def __init__(self, model: str, own: Mapping[str, Any]) -> None:
        self._own = {**UNSAID, **own, "model": model}

    def of(self, upstream: Mapping[str, Any]) -> dict[str, Any]:
        said = {name: value for name, value in upstream.items() if value is not None or name not in RESULTS}
        return {**RESULTS, **said, **self._own}
