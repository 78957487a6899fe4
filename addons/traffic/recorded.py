"""A call with all that is kept of it, for the commands that tell it whole; and their words for what is not kept."""

import json
import sqlite3
from dataclasses import replace

from addons.traffic import queries
from addons.traffic.errors import NotRecorded
from addons.traffic.exchange import Bodies, Body, Exchange
from addons.traffic.stories import exchange_of

TURN_ON = "bodies are recorded with `--set codex_traffic_bodies=true`"

# Of a client's headers those by which the proxy, or the backend behind it, treats a request as it does: who asks again sends them.
SENT_AGAIN = (
    "content-type",
    "accept",
    "session-id",
    "thread-id",
    "openai-beta",
    "originator",
    "version",
    "x-codex-account",
    "x-openai-internal-codex-responses-lite",
)

WORDS = {
    "client_request": "the client's request",
    "upstream_request": "the request to upstream",
    "upstream_events": "upstream's answer",
    "client_answer": "the answer to the client",
}


def load(db: sqlite3.Connection, wanted: str, *, with_bodies: bool = True) -> Exchange:
    """Raises NotRecorded."""
    call = queries.find(db, wanted)
    exchange = exchange_of(queries.story(db, call))
    if not with_bodies:
        return exchange
    packed = queries.bodies(db, call)
    if not packed:
        return exchange
    from addons.traffic.packing import unpack  # its compression is not needed to tell a story

    return replace(exchange, bodies=Bodies(**{part: unpack(data) for part, data in packed.items() if part in Bodies._fields}))


def need(exchange: Exchange, part: str, *, whole: bool = False) -> Body:
    """Raises NotRecorded if that body is not there, or is not whole and has to be."""
    body: Body | None = getattr(exchange.bodies, part)
    if body is None:
        raise NotRecorded(f"{WORDS[part]} of {exchange.id} was not recorded", TURN_ON)
    if whole and body.truncated:
        raise NotRecorded(f"{WORDS[part]} of {exchange.id} was too long to be recorded whole, {body.left_out} bytes are missing")
    return body


def readable(body: Body, *, sort: bool = False) -> str:
    """JSON in its pretty form; anything else, or JSON with a hole in it, as it came."""
    if not body.truncated:
        try:
            return json.dumps(json.loads(body.data), indent=2, ensure_ascii=False, sort_keys=sort)
        except (ValueError, RecursionError):
            return body.data.decode("utf-8", "replace")
    head = b"".join(chunk.data for chunk in body.chunks[: body.gap]).decode("utf-8", "replace")
    tail = b"".join(chunk.data for chunk in body.chunks[body.gap :]).decode("utf-8", "replace")
    return f"{head}\n[... {body.left_out} bytes were too many to be recorded ...]\n{tail}"
