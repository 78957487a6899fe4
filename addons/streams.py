"""One slot, several stages: mitmproxy has a single callable for an answer that streams, `flow.response.stream`.

A stage is `(bytes) -> list[bytes]`, `b""` in means the end. Addons append theirs in `responseheaders`, so the list of addons is
the pipeline. mitmproxy's two traps are closed here: `b""` out would end the client's body early, and a chunk whose callable
raises would be lost without a word, a shorter answer that looks whole.
"""

import logging
from collections.abc import Callable
from typing import Protocol

import orjson
from mitmproxy import http

from addons.guard import FAULT, guarded_head
from addons.route import UPSTREAM, is_codex_cli
from addons.wire.errors import OpenAIError
from addons.wire.plan import Dialect
from addons.wire.sse import DONE, KEEPALIVE, encode

logger = logging.getLogger(__name__)

Stage = Callable[[bytes], list[bytes]]


class Voice(Protocol):
    """What is said in an answer's stream that upstream did not say, in the words of whoever reads it."""

    def say_alive(self) -> list[bytes]:
        """That the answer is still being made."""

    def end_with(self, error: OpenAIError) -> list[bytes] | None:
        """That it failed, as its last words; None where a stream has none."""

    def on_fault(self) -> list[bytes]:
        """The same for a bug of ours, whoever has it."""


class Listener(Protocol):
    """Hears a stream pass by, and changes nothing of it."""

    def heard(self, data: bytes) -> None:
        """A chunk of upstream's, before any stage has it."""

    def told(self, chunks: list[bytes]) -> None:
        """Chunks that go to the client, whether a stage has made them or they are said in the stages' place."""


class StreamChain:
    """What `flow.response.stream` is set to. After a stage has failed the client gets its voice's `on_fault` once, then nothing."""

    def __init__(self, voice: Voice | None = None) -> None:
        self.stages: list[Stage] = []
        self.voice: Voice = voice or PassedOn(self)
        self.latest = b""
        """The last chunk that went out."""
        self.failed = False
        self.on_first_byte: Callable[[], None] = lambda: None
        self.listener: Listener | None = None
        self.last_words: OpenAIError | None = None
        """Why the answer was ended here, if it was."""

    def __call__(self, data: bytes) -> list[bytes]:
        if self.listener and data:
            self._report(self.listener.heard, data)
        if self.failed:
            return []
        try:
            chunks = [data] if data else []
            for stage in self.stages:
                chunks = [out for chunk in chunks if chunk for out in stage(chunk)]
                if not data:
                    chunks += stage(b"")
        except Exception:
            # The second boundary beside guard.py: a stage that breaks must not pass for an answer that is complete.
            logger.exception("a stage of the answer's stream failed; the client is told in the stream")
            self.failed = True
            chunks = self.voice.on_fault()
        told = b"".join(chunks)  # as one: for each chunk mitmproxy would go through all its layers
        if not told:
            return []
        if not self.latest:
            self.on_first_byte()
        self.latest = told
        return self.let_go([told])

    def let_go(self, chunks: list[bytes]) -> list[bytes]:
        """The same chunks, on their way to the client: all that it gets of the answer goes through here."""
        if self.listener and chunks:
            self._report(self.listener.told, chunks)
        return chunks

    def _report[T](self, hear: Callable[[T], None], what: T) -> None:
        """A boundary too: whoever only listens must not break what is listened to."""
        try:
            hear(what)
        except Exception:
            logger.exception("the answer's stream could not be listened to; it goes on unheard")
            self.listener = None

    def say_alive(self) -> list[bytes]:
        return [] if self.failed else self.let_go(self.voice.say_alive())

    def end_with(self, error: OpenAIError) -> list[bytes] | None:
        """What is left to say; nothing comes out of the chain afterwards."""
        last_words = [] if self.failed else self.voice.end_with(error)
        self.failed, self.last_words = True, error
        return self.let_go(last_words) if last_words else last_words


def chain_of(flow: http.HTTPFlow) -> StreamChain:
    """The flow's chain, for an addon that appends a stage in `responseheaders`."""
    assert flow.response and isinstance(flow.response.stream, StreamChain)
    return flow.response.stream


# Comments do not count as a sign of life for the Codex CLI, which waits for events; this one it reads and makes nothing of.
CLI_KEEPALIVE = encode(b'{"type":"response.in_progress"}', b"response.in_progress")

ENDS_OF_AN_EVENT = (b"\n\n", b"\r\n\r\n", b"\r\r")


class PassedOn:
    """An answer that upstream writes and nobody here reads: whatever is said goes between two of its events."""

    def __init__(self, chain: StreamChain, *, events: bool = True, dialect: Dialect = "responses", codex_cli: bool = False) -> None:
        self.chain = chain
        self.events = events
        self.dialect = dialect
        self.codex_cli = codex_cli

    def say_alive(self) -> list[bytes]:
        if not self.events or not self._is_between_events():
            return []
        return [CLI_KEEPALIVE if self.codex_cli else KEEPALIVE]

    def end_with(self, error: OpenAIError) -> list[bytes] | None:
        if not self.events:
            return None
        return [in_band(error, self.dialect) if self._is_between_events() else b"\n\n" + in_band(error, self.dialect)]

    def on_fault(self) -> list[bytes]:
        return [b"\n\n" + in_band(FAULT, self.dialect)]

    def _is_between_events(self) -> bool:
        return not self.chain.latest or self.chain.latest.endswith(ENDS_OF_AN_EVENT)


def in_band(error: OpenAIError, dialect: Dialect) -> bytes:
    """The error as the end of a stream whose dialect is known, and nothing else of it."""
    body = error.body()
    if dialect == "chat":
        return encode(body) + DONE
    inner = orjson.loads(body)["error"]
    return encode(orjson.dumps({"type": "error", **{k: inner[k] for k in ("code", "message", "param")}, "error": inner}), b"error")


class CodexStreams:
    """Before every addon that has a stage. Successes stream; refusals are small and are kept whole for the `response` hooks."""

    @guarded_head
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if not flow.response or UPSTREAM not in flow.metadata or not 200 <= flow.response.status_code < 300:
            return
        chain = flow.response.stream = StreamChain()
        path = flow.request.path.partition("?")[0]
        chain.voice = PassedOn(
            chain,
            events="text/event-stream" in flow.response.headers.get("content-type", ""),
            dialect="chat" if path.endswith("/chat/completions") else "responses",
            codex_cli=is_codex_cli(flow.request.headers),
        )
