"""`export`: calls as text that other programs read: JSON lines, and commands for curl. har.py has the HTTP archive."""

import base64
import json
import shlex
from typing import Any

from addons.traffic.exchange import Body, Exchange
from addons.traffic.har import HERE
from addons.traffic.recorded import SENT_AGAIN, need
from addons.traffic.stories import as_json, story_of

CURL_HEADERS = (*SENT_AGAIN, "user-agent")


def as_json_line(exchange: Exchange) -> str:
    """One object: the whole story, and the bodies under their names."""
    story = json.loads(as_json(story_of(exchange)))
    story["bodies"] = {part: _body(body) for part, body in exchange.bodies._asdict().items() if body is not None}
    return json.dumps(story, separators=(",", ":"))


def _body(body: Body) -> dict[str, Any]:
    told: dict[str, Any] = {"chunks": [[chunk.at, *_text(chunk.data)] for chunk in body.chunks]}
    return told | ({"left_out": body.left_out, "gap": body.gap} if body.truncated else {})


def _text(data: bytes) -> list[str]:
    try:
        return [data.decode()]
    except UnicodeDecodeError:  # a character may be cut in two between chunks
        return [base64.b64encode(data).decode(), "base64"]


def as_curl(exchange: Exchange) -> str:
    """To be pasted into a shell while the proxy runs. Raises NotRecorded without the client's request."""
    lines = [f"curl {HERE}{shlex.quote(exchange.endpoint)} -X {shlex.quote(exchange.method)} -N"]
    lines.append("-H 'Authorization: Bearer placeholder'")
    lines += [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in exchange.client_headers.kept if name in CURL_HEADERS]
    if exchange.method not in ("GET", "HEAD"):
        lines.append(f"--data-raw {shlex.quote(need(exchange, 'client_request', whole=True).data.decode('utf-8', 'replace'))}")
    return " \\\n  ".join(lines)
