"""The words that upstream uses: which events, and which members they have. What is new among them is news for `drift`.

Fields are paths of at most three names, `response.usage.input_tokens`, with `[]` behind a list. The values are not looked at.
"""

from typing import Any

DEPTH = 3

# Below these the names are the client's own, and each client has others.
CLIENTS_OWN = {"metadata", "parameters", "properties", "schema", "variables", "client_metadata", "headers"}

# A stream has thousands of deltas that are all alike: the first of a type tell what there is to tell.
LOOKED_AT = 3
# So many event types, and so many fields, exist three times over; more of them in one answer is upstream playing tricks.
MAX_TYPES = 200
MAX_FIELDS = 2000
# Of a list only the first entries: they are alike too.
ENTRIES = 20
NESTED = {dict, list}
# An answer has about 30 kinds of objects, and the next one the same ones: their paths are put together once. Not those of an object
# whose names are a book.
MAX_KINDS = 2000
MAX_NAMES = 100
MAX_LETTERS = 5000


class EventNames:
    """Collects the words of one answer. `note` is called for every event, and is cheap for all but the first of a type."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._fields: set[str] = set()

    def note(self, kind: str, event: dict[str, Any]) -> None:
        count = self.counts.get(kind, 0)
        if count or len(self.counts) < MAX_TYPES:
            self.counts[kind] = count + 1
            if count < LOOKED_AT and len(self._fields) < MAX_FIELDS:
                _collect(event, f"{kind}: ", DEPTH, self._fields)

    @property
    def fields(self) -> frozenset[str]:
        return frozenset(self._fields)


# By what the paths begin with, and the names.
_known: dict[tuple[str, ...], tuple[str, ...]] = {}


def _collect(value: dict[str, Any], prefix: str, depth: int, found: set[str]) -> None:
    """Without generators and patterns: the first of each type are looked at in every call, before its client has them."""
    found.update(_known.get((prefix, *value)) or _paths_of(prefix, tuple(value)))
    if depth == 1:
        return
    for name, inner in value.items():
        if not inner or type(inner) not in NESTED or name in CLIENTS_OWN:
            continue
        if type(inner) is dict:
            _collect(inner, f"{prefix}{name}.", depth - 1, found)
            continue
        for entry in inner[:ENTRIES]:
            if type(entry) is dict:
                _collect(entry, f"{prefix}{name}[].", depth - 1, found)


def _paths_of(prefix: str, names: tuple[str, ...]) -> tuple[str, ...]:
    paths = tuple(prefix + name for name in names)
    if len(_known) < MAX_KINDS and len(names) <= MAX_NAMES and sum(map(len, paths)) <= MAX_LETTERS:
        _known[prefix, *names] = paths
    return paths
