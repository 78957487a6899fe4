"""The words that upstream uses: which events, and which members they have. What is new among them is news for `drift`.

Fields are paths of at most three names, `response.usage.input_tokens`, with `[]` behind a list. The values are not looked at.
"""

from collections.abc import Mapping
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


class EventNames:
    """Collects the words of one answer. `note` is called for every event, and is cheap for all but the first of a type."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._fields: set[str] = set()

    def note(self, kind: str, event: Mapping[str, Any]) -> None:
        count = self.counts.get(kind, 0)
        if count or len(self.counts) < MAX_TYPES:
            self.counts[kind] = count + 1
            if count < LOOKED_AT and len(self._fields) < MAX_FIELDS:
                self._fields.update(paths(event, f"{kind}: "))

    @property
    def fields(self) -> frozenset[str]:
        return frozenset(self._fields)


def paths(event: Mapping[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    _collect(event, prefix, DEPTH, found)
    return found


def _collect(value: Mapping[str, Any], prefix: str, depth: int, found: list[str]) -> None:
    """Without generators and patterns: the first of each type are looked at in every call, before its client has them."""
    for name, inner in value.items():
        path = prefix + name
        found.append(path)
        if depth == 1 or name in CLIENTS_OWN:
            continue
        if isinstance(inner, dict):
            _collect(inner, path + ".", depth - 1, found)
        elif isinstance(inner, list):
            for entry in inner[:ENTRIES]:
                if isinstance(entry, dict):
                    _collect(entry, path + "[].", depth - 1, found)
