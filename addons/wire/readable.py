"""Requests and answers of both dialects as a person reads them: who says what, which tools, how it ended, what it cost.

For eyes, and for whatever comes: what is not understood is shown as it is, nothing raises, and no output is longer than MAX_TEXT.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from addons.wire.events import written

# A browser shows so much without effort; what is cut is in the raw view.
MAX_TEXT = 400_000
# Of one message, one tool's result, one argument. They are what a body is long of.
MAX_PIECE = 20_000
MAX_LINE = 200


def page(sections: Iterable[tuple[str, Iterable[str]]]) -> str:
    """Headlines with their lines. What is too much is cut off, and said so."""
    out: list[str] = []
    room = MAX_TEXT
    for title, lines in sections:
        for line in [*([f"── {title}"] if title else []), *lines, ""]:
            line = printable(line)
            if len(line) >= room:
                return "\n".join([*out, line[:room], "[... too long to be shown ...]"])
            room -= len(line) + 1
            out.append(line)
    return "\n".join(out).rstrip() + "\n"


def printable(text: str) -> str:
    """Half a surrogate pair can come from JSON, and no page can hold it."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def piece(text: str) -> str:
    more = len(text) - MAX_PIECE
    return text if more <= 0 else f"{text[:MAX_PIECE]}\n[... {more} more characters ...]"


def one_line(text: str, most: int = MAX_LINE) -> str:
    line = " ".join(text[: 4 * most].split())
    return line if len(line) <= most else f"{line[:most]}…"


def compact(value: Any) -> str:
    """As JSON, in one line."""
    try:
        return piece(written(value).decode("utf-8", "replace"))
    except (ValueError, TypeError, RecursionError):
        return "[nested too deeply]"


def parsed(data: bytes) -> Any:
    """None for what is no JSON."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def raw(data: bytes) -> str:
    return data[:MAX_TEXT].decode("utf-8", "replace")


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a list, if it is one."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


def content(value: Any) -> Iterator[str]:
    """A message's content, in either dialect: a text, or parts of several kinds."""
    if isinstance(value, str):
        yield piece(value)
    elif isinstance(value, list):
        for part in value:
            yield piece(part) if isinstance(part, str) else _part(part)
    elif value is not None:
        yield compact(value)


def _part(part: Any) -> str:
    if not isinstance(part, dict):
        return compact(part)
    for name in ("text", "refusal"):
        if isinstance(part.get(name), str):
            return piece(part[name])
    kind = text_of(part.get("type"))
    for name in ("image_url", "file_data", "input_audio", "file", "file_id", "file_url"):
        if name in part:
            return f"[{kind or name}: {_attached(part[name])}]"
    return compact(part)


def _attached(value: Any) -> str:
    """What a picture or a file is, without its bytes."""
    if isinstance(value, dict):
        found = next((value[name] for name in ("url", "data", "file_data", "file_id", "filename") if name in value), "")
        return _attached(found) if isinstance(found, str) else one_line(compact(value))
    text = text_of(value)
    kind, comma, data = text.partition(",")
    if text.startswith("data:") and comma:
        return f"{kind.removeprefix('data:')}, {len(data)} characters"
    return one_line(text)
