"""`http.Headers` as mitmproxy has it, in less time. Each function here takes the place of one of its methods.

A call looks ninety times for a header and writes twenty. mitmproxy goes through all fields for each of them, and through five
functions for each name on the way: a tenth of a small call. Here is looked up where each name stands. Fields are a tuple, so
whoever changes a header puts another one in its place; and its names are those of a head of the call before, as a rule.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from typing import Any

from mitmproxy import http
from mitmproxy.utils import strutils

from addons.engine.originals import original

# Of a `Headers`: (the fields that were read, where each name stands in them).
_READ = "_codex_read"

# Heads whose names are kept, for the next one that has the same: a call has a dozen of them, as they are changed on their way. One
# of more fields than these, or of more characters, is looked through each time.
MAX_HEADS, MAX_FIELDS, MAX_LENGTH = 128, 64, 2048


@dataclass(slots=True, eq=False)
class Places:
    """Where each name stands, by the name in lower case."""

    by_text: dict[str, list[int]]
    by_bytes: dict[bytes, list[int]]
    found: dict[Any, Any] = field(default_factory=dict)
    """What somebody has found out about heads of these names, for the next one. It is forgotten with them."""


def places_in(headers: http.Headers) -> Places:
    known: tuple[Any, Places] | None = headers.__dict__.get(_READ)
    return known[1] if known and known[0] is headers.fields else _read(headers)


def _read(headers: http.Headers) -> Places:
    fields = headers.fields
    names = tuple([name for name, _ in fields])
    is_usual = len(names) <= MAX_FIELDS and sum(map(len, names)) <= MAX_LENGTH
    places = _known_places(names) if is_usual else _places(names)
    headers.__dict__[_READ] = fields, places
    return places


def _places(names: tuple[bytes, ...]) -> Places:
    by_bytes: dict[bytes, list[int]] = {}
    for place, name in enumerate(names):
        by_bytes.setdefault(name.lower(), []).append(place)
    return Places({name.decode("utf-8", "surrogateescape"): places for name, places in by_bytes.items()}, by_bytes)


_known_places = lru_cache(maxsize=MAX_HEADS)(_places)


def init(self: http.Headers, fields: Iterable[tuple[bytes, bytes]] = (), **headers: str | bytes) -> None:
    """Of pairs of bytes and nothing else, as they come from the wire; what is otherwise is mitmproxy's to convert or refuse."""
    self.fields = tuple([tuple(field) for field in fields])  # type: ignore[misc]
    if headers or {type(part) for field in self.fields for part in field} - {bytes}:
        original[http.Headers, "__init__"](self, self.fields, **headers)


def get(self: http.Headers, key: str | bytes, default: Any = None) -> Any:
    known, fields = self.__dict__.get(_READ), self.fields  # not by `places_in`: this is asked forty times in a call
    texts = (known[1] if known and known[0] is fields else _read(self)).by_text
    places = texts.get(key.lower() if type(key) is str and key.isascii() else _lower(key))
    if places is None:
        return default
    return b", ".join([fields[place][1] for place in places]).decode("utf-8", "surrogateescape")


def get_item(self: http.Headers, key: str | bytes) -> str:
    text: str | None = get(self, key)
    if text is None:
        raise KeyError(key)
    return text


def contains(self: http.Headers, key: object) -> bool:
    return get(self, key) is not None  # type: ignore[arg-type]


def get_all(self: http.Headers, name: str | bytes) -> list[str]:
    places = places_in(self).by_bytes.get(_bytes(name).lower(), ())
    return [self.fields[place][1].decode("utf-8", "surrogateescape") for place in places]


def set_all(self: http.Headers, name: str | bytes, values: Iterable[str | bytes]) -> None:
    """In the places where the name stood before; what is left over comes last."""
    key = name.encode("utf-8", "surrogateescape") if type(name) is str else _bytes(name)
    left = [value.encode("utf-8", "surrogateescape") if type(value) is str else _bytes(value) for value in values]
    known = places_in(self)
    places, fields = known.by_bytes.get(key.lower(), ()), [*self.fields]
    for place, value in zip(places, left, strict=False):
        fields[place] = (fields[place][0], value)
    if len(places) == len(left):
        say_anew(self, fields, known)
        return
    left_over = places[len(left) :]
    fields = [field for place, field in enumerate(fields) if place not in left_over] if left_over else fields
    self.fields = (*fields, *[(key, value) for value in left[len(places) :]])


def say_anew(headers: http.Headers, fields: Iterable[tuple[bytes, bytes]], places: Places) -> None:
    """Other values under the same names, which stand where they stood."""
    headers.fields = tuple(fields)
    headers.__dict__[_READ] = headers.fields, places


def iterate(self: http.Headers) -> Iterator[str]:
    """Each name once, as it is written first."""
    names: dict[bytes, bytes] = {}
    for key, _ in self.fields:
        names.setdefault(key.lower(), key)
    return iter([key.decode("utf-8", "surrogateescape") for key in names.values()])


def items(self: http.Headers, multi: bool = False) -> Iterable[tuple[str, str]]:
    if multi:
        return iter([(k.decode("utf-8", "surrogateescape"), v.decode("utf-8", "surrogateescape")) for k, v in self.fields])
    every: Iterable[tuple[str, str]] = original[http.Headers, "items"](self)
    return every


def as_bytes(self: http.Headers) -> bytes:
    return b"\r\n".join([b": ".join(field) for field in self.fields]) + b"\r\n" if self.fields else b""


def _bytes(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogateescape") if type(text) is str else strutils.always_bytes(text)


def _lower(name: str | bytes) -> str:
    """As bytes: beyond ASCII nothing is the same name in another case."""
    return _bytes(name).lower().decode("utf-8", "surrogateescape")


def member(message: type[http.Message], name: str) -> property:
    """What a message says of its data, found without a step through Python."""
    theirs: property = vars(message)[name]
    return property(attrgetter(f"data.{name}"), theirs.fset, doc=theirs.__doc__)
