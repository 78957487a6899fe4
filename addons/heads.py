"""Heads as they are on the wire, bytes, each read and changed in one go.

mitmproxy looks at every field of a head, in Python, for each name that it is asked for and once more for each that is set: a dozen
of these in a hook cost more than all the rest of it.
"""

from collections.abc import Collection, Iterable, Mapping

from mitmproxy import http


def in_bytes(names: Iterable[str]) -> frozenset[bytes]:
    """Names in lower case, as the functions here want them."""
    return frozenset(name.encode() for name in names)


def told(headers: http.Headers, names: Collection[bytes]) -> dict[str, str]:
    """What the head says under these names, by name in lower case. What is said twice is folded, as mitmproxy does it."""
    found: dict[str, str] = {}
    for field_name, field_value in headers.fields:
        if (lower := field_name.lower()) in names:
            name, value = lower.decode("utf-8", "surrogateescape"), field_value.decode("utf-8", "surrogateescape")
            found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def family(headers: http.Headers, prefix: bytes) -> dict[str, str]:
    """What the head says under names that begin so; `prefix` in lower case."""
    length = len(prefix)
    return told(headers, {name for field in headers.fields if (name := field[0].lower())[:length] == prefix})


def put(headers: http.Headers, values: Mapping[str, str]) -> None:
    """Like `headers.update(values)`: each in the place of the first of its name, or at the end."""
    new = {name.lower().encode(): (name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in values.items()}
    fields, left = [], dict(new)
    for field in headers.fields:
        if (name := field[0].lower()) not in new:
            fields.append(field)
        elif name in left:
            fields.append((field[0], left.pop(name)[1]))
    headers.fields = (*fields, *left.values())


def take_off(headers: http.Headers, names: Collection[bytes]) -> None:
    headers.fields = tuple([field for field in headers.fields if field[0].lower() not in names])


def take_off_family(headers: http.Headers, prefix: bytes) -> None:
    """`prefix` in lower case."""
    length = len(prefix)
    headers.fields = tuple([field for field in headers.fields if field[0][:length].lower() != prefix])
