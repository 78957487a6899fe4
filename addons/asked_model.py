"""Which model a request asks for: read so that nobody else can read another name out of the same body. Pure."""

import json
from collections.abc import Sequence
from typing import Any


class _SaidTwice(ValueError):
    """One reader takes the first, another the last."""


def asked_model(body: bytes) -> str | None:
    """None where none is named, or more than one, or where the body is no JSON in UTF-8: a form, a file."""
    try:
        parsed = json.loads(body.decode("utf-8"), object_pairs_hook=_members)
    except (ValueError, RecursionError):
        return None
    model = parsed.get("model") if isinstance(parsed, dict) else None
    return model if isinstance(model, str) else None


def _members(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    if sum(name.casefold() == "model" for name, _ in pairs) > 1:  # Go's readers do not look at the case
        raise _SaidTwice
    return dict(pairs)
