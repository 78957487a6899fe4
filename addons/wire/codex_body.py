"""What every body for the Codex backend has in common, whichever API the request came by."""

from collections.abc import Mapping
from typing import Any

from addons.wire import lite
from addons.wire.input_items import leads_with_developer
from addons.wire.models import Resolved
from addons.wire.parameters import Edits
from addons.wire.passage import in_full
from addons.wire.plan import Answering, Plan
from addons.wire.shorten import Shortened, shorten

CHARACTERS_PER_TOKEN = 4  # of English and of code, in round numbers

# Without the encrypted form, reasoning could not be sent back in the next turn: nothing is stored.
ENCRYPTED = "reasoning.encrypted_content"

# `fast` is the newer name. Neither of these two is what a request has to say: they are what a plan gives.
TIERS = {"priority": "priority", "fast": "priority"}
NO_TIER = ("auto", "default")


def fit_tier(asked: str | None, edits: Edits) -> str | None:
    """The service tier, if it is one that a plan has."""
    if asked is None:
        return None
    if asked not in TIERS:
        edits.drop("service_tier", "a plan has no other tier than priority")
        return None
    if TIERS[asked] != asked:
        edits.add("mapped", "service_tier", f"{asked} is {TIERS[asked]} at the backend")
    return TIERS[asked]


def finish(body: Mapping[str, Any], answering: Answering, model: Resolved, edits: Edits, *, native: bool = False) -> Plan:
    """Adds what is the same for all, what the model wants, and what is too long; members that are None are not sent.

    `native` is for a body that the backend's own client has made.
    """
    sent = {name: value for name, value in body.items() if value is not None}
    sent |= {"store": False, "stream": True, "include": [ENCRYPTED]}
    lite_spoken = model.lite or lite.speaks_lite(sent["input"])
    if lite_spoken:
        sent = lite.to_lite(sent, edits)
    # Who opens with a developer message may leave them out; known only of models and of a client that do so.
    if "instructions" not in sent and not ((lite_spoken or native) and leads_with_developer(sent["input"])):
        edits.add("added", "instructions", "the backend wants them, if empty")
        sent["instructions"] = ""
    short = Shortened(sent) if native else shorten(sent, edits)
    if short.body is not sent:
        answering = answering._replace(tool_names=short.tool_names, call_ids=short.call_ids)
    if answering.max_output_tokens or answering.stop:
        answering = answering._replace(prompt_tokens=_tokens(sent))
    return Plan(short.body, edits.made(), answering, lite.HEADERS if lite_spoken else {})


def _tokens(body: Mapping[str, Any]) -> int:
    """About how many the model hears in words; pictures, files and tools are not counted."""
    spoken = [body.get("instructions", "")]
    for item in in_full(body["input"]):
        for said in (item.get("content"), item.get("output"), item.get("arguments")):
            spoken += [part.get("text") for part in said if isinstance(part, dict)] if isinstance(said, list) else [said]
    return sum(len(text) for text in spoken if isinstance(text, str)) // CHARACTERS_PER_TOKEN
