"""The record of every call, as the client saw it and as upstream saw it: into the traffic database, and onto mitmweb's flows.

A call is recorded when it is over: it has been answered, its client has left, or the proxy ends. Refusals are recorded too. What
the proxy answers by itself without a complaint (its models, its usage) is not: clients ask for that all day, and it costs nothing.
"""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from weakref import WeakKeyDictionary

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader

from addons import engine
from addons.exchanges import Call, exchange_of, failed_attempt
from addons.guard import is_ours
from addons.incoming import CodexIncoming
from addons.keys import TURNED_AWAY
from addons.probes import is_probe
from addons.redact import is_event_stream, is_passing, is_sign_in
from addons.streams import StreamChain
from addons.traffic import strangers
from addons.traffic.exchange import Exchange
from addons.traffic.passing import Passing
from addons.traffic.place import default_place
from addons.traffic.strangers import Strangers
from addons.traffic.tee import BODY_LIMIT, Tee
from addons.traffic.untranslated import Document, EventStream
from addons.traffic.writer import Recorder
from addons.translate import Answer, CodexTranslate
from addons.view import CONTENT_LIMIT, CodexView

DEFAULT_PLACE = "~/.codex-mitm/traffic.db"

# Is told of each call that is over, with the flow as it is then. Must not raise: the slot of the call is given back after it.
Ended = Callable[[http.HTTPFlow, Exchange], None]


class CodexTraffic:
    """After all who make something of an answer, so that it sees what the client gets; before the bearer, which it does not."""

    def __init__(
        self,
        incoming: CodexIncoming,
        translate: CodexTranslate,
        view: CodexView,
        listeners: Sequence[Ended] = (),
        patterns: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self.incoming = incoming
        self.translate = translate
        self.view = view
        self.listeners = listeners
        self.patterns = patterns
        """What the user wants out of the record, as it is said now."""
        self.strangers = Strangers()
        self.path: Path | None = None
        self.recorder: Recorder | None = None
        self.calls: WeakKeyDictionary[http.HTTPFlow, Call] = WeakKeyDictionary()
        """Those that are under way."""

    def load(self, loader: Loader) -> None:
        loader.add_option(
            "codex_traffic",
            str,
            DEFAULT_PLACE,
            "The database in which calls are recorded, for `codex-traffic`. Empty: nothing is recorded.",
        )
        loader.add_option(
            "codex_traffic_bodies",
            bool,
            False,
            "Record what was said, too: requests and answers, and not only what became of them.",
        )

    def configure(self, updated: set[str]) -> None:
        self.incoming.keeps_bodies = ctx.options.codex_traffic_bodies
        if "codex_traffic" not in updated:
            return
        path = place(ctx.options.codex_traffic)
        if path and path.is_dir():
            raise exceptions.OptionsError(f"codex_traffic: {path} is a folder; name a file in it")
        if path != self.path:
            self._close()
            self.path = path
            if path:
                self.recorder = Recorder(path)
                self.recorder.start()

    def done(self) -> None:
        for flow in list(self.calls):
            self._over(flow, stopped=True)
        self._close()

    def _close(self) -> None:
        recorder, self.recorder, self.path = self.recorder, None, None
        if recorder:
            recorder.close()

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        incoming = self.incoming.open.get(flow)
        if incoming and not is_probe(flow):
            with_bodies = self.recorder is not None and self.incoming.keeps_bodies
            self.calls[flow] = Call(incoming, with_bodies and not (is_passing(flow) and is_sign_in(flow.request)))

    def request(self, flow: http.HTTPFlow) -> None:
        if call := self.calls.get(flow):
            call.asked = call.incoming.since()

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if not flow.response:
            return
        name_it(flow)
        if call := self.calls.get(flow):
            call.begin_attempt()
            if engine.was_sent(flow) and not engine.failure_of(flow):
                call.first_byte = call.incoming.since()
                self._listen(flow, flow.response, call)

    def _listen(self, flow: http.HTTPFlow, response: http.Response, call: Call) -> None:
        streams = is_event_stream(response)
        if response.stream is True and streams and is_passing(flow):
            response.stream = StreamChain()  # without a stage: it changes nothing
        is_upgrade = response.status_code == 101
        if not is_upgrade and not isinstance(response.stream, StreamChain):
            return
        limit = BODY_LIMIT if call.with_bodies else CONTENT_LIMIT if self.view.is_there else 0
        passing = call.passing = Passing(
            call.incoming.since,
            upstream=Tee() if call.with_bodies else None,
            client=Tee(limit) if limit and not is_upgrade else None,
        )
        if answer := self.translate.answers.get(flow):
            answer.stage.on_event = passing.event
        else:
            call.overheard = (EventStream if streams or is_upgrade else Document)(passing.event)
            passing.reader = None if is_upgrade else call.overheard
        if isinstance(response.stream, StreamChain):
            response.stream.listener = passing

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        """Each is one event of upstream's, or a question of the client's."""
        call = self.calls.get(flow)
        if not call or not call.passing or not flow.websocket:
            return
        said = flow.websocket.messages[-1]
        if not said.from_client:
            call.passing.heard(said.content + b"\n")
            assert isinstance(call.overheard, EventStream)
            call.overheard.take(said.content)
        elif call.with_bodies:
            call.said = call.said or Tee()
            call.said.add(call.incoming.since(), said.content + b"\n")

    def response(self, flow: http.HTTPFlow) -> None:
        if engine.is_resending(flow) and (call := self.calls.get(flow)):
            attempt, ended = failed_attempt(flow, call)
            call.end_attempt(attempt, time.time() - ended)
            return
        name_it(flow)
        if not flow.websocket:
            self._over(flow)

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        self._over(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        self._over(flow)

    def _over(self, flow: http.HTTPFlow, *, stopped: bool = False) -> None:
        call = self.calls.pop(flow, None)
        if call is None or is_small_talk(flow):
            return
        if call.overheard:
            call.overheard.end()
        answering, answer = self.translate.answerings.get(flow), self.translate.answers.get(flow)
        exchange = exchange_of(flow, call, answering, answer, time.time(), stopped=stopped)
        self._let_go(flow, answer)
        if self.recorder:
            self._record(flow, self.recorder, exchange)
        self.view.show(flow, exchange, call.passing.client if call.passing else None)
        for tell in self.listeners:
            tell(flow, exchange)

    def _record(self, flow: http.HTTPFlow, recorder: Recorder, exchange: Exchange) -> None:
        if TURNED_AWAY in flow.metadata and exchange.outcome == "refused" and not self.strangers.one_more(time.monotonic()):
            recorder.leave_out(strangers.WHY)
        else:
            recorder.put(exchange, self.patterns())

    def _let_go(self, flow: http.HTTPFlow, answer: Answer | None) -> None:
        """mitmweb keeps the flow, and what was heard of it would stay as well."""
        if flow.response and isinstance(flow.response.stream, StreamChain):
            flow.response.stream.listener = None
        if answer:
            answer.stage.on_event = None


def place(option: str) -> Path | None:
    if option == DEFAULT_PLACE:
        return default_place(os.environ)
    return Path(option).expanduser().absolute() if option else None


def name_it(flow: http.HTTPFlow) -> None:
    """Every answer of ours has an id that can be asked for; upstream's own, where it has told one."""
    if flow.response and not flow.response.headers.get("x-request-id") and is_ours(flow):
        flow.response.headers["x-request-id"] = f"req_{os.urandom(16).hex()}"


def is_small_talk(flow: http.HTTPFlow) -> bool:
    """Answered here, and well."""
    return not engine.was_sent(flow) and not flow.error and flow.response is not None and flow.response.status_code < 400
