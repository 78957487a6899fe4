"""What comes in from either side, before anything is made of it, for the record: a client's request, upstream's answer."""

import time
from dataclasses import dataclass

from mitmproxy import http

from addons import engine
from addons.guard import is_ours
from addons.redact import is_passing
from addons.route import is_codex_cli
from addons.traffic.exchange import Client
from addons.traffic.headers import NO_HEADERS, Headers
from addons.upstreams import CODEX_PATHS, bare_path


@dataclass(slots=True, eq=False)
class Incoming:
    started: float
    """Unix time."""
    began: float
    """The same moment by `time.monotonic`."""
    client: Client
    method: str
    path: str
    dialect: str
    headers: Headers
    body: bytes | None = None
    """As it came, if bodies are recorded; so is the next."""
    answer: bytes | None = None
    """Upstream's, if it did not stream: a refusal as a rule."""
    upstream_headers: Headers = NO_HEADERS
    """Of the latest attempt, like the answer."""

    def since(self) -> float:
        """Seconds; the clock of the whole record."""
        return time.monotonic() - self.began


class CodexIncoming:
    """Right after `CodexRedact`, so that it never sees a credential, and before all who change something."""

    def __init__(self) -> None:
        self.keeps_bodies = False
        """`CodexTraffic` says so."""
        self.open: engine.OnFlow[Incoming] = engine.OnFlow("incoming")
        """Requests that are under way."""

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if is_ours(flow) or is_passing(flow):
            request, peer = flow.request, flow.client_conn.peername
            self.open[flow] = Incoming(
                started=time.time(),
                began=time.monotonic(),
                client=Client("", request.headers.get("user-agent", ""), peer[0] if peer else ""),
                method=request.method,
                path=request.path.partition("?")[0],
                dialect=spoken(request),
                headers=Headers.of(request.headers.fields),
            )

    def request(self, flow: http.HTTPFlow) -> None:
        if self.keeps_bodies and (incoming := self.open.get(flow)):
            incoming.body = flow.request.raw_content

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if flow.response and engine.was_sent(flow) and (incoming := self.open.get(flow)):
            incoming.upstream_headers, incoming.answer = Headers.of(flow.response.headers.fields), None

    def response(self, flow: http.HTTPFlow) -> None:
        if self.keeps_bodies and flow.response and engine.was_sent(flow) and (incoming := self.open.get(flow)):
            incoming.answer = None if engine.failure_of(flow) else flow.response.raw_content


def spoken(request: http.Request) -> str:
    """The dialect, by who asks and where; empty where there is none to speak of."""
    if is_codex_cli(request.headers):
        return "codex"
    served = CODEX_PATHS.get(bare_path(request.path))
    return (served.dialect or "") if served else ""
