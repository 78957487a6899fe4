"""One OpenTelemetry span for each call, where OTEL_EXPORTER_OTLP_ENDPOINT names a collector. Without it nothing is imported.

The rest of OpenTelemetry's variables are read by its own library: OTEL_SERVICE_NAME, OTEL_EXPORTER_OTLP_HEADERS and so on. A span
is made when its call is over, with the times that the call had, so there is none of a call under way.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mitmproxy import exceptions, http

from addons import engine
from addons.telemetry.attributes import Server
from addons.traffic.exchange import Exchange

if TYPE_CHECKING:
    from addons.telemetry.exporting import Spans

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

# W3C Trace Context, and how much of it a list of vendors may be (3.3.1.5: at least 512 characters are to be passed on).
PARENT = ("traceparent", "tracestate")
MAX_PARENT = 1024

# Seconds, at the end of the proxy.
PATIENCE = 2.0


class CodexSpans:
    """After `CodexTraffic`, which at the end of the proxy still tells of the calls under way."""

    def __init__(self, env: Mapping[str, str], ca_file: str | None) -> None:
        self.env = env
        self.ca_file = ca_file
        self.spans: Spans | None = None
        self.is_set_up = False
        self.parents: engine.OnFlow[Mapping[str, str]] = engine.OnFlow("parent")

    def configure(self, updated: set[str]) -> None:
        if not self.is_set_up:
            self.is_set_up = True
            if endpoint := self._endpoint():
                self._start(endpoint)

    def done(self) -> None:
        if self.spans:
            self.spans.close(PATIENCE)
            self.spans = None

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if self.spans and PARENT[0] in flow.request.headers:
            self.parents[flow] = {name: flow.request.headers.get(name, "")[:MAX_PARENT] for name in PARENT}

    def ended(self, flow: http.HTTPFlow, call: Exchange) -> None:
        if self.spans:
            server = Server(flow.request.host, flow.request.port) if engine.was_sent(flow) else None
            self.spans.note(call, server, self.parents.pop(flow) or {})

    def _endpoint(self) -> str:
        """Empty if there are to be no spans: compose files set variables to nothing that nobody has given a value."""
        if self.env.get("OTEL_SDK_DISABLED", "").lower() == "true" or self.env.get("OTEL_TRACES_EXPORTER") == "none":
            return ""
        return next((found for name in ENDPOINTS if (found := self.env.get(name, ""))), "")

    def _start(self, endpoint: str) -> None:
        """Raises OptionsError."""
        protocol = next((found for name in PROTOCOLS if (found := self.env.get(name, ""))), "http/protobuf")
        if protocol != "http/protobuf":
            raise exceptions.OptionsError(f"OTEL_EXPORTER_OTLP_PROTOCOL: {protocol} is not spoken here, only http/protobuf")
        try:
            from addons.telemetry.exporting import Spans
        except ModuleNotFoundError as e:
            raise exceptions.OptionsError(
                f"a collector for spans is set ({' or '.join(reversed(ENDPOINTS))}), and the package {e.name} is missing: "
                "install codex-mitm[otel], or unset the variable"
            ) from e
        self.spans = Spans(endpoint, self.env, self.ca_file)
