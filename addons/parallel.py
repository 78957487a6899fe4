"""How many requests are under way at once: the others wait in a queue of limited length, for a limited time, each client in turn.

An account is lent when a request has its slot, and not before. mitmproxy does not end a hook whose client has left: whoever waits
here is told by `client_disconnected`, and what is left of the exchange ends as mitmproxy ends it.
"""

import asyncio
import math
import time
from typing import Literal, NamedTuple

from mitmproxy import connection, ctx, exceptions, http
from mitmproxy.addonmanager import Loader
from mitmproxy.flow import Error

from addons import engine
from addons.clock import seconds_of
from addons.guard import Refused, guarded, is_open
from addons.redact import CLIENT
from addons.route import is_upgrade
from addons.slots import Slots
from addons.wire.errors import OpenAIError

# Seconds that a request has waited; only on those that did.
QUEUED = "codex.queued"

# Option, default, the least it may be, what it is for. More than a person's programs ask for at once: only those that run wild
# come to meet these limits.
NUMBERS: dict[str, tuple[int, int, str]] = {
    "codex_max_parallel": (64, 1, "Requests that may be under way at once. A stream is under way until it ends."),
    "codex_queue_size": (256, 0, "Requests that may wait for others to end; what does not fit gets a 429."),
}
# Seconds. Half of what nginx gives a request without a byte of answer (60 s): the other half is for upstream.
TIMEOUT, TIMEOUT_DEFAULT = "codex_queue_timeout", 30

# They ask nobody for a new answer: most are answered here, and the others at once. A health check must not wait for streams.
LOOK_UPS = ("GET", "HEAD", "DELETE", "OPTIONS")

Fate = Literal["in", "full", "left"]


class Waiting(NamedTuple):
    since: float
    fate: asyncio.Future[Fate]


def takes_a_slot(request: http.Request) -> bool:
    """A WebSocket asks with GET, and holds its slot until it is closed."""
    return request.method not in LOOK_UPS or is_upgrade(request)


class CodexParallel:
    """After what is refused or answered without an account, before `CodexAccounts`."""

    def __init__(self) -> None:
        self.slots: Slots[http.HTTPFlow] = Slots(*(default for default, _, _ in NUMBERS.values()))
        self.waiting: dict[http.HTTPFlow, Waiting] = {}
        """In the order in which they came."""

    def load(self, loader: Loader) -> None:
        for name, (default, _, text) in NUMBERS.items():
            loader.add_option(name, int, default, text)
        loader.add_option(TIMEOUT, str, f"{TIMEOUT_DEFAULT}", "Seconds that a request may wait for a slot; then it gets a 429.")

    def configure(self, updated: set[str]) -> None:
        if TIMEOUT in updated:
            seconds_of(TIMEOUT)
        if NUMBERS.keys() & updated:
            for let_in in self.slots.change(*(number_of(name) for name in NUMBERS)):
                self._tell(let_in, "in")

    @guarded
    async def request(self, flow: http.HTTPFlow) -> None:
        if not is_open(flow) or not takes_a_slot(flow.request):
            return
        entry = self.slots.ask(flow.metadata.get(CLIENT, ""), flow)
        if entry == "full":
            raise Refused(queue_full(self.slots, self._until_a_place_is_free()))
        if entry != "in":
            if entry.gave_way is not None:
                self._tell(entry.gave_way, "full")
            await self._wait(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        self.end(flow)

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        self.end(flow)

    def client_disconnected(self, client: connection.Client) -> None:
        """Whoever waits leaves at once. The end of who is in comes by other hooks too, if no other script has stopped them."""
        for flow in [*self.slots.waiting, *self.slots.taken]:
            if flow.client_conn is client and not flow.is_replay:
                self.slots.leave(flow)
                self._tell(flow, "left")
                self.end(flow)

    def end(self, flow: http.HTTPFlow) -> None:
        """However it ended, and however often that is said."""
        if (next_one := self.slots.release(flow)) is not None:
            self._tell(next_one, "in")

    async def _wait(self, flow: http.HTTPFlow) -> None:
        """Returns when it is in, or when nobody is there any more. Raises Refused."""
        seconds = seconds_of(TIMEOUT)
        here = self.waiting[flow] = Waiting(time.monotonic(), asyncio.get_running_loop().create_future())
        try:
            await asyncio.wait({here.fate}, timeout=seconds)
        finally:
            del self.waiting[flow]
            self.slots.leave(flow)
        flow.metadata[QUEUED] = round(time.monotonic() - here.since, 3)
        if flow in self.slots.taken:
            return
        if not here.fate.done():
            raise Refused(queue_timeout(seconds))
        if here.fate.result() == "full":
            raise Refused(queue_full(self.slots, self._until_a_place_is_free()))
        # Its client has left, before it was in or just after. mitmproxy knows that too, in these words, and asks nobody upstream;
        # until it comes to that, the addons after this one leave the flow alone.
        flow.error = Error("Client disconnected.")

    def _tell(self, flow: http.HTTPFlow, fate: Fate) -> None:
        here = self.waiting.get(flow)
        if here and not here.fate.done():
            here.fate.set_result(fate)

    def _until_a_place_is_free(self) -> float:
        """At the latest: the time of the one that has waited longest is up then."""
        oldest = next(iter(self.waiting.values()), None)
        return oldest.since + seconds_of(TIMEOUT) - time.monotonic() if oldest else 0.0


class CodexRelease:
    """The other end of `CodexParallel`: after every addon that may send a request again, or give another answer."""

    def __init__(self, parallel: CodexParallel) -> None:
        self.parallel = parallel

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        tell_wait(flow)

    def response(self, flow: http.HTTPFlow) -> None:
        tell_wait(flow)  # once more, for an answer that took the place of another
        if not engine.is_resending(flow) and not flow.websocket:
            self.parallel.end(flow)


def tell_wait(flow: http.HTTPFlow) -> None:
    if flow.response and (seconds := flow.metadata.get(QUEUED)) is not None:
        flow.response.headers["x-codex-queued"] = f"{seconds:.2f}"


def queue_full(slots: Slots[http.HTTPFlow], seconds: float) -> OpenAIError:
    return OpenAIError(
        429,
        f"{len(slots.taken)} requests are under way and {len(slots.waiting)} wait already "
        "(options codex_max_parallel, codex_queue_size)",
        code="queue_full",
        headers={"retry-after": str(max(1, math.ceil(seconds)))},
    )


def queue_timeout(seconds: float) -> OpenAIError:
    """The queue is where to wait, so come back at once."""
    return OpenAIError(
        429,
        f"waited {seconds:g} s, and none of the requests under way has ended for this one (options codex_queue_timeout, "
        "codex_max_parallel)",
        code="queue_timeout",
        headers={"retry-after": "1"},
    )


def number_of(name: str) -> int:
    """Raises OptionsError."""
    number: int = getattr(ctx.options, name)
    least = NUMBERS[name][1]
    if number < least:
        raise exceptions.OptionsError(f"{name}: {number} is less than {least}")
    return number
