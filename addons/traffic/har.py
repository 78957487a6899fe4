"""Calls as an HTTP Archive 1.2 (http://www.softwareishard.com/blog/har-12-spec/): what browsers and proxies open.

A call has two entries: the client and the proxy, the proxy and upstream. Upstream's exact address is not recorded, its name is.
"""

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from addons.traffic.exchange import Body, Exchange
from addons.traffic.headers import Headers
from addons.traffic.recorded import readable

NOT_KNOWN = -1
HERE = "http://127.0.0.1:9090"


def as_har(exchanges: Sequence[Exchange]) -> str:
    entries = [entry for exchange in exchanges for entry in _entries(exchange)]
    log = {"version": "1.2", "creator": {"name": "codex-mitm", "version": "1"}, "entries": entries}
    return json.dumps({"log": log}, indent=2)


def _entries(exchange: Exchange) -> list[dict[str, Any]]:
    bodies = exchange.bodies
    sides = [
        (
            HERE + exchange.endpoint,
            exchange.client_headers,
            bodies.client_request,
            exchange.answer_headers,
            bodies.client_answer,
            "the client",
        )
    ]
    if bodies.upstream_request or bodies.upstream_events:
        url = f"https://{exchange.upstream or 'upstream'}.invalid/responses"
        headers = exchange.upstream_request_headers, exchange.upstream_headers
        sides.append((url, headers[0], bodies.upstream_request, headers[1], bodies.upstream_events, "to upstream"))
    return [_entry(exchange, *side) for side in sides]


def _entry(
    exchange: Exchange, url: str, sent: Headers, request: Body | None, got: Headers, answer: Body | None, side: str
) -> dict[str, Any]:
    started = datetime.fromtimestamp(exchange.started, UTC).isoformat(timespec="milliseconds")
    whole = round(exchange.ended * 1000, 3)
    wait = round(min(exchange.first_byte if exchange.first_byte is not None else exchange.ended, exchange.ended) * 1000, 3)
    entry: dict[str, Any] = {
        "startedDateTime": started,
        "time": whole,
        "request": {
            "method": exchange.method,
            "url": url,
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": _fields(sent),
            "queryString": [],
            "headersSize": NOT_KNOWN,
            "bodySize": request.size if request else NOT_KNOWN,
        },
        "response": {
            "status": exchange.status or 0,
            "statusText": _phrase(exchange.status),
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": _fields(got),
            "content": _content(got, answer),
            "redirectURL": "",
            "headersSize": NOT_KNOWN,
            "bodySize": answer.size if answer else NOT_KNOWN,
        },
        "cache": {},
        "timings": {"send": 0, "wait": wait, "receive": round(whole - wait, 3)},
        "comment": f"{exchange.id}, {side}: {exchange.outcome}",
    }
    if request:
        text = request.data.decode("utf-8", "replace") if not request.truncated else readable(request)
        entry["request"]["postData"] = {"mimeType": sent.get("content-type", "application/json"), "text": text}
    return entry


def _content(headers: Headers, body: Body | None) -> dict[str, Any]:
    content: dict[str, Any] = {"size": body.size if body else 0, "mimeType": headers.get("content-type", "x-unknown")}
    if body is None:
        return content | {"comment": "not recorded"}
    if body.truncated:
        return content | {"text": readable(body), "comment": f"{body.left_out} bytes are missing"}
    try:
        return content | {"text": body.data.decode()}
    except UnicodeDecodeError:
        return content | {"text": base64.b64encode(body.data).decode(), "encoding": "base64"}


def _fields(headers: Headers) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in headers.kept]


def _phrase(status: int | None) -> str:
    try:
        return HTTPStatus(status or 0).phrase
    except ValueError:
        return ""
