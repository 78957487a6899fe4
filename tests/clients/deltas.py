"""Answers of the backend in exactly these deltas, where the fake's own model would cut them between words."""

import json
from collections.abc import Sequence
from typing import Any

from tests.fakes.events import response_object, story, usage_of
from tests.fakes.speech import Message, Prompt

DELTA = "response.output_text.delta"


def told_in(deltas: Sequence[str], *, failure: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """Steps for `Control.script`. With a failure the answer ends in it, after the last delta."""
    said = [Message("".join(deltas))]
    events = list(story(response_object({"model": "gpt-5.5"}), said, usage_of(Prompt(), said), fill=False))
    at = next(index for index, event in enumerate(events) if event["type"] == DELTA)
    spoken = [{**events[at], "delta": delta} for delta in deltas]
    end = [event for event in events[at:] if event["type"] != DELTA]
    if failure:
        end = [{"type": "response.failed", "response": {**events[0]["response"], "status": "failed", "error": failure}}]
    # As text rather than as events, because half of an emoji is JSON, but not UTF-8.
    return [{"raw": f"data: {json.dumps(event)}\n\n"} for event in [*events[:at], *spoken, *end]]
