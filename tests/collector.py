"""An OpenTelemetry collector on loopback: a real HTTP server that reads OTLP's protobuf, and can be away or silent."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    def __init__(self, url: str) -> None:
        self.url = url
        self.statuses: list[int] = []
        """Of the next answers; then it is 200 again."""
        self.answers = threading.Event()
        """Until it is set, whoever sends waits."""
        self.answers.set()
        self.asked = threading.Event()
        self.paths: list[str] = []
        self.bodies: list[bytes] = []
        """Of what was taken."""

    @property
    def spans(self) -> list[Span]:
        return [span for message in self._messages() for r in message.resource_spans for s in r.scope_spans for span in s.spans]

    @property
    def resource(self) -> dict[str, Any]:
        return plain(self._messages()[0].resource_spans[0].resource.attributes)

    def _messages(self) -> list[ExportTraceServiceRequest]:
        return [ExportTraceServiceRequest.FromString(body) for body in self.bodies]


def plain(attributes: Any) -> dict[str, Any]:
    return {one.key: value_of(one) for one in attributes}


def value_of(one: KeyValue) -> Any:
    kind = one.value.WhichOneof("value")
    return getattr(one.value, kind) if kind else None


@contextmanager
def running_collector() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.asked.set()
            collector.answers.wait(30)
            collector.paths.append(self.path)
            status = collector.statuses.pop(0) if collector.statuses else 200
            if status == 200:
                collector.bodies.append(body)
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        collector.answers.set()
        server.shutdown()
        server.server_close()
        thread.join()
