"""The words that upstream uses: which events, and which members they have. What is new among them is news for `drift`.

Fields are paths of at most three names, `response.usage.input_tokens`, with `[]` behind a list. The values are not looked at.
"""

from functools import lru_cache
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
# What the path has behind the name of what is looked into.
NESTED: dict[type, str] = {dict: ".", list: "[]."}
# An answer has about 30 shapes of objects, and the next one the same ones: what each has to tell is put together once. Not that of
# an object whose names are a book.
MAX_SHAPES = 2000
MAX_NAMES = 100
MAX_LETTERS = 5000


class Shape:
    """What objects at one place have in common that have the same names, with values of the same types."""

    __slots__ = ("inner", "is_usual", "paths")

    def __init__(self, paths: tuple[str, ...], inner: tuple[tuple[str, str], ...]) -> None:
        self.paths = paths
        self.inner = inner
        """The names of objects and lists that are to be looked into, and what the paths in there begin with."""
        self.is_usual = False
        """It is remembered for the next answer."""


class EventNames:
    """Collects the words of one answer. `note` is called for every event, and is cheap for all but the first of a type."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._shapes: set[Shape] = set()
        self._size = 0
        self._are_usual = True

    def note(self, kind: str, event: dict[str, Any]) -> None:
        count = self.counts.get(kind, 0)
        if not count and len(self.counts) >= MAX_TYPES:
            return
        self.counts[kind] = count + 1
        if count >= LOOKED_AT or self._size >= MAX_FIELDS:
            return
        found: list[tuple[dict[str, Any], str, int]] = [(event, f"{kind}: ", DEPTH)]
        for value, place, depth in found:  # it grows meanwhile
            shape = _known.get((depth, place, *value, *map(type, value.values()))) or _shape_of(value, place, depth)
            if shape not in self._shapes:
                self._shapes.add(shape)
                self._size += len(shape.paths)
                self._are_usual = self._are_usual and shape.is_usual
            for name, below in shape.inner:
                inner = value[name]
                if not inner:
                    continue
                if type(inner) is dict:
                    found.append((inner, below, depth - 1))
                else:
                    found += [(entry, below, depth - 1) for entry in inner[:ENTRIES] if type(entry) is dict]

    @property
    def fields(self) -> frozenset[str]:
        shapes = frozenset(self._shapes)
        return _known_fields_of(shapes) if self._are_usual else _fields_of(shapes)


_known: dict[tuple[object, ...], Shape] = {}


def _shape_of(value: dict[str, Any], place: str, depth: int) -> Shape:
    nested = [name for name, held in value.items() if depth > 1 and type(held) in NESTED and name not in CLIENTS_OWN]
    shape = Shape(
        tuple([place + name for name in value]),
        tuple([(name, place + name + NESTED[type(value[name])]) for name in nested]),
    )
    if len(_known) < MAX_SHAPES and len(value) <= MAX_NAMES and sum(map(len, shape.paths)) <= MAX_LETTERS:
        _known[depth, place, *value, *map(type, value.values())] = shape
        shape.is_usual = True
    return shape


def _fields_of(shapes: frozenset[Shape]) -> frozenset[str]:
    return frozenset(path for shape in shapes for path in shape.paths)


# One object for all answers that have the same. Else it would be half of what a call takes in memory until it is written, and
# hundreds wait for that; and what the writer knows of it, it finds again at once.
_known_fields_of = lru_cache(maxsize=64)(_fields_of)
