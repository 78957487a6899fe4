"""Request parameters by table: what becomes of each, and why.

A table names every parameter of an API. `sift` deals with those that are dropped, refused or emulated, and hands on the rest.
What is null, or asks for what happens anyway (`idle`: `temperature: 1`, `n: 1`), counts as not given: nobody is told of it.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from addons.wire.plan import BadRequest, Edit, Verb
from addons.wire.refusals import expect, outside, wrong_value

Treatment = Literal["forced", "kept", "mapped", "emulated", "dropped", "refused"]

# Reasons that both APIs' tables give.
LOCKED = "the backend's sampling is fixed"
NOT_TAKEN = "the backend does not take it"
CACHES = "the backend caches by itself"
WHO = "the backend knows whose plan it is, and takes no other word for it"

# Edits are put into a response header: of a name that the client made up, only what is harmless there, and not without end.
MAX_NAME = 64
MAX_UNKNOWN = 20


class Parameter(NamedTuple):
    """One row: the treatment and its reason; then what is checked even if the value goes no further."""

    treatment: Treatment
    why: str
    kinds: tuple[type, ...] = ()
    idle: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    code: str = "unsupported_parameter"
    says: str = "Unsupported parameter: '{name}': {why}."


class Edits:
    """What has been changed so far, each change once. With `strict` the first drop ends the request."""

    def __init__(self, strict: bool, made: tuple[Edit, ...] = ()) -> None:
        self.strict = strict
        self._made: dict[tuple[Verb, str], Edit] = {(edit.verb, edit.what): edit for edit in made}

    def add(self, verb: Verb, what: str, why: str) -> None:
        if (verb, what) not in self._made:
            self._made[verb, what] = Edit(verb, what, why)

    def drop(self, what: str, why: str) -> None:
        """Something that the client asked for, and will not get. In strict mode raises BadRequest."""
        if self.strict:
            raise BadRequest(f"Unsupported parameter: '{what}': {why}.", what, "unsupported_parameter")
        self.add("dropped", what, why)

    def drop_echo(self, what: str, why: str) -> None:
        """Something that a server gave out and the client only brings back (ids, reasoning): never refused, it asks for nothing."""
        self.add("dropped", what, why)

    def made(self) -> tuple[Edit, ...]:
        return tuple(self._made.values())


def sift(body: Mapping[str, Any], table: Mapping[str, Parameter], edits: Edits) -> dict[str, Any]:
    """What the client asks for and the caller has to see to. Raises BadRequest for a wrong value, known to be used or not."""
    asked: dict[str, Any] = {}
    unknown = 0
    for name, value in body.items():
        if value is None:
            continue
        row = table.get(name)
        if row is None:
            unknown += 1
            edits.drop(printable(name) if unknown <= MAX_UNKNOWN else "others", "this parameter is not known here")
            continue
        _check(name, value, row)
        if value in row.idle:
            continue
        match row.treatment:
            case "refused":
                raise BadRequest(row.says.format(name=name, why=row.why, value=str(value)[:100]), name, row.code)
            case "dropped":
                edits.drop(name, row.why)
            case "emulated":
                edits.add("emulated", name, row.why)
                asked[name] = value
            case _:
                asked[name] = value
    return asked


def only(thing: Mapping[str, Any], known: Mapping[str, str], at: str, edits: Edits) -> dict[str, Any]:
    """The members that are known, under the name they have at the backend. Null is not given, nor a switch that is off."""
    sent: dict[str, Any] = {}
    for name, value in thing.items():
        if value is None:
            continue
        if name not in known:
            if value is not False:
                edits.drop(f"{at}.{printable(name)}", "this member is not known here")
            continue
        if known[name] != name:
            edits.add("mapped", f"{at}.{name}", f"is {at}.{known[name]} today")
        sent.setdefault(known[name], value)
    return sent


def _check(name: str, value: Any, row: Parameter) -> None:
    if row.kinds:
        expect(value, row.kinds, name)
    if (row.low is not None or row.high is not None) and (complaint := outside(value, row.low, row.high, name)):
        raise complaint
    if row.choices and value not in row.choices:
        raise wrong_value(value, row.choices, name)


def printable(name: str) -> str:
    """A name that the client made up, as it can stand in an Edit."""
    return re.sub(r"[^A-Za-z0-9_.-]", "?", name[:MAX_NAME])
