"""The fault drill: the proxy misbehaves on purpose, so that authors of clients can test theirs. Off unless `codex_fault` is set.

What upstream did is judged before the drill spoils it, so no account and no retry pays for a fault that is ours.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader

from addons import engine
from addons.drill import FAILED, REFUSALS, BadDrill, Fault, Spoiler, draw, halves, labels, parse, pieces
from addons.edits import note
from addons.guard import guarded, guarded_head, is_open
from addons.route import UPSTREAM, is_upgrade
from addons.streams import StreamChain
from addons.wire.plan import Edit

logger = logging.getLogger(__name__)

MARK = "x-codex-fault"

# Those that come before a request goes out; the others are of an answer.
NOT_SENT = ("drop", *REFUSALS)
BEFORE = ("delay", *NOT_SENT)


class CodexFault:
    """Behind everything but the bearer. What the proxy refuses or answers by itself is no part of the drill and stays true; its
    `response` hook comes after `CodexRetry` has judged the answer, and its stage sees what the client would get.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self.chance = chance
        self.drill: tuple[Fault, ...] = ()
        self.drawn: engine.OnFlow[tuple[Fault, ...]] = engine.OnFlow("drawn")

    def load(self, loader: Loader) -> None:
        loader.add_option(
            "codex_fault",
            str,
            "",
            "Faults that the proxy makes on purpose, to test clients with: 429@0.1,cut@2000b for instance. docs/drill.md "
            "lists them. Never set it where somebody relies on the proxy.",
        )

    def configure(self, updated: set[str]) -> None:
        if "codex_fault" not in updated:
            return
        before = self.drill
        try:
            self.drill = parse(ctx.options.codex_fault)
        except BadDrill as e:
            raise exceptions.OptionsError(f"codex_fault: {e}") from e
        if self.drill and self.drill != before:
            logger.warning("the fault drill is on: %s; answers fail on purpose", ", ".join(map(str, self.drill)))
        elif before and not self.drill:
            logger.warning("the fault drill is off")

    @guarded
    def request(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        if not self.drill or not is_open(flow) or UPSTREAM not in flow.metadata or is_upgrade(flow.request):
            return None
        return self._draw(flow)

    async def _draw(self, flow: http.HTTPFlow) -> None:
        drawn = draw(self.drill, self.chance)
        if not drawn:
            return
        self.drawn[flow] = drawn
        for delay in of(drawn, "delay"):
            tell(flow, delay)
            await asyncio.sleep(delay.amount)
        if refusal := next(iter(of(drawn, *NOT_SENT)), None):
            refuse(flow, refusal, [*of(drawn, "delay"), refusal])
        elif of_the_answer(drawn) and flow.request.headers.get("accept-encoding") != "identity":
            # What is compressed could not be spoiled at a place that is known.
            flow.request.headers["accept-encoding"] = "identity"
            note(flow, [Edit("forced", "header accept-encoding", "the fault drill spoils the answer")])

    @guarded_head
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        drawn, answer = self.drawn.get(flow), flow.response
        if not drawn or not answer or not engine.was_sent(flow):
            return
        chain = answer.stream
        if not isinstance(chain, StreamChain):
            mark(answer, of(drawn, "delay"))
            return
        mark(answer, drawn)
        if faults := of_the_answer(drawn):
            in_chunks(answer)
            events = "text/event-stream" in answer.headers.get("content-type", "")
            engine.in_pieces(flow, pieces if events else halves)
            chain.stages.append(SpoiledStream(flow, chain, Spoiler(faults, events)))

    @guarded
    def response(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        """Of an answer that was made as a whole. One that streamed is over by now."""
        drawn, answer = self.drawn.get(flow), flow.response
        if not drawn or not answer or not flow.live or not engine.was_sent(flow) or engine.is_resending(flow):
            return None
        if isinstance(answer.stream, StreamChain):
            return None
        faults = of_the_answer(drawn) if answer.status_code < 300 else ()
        mark(answer, [*of(drawn, "delay"), *faults])
        return spoil(flow, answer, Spoiler(faults, events=False)) if faults else None


class SpoiledStream:
    """The last stage of an answer that streams."""

    def __init__(self, flow: http.HTTPFlow, chain: StreamChain, spoiler: Spoiler) -> None:
        self.flow = flow
        self.chain = chain
        self.spoiler = spoiler

    def __call__(self, data: bytes) -> list[bytes]:
        spoiled = self.spoiler.take(data)
        for fault in spoiled.struck:
            tell(self.flow, fault)
        if spoiled.pause:
            engine.pause(self.flow, spoiled.pause)
        if spoiled.end == "failed":
            engine.fail_answer(self.flow, lambda: self.chain.end_with(FAILED))
        elif spoiled.end == "cut":
            engine.cut_off(self.flow)
        elif spoiled.end == "end":
            engine.end_answer(self.flow, at_once=True)
        return [spoiled.out]


async def spoil(flow: http.HTTPFlow, answer: http.Response, spoiler: Spoiler) -> None:
    """An answer that did not stream has no middle in which it could stand still: it comes that much later."""
    spoiled = spoiler.take(answer.raw_content or b"")
    for fault in spoiled.struck:
        tell(flow, fault)
    await asyncio.sleep(spoiled.pause)
    if spoiled.end == "failed":
        failed = flow.response = engine.error_response(FAILED)
        failed.headers[MARK] = answer.headers[MARK]
    elif spoiled.end == "cut":
        answer.raw_content = spoiled.out  # and the content-length stays what it was
        engine.cut_off(flow)
    else:
        answer.content = spoiled.out


def of(faults: Sequence[Fault], *kinds: str) -> list[Fault]:
    return [fault for fault in faults if fault.kind in kinds]


def of_the_answer(faults: Sequence[Fault]) -> list[Fault]:
    return [fault for fault in faults if fault.kind not in BEFORE]


def refuse(flow: http.HTTPFlow, refusal: Fault, met: Sequence[Fault]) -> None:
    if refusal.kind == "drop":
        flow.kill()
    else:
        flow.response = engine.error_response(REFUSALS[refusal.kind])
        mark(flow.response, met)
    tell(flow, refusal)


def mark(answer: http.Response, faults: Sequence[Fault]) -> None:
    """With those that have come to the request, whether or not the answer is long enough to meet them: its head goes out first."""
    if faults:
        answer.headers[MARK] = labels(faults)
    else:
        answer.headers.pop(MARK, None)


def in_chunks(answer: http.Response) -> None:
    """The length is not what upstream says, and without any framing a connection that is broken off would look like an end."""
    answer.headers.pop("content-length", None)
    answer.headers["transfer-encoding"] = "chunked"


def tell(flow: http.HTTPFlow, fault: Fault) -> None:
    """By the id that the client has, or mitmproxy's own if there is no answer to have one."""
    request_id = (flow.response and flow.response.headers.get("x-request-id")) or flow.id
    logger.warning("fault drill: %s on %s %s, request %s", fault.label, flow.request.method, flow.request.path, request_id)
