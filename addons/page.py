"""The page at `/`: who is signed in, what is left of the plans, the last calls, and how to set up a client.

The page itself is one file without data (page.html), the same for everybody. Its script asks `GET /codex/usage` (usage.py),
`/codex/sign-in` (sign_in.py) and, answered here, `GET /codex/calls?limit=20`.
"""

import asyncio
import base64
import hashlib
import logging
import re
import sqlite3
from collections.abc import Awaitable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
from mitmproxy import ctx, http
from mitmproxy.proxy.mode_specs import ReverseMode

from addons import engine
from addons.guard import Refused, guarded, is_open
from addons.record import CodexTraffic
from addons.traffic import queries
from addons.traffic.errors import NoDatabase, NotRecorded, TrafficError
from addons.traffic.explain import sentences
from addons.traffic.schema import open_to_read
from addons.traffic.stories import exchange_of
from addons.traffic.writer import Recorder
from addons.wire.errors import OpenAIError
from addons.wire.quota import moment

logger = logging.getLogger(__name__)

PATH, CALLS_PATH = "/", "/codex/calls"
FILE = Path(__file__).with_name("page.html")

MOST_CALLS, USUAL_CALLS = 100, 20
# Seconds. The call that has just ended is to be found.
PATIENCE = 0.5

NOT_RECORDED = "Calls are not recorded. Start the proxy without `--set codex_traffic=`, or name a file: `--set codex_traffic=FILE`."

# All interfaces, as the operating system names them: no browser can go there.
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}


def policy_of(page: str) -> str:
    """What the page may do: run its own script, wear its own style, ask this proxy. Nothing comes from elsewhere or goes there."""
    rules = {
        "default-src": "'none'",
        "script-src": " ".join(map(hash_of, re.findall(r"<script>(.*?)</script>", page, re.S))),
        "style-src": " ".join(map(hash_of, re.findall(r"<style>(.*?)</style>", page, re.S))),
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def hash_of(text: str) -> str:
    """CSP 3, 2.3.1: of exactly what stands between the tags."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def head_of(page: str) -> Mapping[str, str]:
    return {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": policy_of(page),
        "x-frame-options": "DENY",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
    }


class CodexPage:
    """After `CodexGate`, and before whoever wants an account or a slot."""

    def __init__(self, traffic: CodexTraffic) -> None:
        self.traffic = traffic
        page = FILE.read_text(encoding="utf-8")
        self.body = page.encode()
        self.head = head_of(page)

    def running(self) -> None:
        for server in ctx.master.addons.get("proxyserver").servers:
            if isinstance(server.mode, ReverseMode) and server.listen_addrs:
                logger.info("sign in, and see what goes on: %s", address_of(*server.listen_addrs[0][:2]))

    @guarded
    def request(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        if flow.request.method not in ("GET", "HEAD") or not is_open(flow):
            return None
        path, _, query = flow.request.path.partition("?")
        if path == PATH:
            flow.response = http.Response.make(200, self.body, dict(self.head))
        return self._show_calls(flow, limit_of(query)) if path == CALLS_PATH else None

    async def _show_calls(self, flow: http.HTTPFlow, limit: int) -> None:
        document = await asyncio.to_thread(last_calls, self.traffic.recorder, self.traffic.path, limit)
        flow.response = engine.json_response(200, orjson.dumps(document), {"cache-control": "no-store"})


def address_of(host: str, port: int) -> str:
    shown = EVERYWHERE.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}/"


def limit_of(query: str) -> int:
    """Raises Refused."""
    told = re.fullmatch(r"limit=(\d{1,9})", query)
    if query and not (told and 1 <= int(told[1]) <= MOST_CALLS):
        raise Refused(OpenAIError(400, f"only limit is known here, a number from 1 to {MOST_CALLS}", param="limit"))
    return int(told[1]) if told else USUAL_CALLS


def last_calls(recorder: Recorder | None, path: Path | None, limit: int) -> dict[str, Any]:
    """The newest first. `why` is why there are none, or not all."""
    if recorder is None or path is None:
        return calls_document(why=NOT_RECORDED)
    recorder.flush(PATIENCE)
    try:
        with closing(open_to_read(path)) as db:
            calls = [told for call in reversed(queries.latest(db, limit)) if (told := call_document(db, call))]
    except NoDatabase:
        return calls_document(recording=True)
    except (TrafficError, sqlite3.Error) as e:
        return calls_document(recording=True, why=str(e))
    return calls_document(calls, recording=True, why=recorder.health().trouble or None)


def calls_document(calls: list[dict[str, Any]] | None = None, *, recording: bool = False, why: str | None = None) -> dict[str, Any]:
    return {"object": "codex.calls", "recording": recording, "why": why, "calls": calls or []}


def call_document(db: sqlite3.Connection, call: queries.Call) -> dict[str, Any] | None:
    """None if it was too old just now."""
    try:
        exchange = exchange_of(queries.story(db, call))
    except NotRecorded:
        return None
    return {
        "id": call.id,
        "started": moment(call.started),
        "took": round(call.took, 3),
        "client": call.client,
        "model": call.model,
        "account": call.account,
        "status": call.status,
        "outcome": call.outcome,
        "failed": exchange.failed,
        "tokens": None if call.tokens_in is None else {"input": call.tokens_in, "output": call.tokens_out},
        "explanation": sentences(exchange),
    }
