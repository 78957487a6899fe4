"""What goes wrong on purpose: effects, the list of faults waiting for a request, and delivery of an answer through an effect.

An effect is JSON with one or more of these keys; those of different stages combine ({"delay": 1, "status": 503}).

    instead of the answer (the request is not processed: no token rotates)
        {"reset": "before_headers"}                  RST without a byte
        {"garbage": true}                            bytes that are not HTTP, then FIN
        {"status": 503, "body": ..., "headers": {}}  body: a string is sent as it is, anything else as JSON
        {"html": 403}                                Cloudflare's challenge page
        {"redirect": "http://..."}                   307
    to the answer (the request is processed)
        {"lose_answer": true}                        FIN without a byte: the server has done it, the client cannot know
        {"delay": 1.5}                               seconds before the head
        {"omit": ["refresh_token"]}                  these members are left out of a JSON answer
        {"bad_json": true}                           a JSON answer stops in the middle, with a matching content-length
    to its bytes (an "event" is one SSE frame; an answer that is not a stream counts as one)
        {"reset": "after_headers"}                   RST after the head
        {"silence_after_events": 3, "seconds": 2}    then it goes on
        {"clean_eof_after_events": 3}                the body ends early and in good form
        {"say_after_events": 3, "text": "..."}       the same, with these last words in place of the rest
        {"cut_after_events": 3, "how": "rst"}        the connection ends in mid-body; "fin" is the default
        {"cut_after_bytes": 100, "how": "rst"}       the same, by bytes of the body
        {"split": "bytes"} or {"split": 7}           every write carries one or 7 bytes of the body, each its own chunk
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import orjson

from .http import Request, Response, Upgrade, Wire, html_response, json_response

type Ended = Literal["complete", "cut", "client_left"]

CHALLENGE = """<!DOCTYPE html><html lang="en-US"><head><title>Just a moment...</title></head>
<body><noscript>Enable JavaScript and cookies to continue</noscript>
<script>(function(){window._cf_chl_opt={cType:'managed'};})();</script></body></html>
"""
# The first byte of a TLS record: what a client sees that talks plain HTTP to a TLS port, and no HTTP parser accepts.
GARBAGE = b"\x16\x03\x01\x00\xff not HTTP \x00\xff\xfe\r\n\r\n"


@dataclass(frozen=True)
class Effect:
    status: int | None = None
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    html: int | None = None
    redirect: str | None = None
    garbage: bool = False
    reset: Literal["before_headers", "after_headers"] | None = None
    lose_answer: bool = False
    delay: float = 0.0
    omit: tuple[str, ...] = ()
    bad_json: bool = False
    silence_after_events: int | None = None
    seconds: float = 0.0
    clean_eof_after_events: int | None = None
    say_after_events: int | None = None
    text: str = ""
    cut_after_events: int | None = None
    cut_after_bytes: int | None = None
    how: Literal["fin", "rst"] = "fin"
    split: int | None = None

    def replacement(self) -> Response | None:
        """The answer that stands in for the real one, which is then never asked for."""
        headers = list(self.headers.items())
        if self.html is not None:
            return html_response(self.html, CHALLENGE, [("cf-mitigated", "challenge"), ("server", "cloudflare"), *headers])
        if self.redirect is not None:
            return Response(307, [("location", self.redirect), *headers])
        if self.status is None:
            return None
        if isinstance(self.body, str):
            return Response(self.status, headers, self.body.encode())
        return json_response(self.status, {} if self.body is None else self.body, headers)

    def spoil(self, response: Response) -> Response:
        """The real answer, less what a fault takes from its JSON."""
        if not isinstance(response.body, bytes):
            return response
        body = response.body
        if self.omit and ("content-type", "application/json") in response.headers:
            body = orjson.dumps({k: v for k, v in orjson.loads(body).items() if k not in self.omit})
        if self.bad_json:
            body = body[: len(body) // 2]
        return replace(response, body=body)


NONE = Effect()


def parse_effect(document: Any) -> Effect:
    """An effect from its JSON. Raises ValueError naming the key that is wrong."""
    if not isinstance(document, dict) or not document:
        raise ValueError("do: takes an object with at least one effect")
    values = {key: _EFFECTS[key](key, value) if key in _EFFECTS else _unknown(key) for key, value in document.items()}
    for key, needs in _NEEDS.items():
        if key in values and not any(other in values for other in needs):
            raise ValueError(f"{key}: only together with {' or '.join(needs)}")
    return Effect(**values)


_NEEDS = {
    "seconds": ("silence_after_events",),
    "text": ("say_after_events",),
    "how": ("cut_after_events", "cut_after_bytes"),
    "body": ("status",),
}


def _unknown(key: str) -> Any:
    raise ValueError(f"{key}: no such effect, one of {', '.join(_EFFECTS)}")


def _instance(*types: type) -> Callable[[str, Any], Any]:
    def convert(key: str, value: Any) -> Any:
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise ValueError(f"{key}: takes {' or '.join(t.__name__ for t in types)}")
        return tuple(value) if isinstance(value, list) else value

    return convert


def _one_of(*choices: str) -> Callable[[str, Any], Any]:
    def convert(key: str, value: Any) -> Any:
        if value not in choices:
            raise ValueError(f"{key}: one of {', '.join(choices)}")
        return value

    return convert


def _split(key: str, value: Any) -> int:
    size = 1 if value == "bytes" else value
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ValueError(f'{key}: "bytes" or a number of bytes from 1')
    return size


_EFFECTS: dict[str, Callable[[str, Any], Any]] = {
    "status": _instance(int),
    "body": lambda _key, value: value,
    "headers": _instance(dict),
    "html": _instance(int),
    "redirect": _instance(str),
    "garbage": _instance(bool),
    "reset": _one_of("before_headers", "after_headers"),
    "lose_answer": _instance(bool),
    "delay": _instance(int, float),
    "omit": _instance(list),
    "bad_json": _instance(bool),
    "silence_after_events": _instance(int),
    "seconds": _instance(int, float),
    "clean_eof_after_events": _instance(int),
    "say_after_events": _instance(int),
    "text": _instance(str),
    "cut_after_events": _instance(int),
    "cut_after_bytes": _instance(int),
    "how": _one_of("fin", "rst"),
    "split": _split,
}


@dataclass
class Fault:
    """An effect waiting for requests to `at` (a route or an origin), of one identity or of all; below 1, `chance` spares some."""

    at: str
    effect: Effect
    times: int | None = 1
    after: int = 0
    email: str | None = None
    chance: float = 1.0
    used: int = 0

    def take(self, names: Iterable[str], email: str | None, dice: random.Random) -> bool:
        if self.at not in names or (self.email is not None and self.email != email):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.times is not None and self.used >= self.times:
            return False
        if self.chance < 1 and dice.random() >= self.chance:
            return False
        self.used += 1
        return True


@dataclass
class Faults:
    places: frozenset[str]
    waiting: list[Fault] = field(default_factory=list)
    dice: random.Random = field(default_factory=lambda: random.Random(0))
    """The same throws in every life of the fake."""

    def add(self, document: dict[str, Any]) -> Fault:
        """Raises ValueError for anything that could never come true: an unknown place, effect or value."""
        if unknown := document.keys() - {"at", "do", "times", "after", "email", "chance"}:
            raise ValueError(f"{', '.join(sorted(unknown))}: a fault has at, do, times, after, email, chance")
        at = document.get("at")
        if at not in self.places:
            raise ValueError(f"at: one of {', '.join(sorted(self.places))}")
        for name, kinds in (("times", int | None), ("after", int), ("email", str | None)):
            if name in document and not isinstance(document[name], kinds):
                raise ValueError(f"{name}: takes {kinds}")
        chance = document.get("chance", 1.0)
        if not isinstance(chance, int | float) or isinstance(chance, bool) or not 0 < chance <= 1:
            raise ValueError("chance: a number above 0, up to 1")
        fault = Fault(
            at=at,
            effect=parse_effect(document.get("do")),
            times=document.get("times", 1),
            after=document.get("after", 0),
            email=document.get("email"),
            chance=chance,
        )
        self.waiting.append(fault)
        return fault

    def take(self, names: Iterable[str], email: str | None) -> Effect:
        """The effect on one request: the first fault in order that matches it and is not used up."""
        names = tuple(names)
        return next((fault.effect for fault in self.waiting if fault.take(names, email, self.dice)), NONE)


class _Cut(Exception):
    """The body must stop here, and the connection with it."""


async def deliver(
    request: Request,
    answer: Callable[[], Response],
    wire: Wire,
    effect: Effect,
    on_status: Callable[[int], None],
) -> Ended:
    """Send the answer as the effect wants it. `answer` is called only if the effect lets the request through."""
    if effect.reset == "before_headers":
        await wire.hang_up("rst")
        return "cut"
    if effect.garbage:
        await wire.send_raw(GARBAGE)
        await wire.hang_up("fin")
        return "cut"
    response = effect.replacement() or effect.spoil(answer())
    if effect.lose_answer:
        await wire.hang_up("fin")
        return "cut"
    await asyncio.sleep(effect.delay)
    on_status(response.status)
    if isinstance(response, Upgrade):
        await wire.switch(response)
        await response.talk(wire)
        return "complete"
    await wire.send_head(response)
    if effect.reset == "after_headers":
        await wire.hang_up("rst")
        return "cut"
    try:
        if request.method != "HEAD":
            async for piece in _slices(_limit(_pace(_chunks(response), effect), effect), effect):
                await wire.send_data(piece)
    except _Cut:
        await wire.hang_up(effect.how)
        return "cut"
    await wire.finish()
    return "complete"


async def _chunks(response: Response) -> AsyncIterator[bytes]:
    if isinstance(response.body, bytes):
        if response.body:
            yield response.body
    else:
        async for chunk in response.body:
            yield chunk


async def _pace(events: AsyncIterator[bytes], effect: Effect) -> AsyncIterator[bytes]:
    sent = 0
    while sent != effect.clean_eof_after_events:
        if sent == effect.cut_after_events:
            raise _Cut
        if sent == effect.say_after_events:
            yield effect.text.encode()
            return
        if sent == effect.silence_after_events:
            await asyncio.sleep(effect.seconds)
        event = await anext(events, None)
        if event is None:
            break
        yield event
        sent += 1
    if effect.cut_after_events is not None:
        raise _Cut


async def _limit(chunks: AsyncIterator[bytes], effect: Effect) -> AsyncIterator[bytes]:
    left = effect.cut_after_bytes
    async for chunk in chunks:
        if left is None:
            yield chunk
        elif len(chunk) < left:
            left -= len(chunk)
            yield chunk
        else:
            if left:
                yield chunk[:left]
            raise _Cut
    if left is not None:
        raise _Cut


async def _slices(chunks: AsyncIterator[bytes], effect: Effect) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        size = effect.split or len(chunk)
        for start in range(0, len(chunk), size):
            yield chunk[start : start + size]
            if effect.split:
                # Gives the reader its turn, so that it meets the pieces one by one rather than glued together.
                await asyncio.sleep(0)
