"""Heads as they are on the wire, bytes, each read and changed in one go.

mitmproxy looks at every field of a head, in Python, for each name that it is asked for and once more for each that is set. The
engine makes the looks cheap as long as a head stays as it is; on its way upstream it is changed by one addon after another.
"""

from collections.abc import Collection, Iterable, Mapping

from mitmproxy import http


def in_bytes(names: Iterable[str]) -> frozenset[bytes]:
    """Names in lower case, as the functions here want them."""
    return frozenset(name.encode() for name in names)


def has(headers: http.Headers, name: bytes) -> bool:
    for field in headers.fields:
        if field[0].lower() == name:
            return True
    return False


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
    new = {(key := name.encode()).lower(): (key, value.encode("utf-8", "surrogateescape")) for name, value in values.items()}
    fields, left = [], dict(new)
    for field in headers.fields:
        if (name := field[0].lower()) not in new:
            fields.append(field)
        elif name in left:
            fields.append((field[0], left.pop(name)[1]))
    headers.fields = (*fields, *left.values())


def take_off(headers: http.Headers, names: Collection[bytes]) -> None:
    _keep(headers, [field for field in headers.fields if field[0].lower() not in names])


def take_off_family(headers: http.Headers, prefix: bytes) -> None:
    """`prefix` in lower case."""
    length = len(prefix)
    _keep(headers, [field for field in headers.fields if field[0][:length].lower() != prefix])


def _keep(headers: http.Headers, fields: list[tuple[bytes, bytes]]) -> None:
    """A head of which nothing is taken stays the same one, which the engine has read already."""
    if len(fields) < len(headers.fields):
        headers.fields = tuple(fields)
