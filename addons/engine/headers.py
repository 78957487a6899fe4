"""`http.Headers` as mitmproxy has it, in less time. Each function here takes the place of one of its methods.

A call looks ninety times for a header and writes twenty. mitmproxy goes through all fields for each of them, and through five
functions for each name on the way: a tenth of a small call. Here the fields are read once, as long as they stay as they are: they
are a tuple, so whoever changes a header puts another one in its place.
"""

from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Any

from mitmproxy import http
from mitmproxy.utils import strutils

from addons.engine.originals import original

# Of a `Headers`: (the fields that were read, what is said in them by name in lower case).
_READ = "_codex_read"


def init(self: http.Headers, fields: Iterable[tuple[bytes, bytes]] = (), **headers: str | bytes) -> None:
    """Of pairs of bytes and nothing else, as they come from the wire; what is otherwise is mitmproxy's to convert or refuse."""
    self.fields = tuple([tuple(field) for field in fields])  # type: ignore[misc]
    if headers or {type(part) for field in self.fields for part in field} - {bytes}:
        original[http.Headers, "__init__"](self, self.fields, **headers)


def get(self: http.Headers, key: str | bytes, default: Any = None) -> Any:
    known = self.__dict__.get(_READ)
    texts = known[1] if known and known[0] is self.fields else _read(self)
    return texts.get(key.lower() if type(key) is str and key.isascii() else _lower(key), default)


def get_item(self: http.Headers, key: str | bytes) -> str:
    text: str | None = get(self, key)
    if text is None:
        raise KeyError(key)
    return text


def contains(self: http.Headers, key: object) -> bool:
    return get(self, key) is not None  # type: ignore[arg-type]


def _read(headers: http.Headers) -> dict[str, str]:
    fields, texts = headers.fields, dict[str, str]()
    for key, value in fields:
        name, text = key.lower().decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")
        texts[name] = f"{texts[name]}, {text}" if name in texts else text
    headers.__dict__[_READ] = fields, texts
    return texts


def get_all(self: http.Headers, name: str | bytes) -> list[str]:
    wanted = _bytes(name).lower()
    return [value.decode("utf-8", "surrogateescape") for key, value in self.fields if key.lower() == wanted]


def set_all(self: http.Headers, name: str | bytes, values: Iterable[str | bytes]) -> None:
    """In the places where the name stood before; what is left over comes last."""
    key = name.encode("utf-8", "surrogateescape") if type(name) is str else _bytes(name)
    left = [value.encode("utf-8", "surrogateescape") if type(value) is str else _bytes(value) for value in values]
    wanted = key.lower()
    fields = [field if field[0].lower() != wanted else (field[0], left.pop(0)) if left else None for field in self.fields]
    self.fields = (*[field for field in fields if field], *[(key, value) for value in left])


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
