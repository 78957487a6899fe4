"""Spans on their way to a collector, in OpenTelemetry's own batch thread. Imported only if somebody wants spans: it is an extra.

Whatever the collector does, no call waits for it. What it does not take is lost, as is what comes while the queue is full; that it
is away is said once, and once that it is back. How it is reached, and how often, is said in OpenTelemetry's own variables.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from addons.names import VERSION
from addons.telemetry.attributes import Server, attributes_of, attributes_of_attempt, error_type, span_name
from addons.traffic.exchange import Exchange

logger = logging.getLogger(__name__)

NAME = "codex-mitm"
# What they say while a collector is away: something with each batch.
TALKERS = {"opentelemetry.exporter": logging.CRITICAL, "opentelemetry.sdk": logging.ERROR, "urllib3": logging.ERROR}


class Spans:
    """`ca_file` is for a collector with https, unless OpenTelemetry's variables name another one."""

    def __init__(self, endpoint: str, env: Mapping[str, str], ca_file: str | None) -> None:
        for talker, level in TALKERS.items():
            logging.getLogger(talker).setLevel(level)
        own_ca = env.get("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE") or env.get("OTEL_EXPORTER_OTLP_CERTIFICATE")
        exporter = OTLPSpanExporter(certificate_file=None if own_ca else ca_file)
        self._provider = TracerProvider(resource=resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(SaidOnce(exporter, place(endpoint))))
        self._tracer = self._provider.get_tracer(NAME, VERSION)
        self._propagator = TraceContextTextMapPropagator()

    def note(self, call: Exchange, server: Server | None, parent: Mapping[str, str]) -> None:
        """`parent` is what the client has sent of a trace of its own: `traceparent`, `tracestate`."""
        context = self._propagator.extract(parent, Context()) if parent else Context()
        span = self._tracer.start_span(
            span_name(call), context, SpanKind.CLIENT, attributes_of(call, server), start_time=nanoseconds(call.started)
        )
        if error_type(call) is not None:
            span.set_status(StatusCode.ERROR)
        if len(call.attempts) > 1 and span.is_recording():
            self._note_attempts(call, server, set_span_in_context(span))
        span.end(nanoseconds(call.started + call.ended))

    def _note_attempts(self, call: Exchange, server: Server | None, parent: Context) -> None:
        """Only of several: one alone is the call."""
        ends = [*(later.started - later.waited for later in call.attempts[1:]), call.ended]
        for number, (attempt, end) in enumerate(zip(call.attempts, ends, strict=True), 1):
            attributes = attributes_of_attempt(attempt, server)
            start = nanoseconds(call.started + attempt.started)
            span = self._tracer.start_span(f"attempt {number}", parent, SpanKind.CLIENT, attributes, start_time=start)
            if "error.type" in attributes:
                span.set_status(StatusCode.ERROR)
            span.end(nanoseconds(call.started + end))

    def close(self, patience: float) -> None:
        """Sends what there is. A collector that does not answer is not waited for: the thread ends with the process."""
        closing = threading.Thread(target=self._provider.shutdown, name="codex spans close", daemon=True)
        closing.start()
        closing.join(patience)


class SaidOnce(SpanExporter):
    """Says when spans begin to get lost, and when that is over."""

    def __init__(self, exporter: SpanExporter, where: str) -> None:
        self._exporter = exporter
        self._where = where
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            if not self._lost:
                logger.warning("%s does not take spans: they are lost until it does, calls go on", self._where)
            self._lost += len(spans)
        elif self._lost:
            logger.info("%s takes spans again; %d were lost", self._where, self._lost)
            self._lost = 0
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def resource() -> Resource:
    """What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say counts for more than our own name."""
    return Resource.create({SERVICE_NAME: NAME, SERVICE_VERSION: VERSION, **OTELResourceDetector().detect().attributes})


def place(endpoint: str) -> str:
    """For the log: a URL can have a password in it, and a key in its path."""
    return urlsplit(endpoint).netloc.rpartition("@")[2] or "the collector"


def nanoseconds(moment: float) -> int:
    return int(moment * 1e9)
