"""Every text of a story without what looks like a secret, and cut to a length; nothing else of a call is written but its bodies."""

from collections.abc import Callable
from functools import partial
from typing import Any

from addons.traffic.secrets import Patterns, find, redacted_text
from addons.traffic.stories import as_json

# A message is a sentence; ids, names and paths are short unless somebody plays with us.
MAX_TEXT = 2000
# Of edits, attempts, headers, event types: more than a request can have in earnest.
MAX_ENTRIES = 300


def cleaned(story: dict[str, Any], patterns: Patterns = ()) -> dict[str, Any]:
    # Nearly always there is nothing to find, and one search of the whole takes a tenth of the time. The user's patterns are for
    # texts, they may have a `^`.
    harmless = not patterns and not find(as_json(story).encode())
    clean: Callable[[str], str] = _writable if harmless else partial(redacted_text, patterns=patterns)
    return {name: _each(value, clean) for name, value in story.items()}


def _each(value: Any, clean: Callable[[str], str]) -> Any:
    match value:
        case str():
            return clean(value)[:MAX_TEXT]
        case list():
            return [_each(inner, clean) for inner in value[:MAX_ENTRIES]]
        case dict():
            return {clean(str(name))[:MAX_TEXT]: _each(inner, clean) for name, inner in list(value.items())[:MAX_ENTRIES]}
    return value


def _writable(text: str) -> str:
    """Half a surrogate pair can come from JSON, and UTF-8 cannot write it."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
