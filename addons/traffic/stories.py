"""An exchange as JSON, and back, without its bodies. Before it is written, cleaning.py goes over every text in it.

What is added to `Exchange` later has a default, and so an old story can still be told. A name that is not known is passed over.
"""

import json
import re
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from addons.traffic.exchange import Attempt, Client, Exchange, Failure, QuotaWindow
from addons.traffic.headers import Headers
from addons.wire.plan import Edit
from addons.wire.usage import Usage

PLAIN = (
    "id started ended endpoint outcome method queued first_byte first_token longest_gap dialect stream model_asked model_used "
    "account account_why upstream status"
).split()
HEADERS = ("client_headers", "upstream_request_headers", "upstream_headers", "answer_headers")
TOKENS = Usage.__match_args__

# Thirty members at once take a fifth of the time of one by one.
_plain: Callable[[Exchange], tuple[Any, ...]] = attrgetter(*PLAIN)
_headers: Callable[[Exchange], tuple[Headers, ...]] = attrgetter(*HEADERS)
_tokens: Callable[[Usage], tuple[Any, ...]] = attrgetter(*TOKENS)


def story_of(exchange: Exchange) -> dict[str, Any]:
    told: dict[str, Any] = dict(zip(PLAIN, _plain(exchange), strict=True))
    told["endpoint"] = exchange.endpoint.partition("?")[0]
    told["client"] = [*exchange.client]
    told["attempts"] = [[*attempt] for attempt in exchange.attempts]
    told["edits"] = [[edit.verb, edit.what, edit.why] for edit in exchange.edits]
    told["error"] = [*exchange.error] if exchange.error else None
    told["tokens"] = dict(zip(TOKENS, _tokens(exchange.tokens), strict=True)) if exchange.tokens else None
    told["quota"] = [[window.minutes, window.used_percent, window.resets_at] for window in exchange.quota]
    told["events"] = exchange.events
    told["unknown"] = sorted(exchange.unknown)
    for name, headers in zip(HEADERS, _headers(exchange), strict=True):
        told[name] = {"kept": headers.kept, "names": headers.names}
    return told


def as_json(story: dict[str, Any]) -> str:
    import orjson  # the commands read stories, and would wait for it

    try:
        return orjson.dumps(story).decode()
    except TypeError:  # a number that has more than 64 bits, half a surrogate pair
        return json.dumps(story, separators=(",", ":"))


def exchange_of(text: str) -> Exchange:
    told = json.loads(text)
    fields: dict[str, Any] = {name: told[name] for name in PLAIN if name in told}
    fields |= {name: _headers_in(told[name]) for name in HEADERS}
    return Exchange(
        **fields,
        client=Client(*told["client"]),
        attempts=tuple(Attempt(*attempt) for attempt in told["attempts"]),
        edits=tuple(Edit(*edit) for edit in told["edits"]),
        error=Failure(*told["error"]) if told["error"] else None,
        tokens=Usage(**told["tokens"]) if told["tokens"] else None,
        quota=tuple(QuotaWindow(*window) for window in told["quota"]),
        events=told["events"],
        unknown=frozenset(told["unknown"]),
    )


# The first word, or that there was one.
_PRODUCT = re.compile(r"\[redacted [^]]*\]|[^ ]+")
_VERSION = re.compile(r"/v?[0-9].*")


def client_name(client: Client) -> str:
    """What a person calls it: the key's label, else the program of the user agent without its version, else where it is."""
    product = _PRODUCT.match(client.agent)
    return client.label or (_VERSION.sub("", product[0]) if product else "") or client.address


def _headers_in(told: dict[str, Any]) -> Headers:
    kept = [(name, value) for name, value in told["kept"]]
    known = {name for name, _ in kept}
    return Headers([*kept, *((name, "") for name in told["names"] if name not in known)])
