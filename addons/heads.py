"""Heads as they are on the wire, bytes, each read and changed in one go.

mitmproxy looks at every field of a head, in Python, for each name that it is asked for and once more for each that is set. The
engine knows where each name stands, and so do these.
"""

from collections.abc import Collection, Iterable, Mapping

from mitmproxy import http

from addons.engine.headers import places_in, say_anew


def in_bytes(names: Iterable[str]) -> frozenset[bytes]:
    """Names in lower case, as the functions here want them."""
    return frozenset(name.encode() for name in names)


def has(headers: http.Headers, name: bytes) -> bool:
    return name in places_in(headers).by_bytes


def told(headers: http.Headers, names: Collection[bytes]) -> dict[str, str]:
    """What the head says under these names, by name in lower case. What is said twice is folded, as mitmproxy does it."""
    known, fields = places_in(headers).by_bytes, headers.fields
    found = [(name, b", ".join([fields[place][1] for place in known[name]])) for name in known if name in names]
    return {name.decode("utf-8", "surrogateescape"): said.decode("utf-8", "surrogateescape") for name, said in found}


def family(headers: http.Headers, prefix: bytes) -> dict[str, str]:
    """What the head says under names that begin so; `prefix` in lower case."""
    length = len(prefix)
    return told(headers, {name for name in places_in(headers).by_bytes if name[:length] == prefix})


def put(headers: http.Headers, values: Mapping[str, str]) -> None:
    """Like `headers.update(values)`: each in the place of the first of its name, or at the end. They are of different names."""
    known = places_in(headers)
    fields: list[tuple[bytes, bytes]] = [*headers.fields]
    again: list[int] = []
    before = len(fields)
    for name, value in values.items():
        key, said = name.encode(), value.encode("utf-8", "surrogateescape")
        if places := known.by_bytes.get(key.lower()):
            fields[places[0]] = (fields[places[0]][0], said)
            again += places[1:]
        else:
            fields.append((key, said))
    if again:
        headers.fields = tuple([field for place, field in enumerate(fields) if place not in again])
    elif len(fields) > before:
        headers.fields = tuple(fields)
    else:
        say_anew(headers, fields, known)


def take_off(headers: http.Headers, names: Collection[bytes]) -> None:
    known = places_in(headers).by_bytes
    if found := [known[name] for name in known if name in names]:
        _take(headers, found)


def take_off_family(headers: http.Headers, prefix: bytes) -> None:
    """`prefix` in lower case."""
    known, length = places_in(headers).by_bytes, len(prefix)
    if found := [known[name] for name in known if name[:length] == prefix]:
        _take(headers, found)


def _take(headers: http.Headers, found: Iterable[Iterable[int]]) -> None:
    """Only if there are some: a head that stays the same one has been read already."""
    places = {place for each in found for place in each}
    headers.fields = tuple([field for place, field in enumerate(headers.fields) if place not in places])
