"""YAML that somebody has written by hand: read in bounded time and memory, or refused with the line at which it goes wrong. Pure.

References (`*name`, `<<: *name`) let a few lines stand for any number of values, and lists in lists cost ruamel.yaml the square of
their depth. So a text is measured before anything is made of it, and what is referred to counts each time.
"""

import warnings
from collections.abc import Generator
from typing import Any

from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import StreamMark
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, Event, ScalarEvent
from ruamel.yaml.parser import Parser
from ruamel.yaml.reader import ReaderError

# Characters, and for each value so many besides: room for 1000 keys with all their limits, and not for minutes of
# work.
ROOM, BESIDE = 1 << 20, 32
# A policy has six.
MAX_DEPTH = 20
# Of a number: 120 digits. Python prints none of more than 4300, and none that is meant here has more than ten.
MAX_BITS = 400

# What the reader raises besides its own errors, of values that are not what their tags say.
NOT_YAML = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, RecursionError)


class BadYaml(ValueError):
    """With its line, if there is one."""

    def __init__(self, message: str, mark: StreamMark | None = None) -> None:
        super().__init__(f"line {mark.line + 1}: {message}" if mark else message)


class _MeasuredParser(Parser):
    """All is measured before anything is made of it: until the last event has come, what is referred to is one node."""

    def __init__(self, loader: Any) -> None:
        super().__init__(loader)
        self._measured = _measure()
        next(self._measured)

    def get_event(self) -> Any:
        event = super().get_event()
        self._measured.send(event)
        return event


class _Constructor(SafeConstructor):
    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            made = super().construct_object(node, deep)
            if isinstance(made, str):
                made.encode()  # "\\ud800" is half of a character, which no log can print
        except NOT_YAML as e:
            raise _unreadable(node, e) from e
        if isinstance(made, int) and made.bit_length() > MAX_BITS:
            raise ConstructorError(None, None, "this number has more digits than any that is meant here", node.start_mark)
        return made

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_mapping(node, deep)
        except NOT_YAML as e:  # a name that is none: a list with a mapping in it
            raise _unreadable(node, e) from e


def _unreadable(node: Any, reason: Exception) -> ConstructorError:
    return ConstructorError(None, None, f"this cannot be read as YAML ({type(reason).__name__})", node.start_mark)


def read(text: str) -> Any:
    """Raises BadYaml."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of what another version of YAML would make of a number
            return _reader().load(text)
    except ReaderError as e:
        line = text.count("\n", 0, e.position) + 1
        raise BadYaml(f"line {line}: the character U+{e.character:04X} is not allowed in YAML") from e
    except YAMLError as e:
        raise BadYaml(getattr(e, "problem", None) or "it cannot be read as YAML", getattr(e, "problem_mark", None)) from e
    except NOT_YAML as e:
        if isinstance(e, BadYaml):
            raise
        raise BadYaml(f"it cannot be read as YAML ({type(e).__name__})") from e


def _reader() -> YAML:
    reader = YAML(typ="safe", pure=True)
    reader.Parser = _MeasuredParser
    reader.Constructor = _Constructor
    return reader


def _measure() -> Generator[None, Event]:
    """Is sent one event after the other. Raises BadYaml."""
    sizes: dict[str, int] = {}
    """By anchor, of what is complete."""
    named: set[str] = set()
    begun: list[tuple[str | None, int]] = []
    """The lists and mappings around this place, with the size of all that was before them."""
    size = 0
    while True:
        event = yield
        before = size
        if isinstance(event, AliasEvent):
            if event.anchor in named and event.anchor not in sizes:
                raise BadYaml(f"*{event.anchor[:100]} stands in itself", event.start_mark)
            size += sizes.get(event.anchor, 0)
        elif isinstance(event, ScalarEvent | CollectionStartEvent):
            if event.anchor in named:
                raise BadYaml(f"there are two &{event.anchor[:100]}", event.start_mark)
            if event.anchor:
                named.add(event.anchor)
            size += BESIDE + (len(event.value) if isinstance(event, ScalarEvent) else 0)
            if isinstance(event, CollectionStartEvent):
                begun.append((event.anchor, before))
            elif event.anchor:
                sizes[event.anchor] = size - before
        elif isinstance(event, CollectionEndEvent):
            anchor, outside = begun.pop()
            if anchor:
                sizes[anchor] = size - outside
        if len(begun) > MAX_DEPTH:
            raise BadYaml(f"more than {MAX_DEPTH} lists and mappings in each other", event.start_mark)
        if size > ROOM:
            raise BadYaml("up to here it is more than any policy needs, with all that its references stand for", event.start_mark)
