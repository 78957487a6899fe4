"""The other end of the gate: what each answer says of a key's limits and to a page, and what the request has used of them."""

from collections.abc import Awaitable

from mitmproxy import http

from addons import engine, heads, hosts
from addons.gate import CodexGate
from addons.guard import guarded_head, is_ours
from addons.route import UPSTREAM
from addons.streams import StreamChain
from addons.traffic.untranslated import Document, EventStream, Untranslated
from addons.translate import CodexTranslate


class CodexExit:
    """After every addon that may send a request again, or give another answer."""

    def __init__(self, gate: CodexGate, translate: CodexTranslate) -> None:
        self.gate = gate
        self.translate = translate
        self.overheard: engine.OnFlow[Untranslated] = engine.OnFlow("overheard")
        """Answers that nobody here translates."""

    @guarded_head
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if not flow.response or not is_ours(flow):
            return
        self._tell(flow, flow.response)
        guest = self.gate.guests.get(flow)
        streamed = isinstance(flow.response.stream, StreamChain) and UPSTREAM in flow.metadata
        if streamed and guest and guest.key and guest.key.tokens_per_minute and not self.translate.answers.get(flow):
            self._listen(flow, flow.response)

    def response(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        if not flow.response or not is_ours(flow) or engine.is_resending(flow):
            return None
        if not engine.client_has_its_head(flow):  # an answer that took the place of another
            self._tell(flow, flow.response)
        return self._over(flow)

    def error(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        return self._over(flow)

    def _tell(self, flow: http.HTTPFlow, response: http.Response) -> None:
        """What upstream lets pages do does not count here, and its limits do not where the key has its own."""
        if engine.was_sent(flow):
            heads.take_off_family(response.headers, b"access-control-")
        guest = self.gate.guests.get(flow)
        if guest and (guest.limits or guest.origin):
            heads.put(response.headers, guest.limits | (hosts.for_page(guest.origin) if guest.origin else {}))

    def _listen(self, flow: http.HTTPFlow, response: http.Response) -> None:
        assert isinstance(response.stream, StreamChain)
        is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
        overheard = self.overheard[flow] = (EventStream if is_stream else Document)(lambda event: None)

        def hear(data: bytes) -> list[bytes]:
            if data:
                overheard.feed(data)
                return [data]
            overheard.end()
            return []

        response.stream.stages.insert(0, hear)  # upstream's own words

    def _over(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        key = self.gate.counted_key(flow)
        if key is None:
            return None
        answer, overheard = self.translate.answers.get(flow), self.overheard.get(flow)
        usage = answer.stage.usage if answer else overheard.usage if overheard else None
        is_refused = not engine.was_sent(flow) or (flow.response is not None and flow.response.status_code >= 400)
        return self.gate.over(key, flow, usage.total_tokens if usage else 0 if is_refused else None)
