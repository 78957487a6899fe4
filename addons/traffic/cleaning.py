"""Every text of a story without what looks like a secret, and cut to a length; nothing else of a call is written but its bodies."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from addons.traffic.secrets import Search, find, find_yours, redacted_text

# A message is a sentence; ids, names and paths are short unless somebody plays with us.
MAX_TEXT = 2000
# Of edits, attempts, headers, event types: more than a request can have in earnest.
MAX_ENTRIES = 300
# A story of this length is not worth cutting, whatever it is made of. One of a usual call has 3 KiB.
SHORT = 8 << 10

# Words of the proxy's own. The user's patterns are for what a person could have written: a call keeps its id and its outcome.
OURS = ("id", "method", "outcome", "dialect", "upstream")


def cleaned(story: dict[str, Any], search: Search | None = None) -> dict[str, Any]:
    if not search and harmless(story) is not None:
        return story
    yours = _without_yours(story, search) if search else {}

    def clean(text: str) -> str:
        return yours.get(text) or redacted_text(text)

    told: dict[str, Any] = _each(story, clean)
    told |= {name: _each(story[name], redacted_text) for name in OURS}
    told["events"] = {clean(name)[:MAX_TEXT]: count for name, count in list(story["events"].items())[:MAX_ENTRIES]}
    return told


def harmless(story: dict[str, Any]) -> str | None:
    """Its JSON, if there is nothing to find in it and nothing to cut. So it is nearly always, and one search of the whole takes a
    tenth of the time."""
    try:
        whole = orjson.dumps(story)
    except TypeError:  # half a surrogate pair, which can come from JSON and which UTF-8 cannot write
        return None
    return whole.decode() if len(whole) <= SHORT and not find(whole) else None


def _without_yours(story: Mapping[str, Any], search: Search) -> dict[str, str]:
    """Every text that has something of the user's in it, with what it reads without that. All are searched at once."""
    typed = {name: value for name, value in story.items() if name not in OURS}
    texts = list(dict.fromkeys([*story["events"], *_texts(typed)]))
    found = find_yours([text.encode("utf-8", "replace") for text in texts], search)
    return {text: redacted_text(text, spans) for text, spans in zip(texts, found, strict=True) if spans}


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list() | tuple():
            for inner in value[:MAX_ENTRIES]:
                yield from _texts(inner)
        case dict():
            for inner in list(value.values())[:MAX_ENTRIES]:
                yield from _texts(inner)


def _each(value: Any, clean: Callable[[str], str]) -> Any:
    match value:
        case str():
            return clean(value)[:MAX_TEXT]
        case list() | tuple():
            return [_each(inner, clean) for inner in value[:MAX_ENTRIES]]
        case dict():
            # Names are the proxy's own, but those of events.
            return {redacted_text(str(name))[:MAX_TEXT]: _each(inner, clean) for name, inner in list(value.items())[:MAX_ENTRIES]}
    return value
