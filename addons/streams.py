"""Several stages share the one slot that mitmproxy has for an answer that streams, `flow.response.stream`.

A stage is `(bytes) -> list[bytes]`, `b""` in means the end. Addons append theirs in `responseheaders`, so the list of addons is
the pipeline. mitmproxy's two traps are closed here: `b""` out would end the client's body early, and a chunk whose callable
raises would be lost without a word, a shorter answer that looks whole.
"""

import logging
from collections.abc import Callable

from mitmproxy import http

from addons.route import UPSTREAM

logger = logging.getLogger(__name__)

Stage = Callable[[bytes], list[bytes]]


class StreamChain:
    """What `flow.response.stream` is set to. After a stage has failed the client gets `on_failure()` once, then nothing."""

    def __init__(self, on_failure: Callable[[], bytes]) -> None:
        self.stages: list[Stage] = []
        self.on_failure = on_failure
        self.failed = False

    def __call__(self, data: bytes) -> list[bytes]:
        if self.failed:
            return []
        try:
            chunks = self._run(data)
        except Exception:
            # The second boundary beside guard.py: a stage that breaks must not pass for an answer that is complete.
            logger.exception("a stage of the answer's stream failed; the client is told in the stream")
            self.failed = True
            chunks = [self.on_failure()]
        return [chunk for chunk in chunks if chunk]

    def _run(self, data: bytes) -> list[bytes]:
        chunks = [data] if data else []
        for stage in self.stages:
            chunks = [out for chunk in chunks if chunk for out in stage(chunk)]
            if not data:
                chunks += stage(b"")
        return chunks


def chain_of(flow: http.HTTPFlow) -> StreamChain:
    """The flow's chain, for an addon that appends a stage in `responseheaders`."""
    assert flow.response and isinstance(flow.response.stream, StreamChain)
    return flow.response.stream


def in_band_error() -> bytes:
    return (
        b'event: error\ndata: {"type":"error","code":"server_error","message":"codex-mitm failed on this stream","param":null,'
        b'"error":{"type":"server_error","code":"server_error","message":"codex-mitm failed on this stream","param":null}}\n\n'
    )


class CodexStreams:
    """Before every addon that has a stage. Successes stream; refusals are small and are kept whole for the `response` hooks."""

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if flow.response and UPSTREAM in flow.metadata and flow.response.status_code < 300:
            flow.response.stream = StreamChain(in_band_error)
