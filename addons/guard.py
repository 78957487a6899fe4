"""The one broad `except` of the suite. A hook that raises would skip the addons after it and let the request out regardless
(mitmproxy's `safecall`), so every hook that decides something runs under `guarded`: it fails closed, with OpenAI's envelope.
"""

import asyncio
import functools
import inspect
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from mitmproxy import exceptions, http
from mitmproxy.proxy.mode_specs import ReverseMode

from addons import engine
from addons.wire.errors import OpenAIError

logger = logging.getLogger(__name__)

# The failure is this suite's: no account is to blame for it, and to repeat the request would not help.
OURS = "codex.our_fault"

FAULT = OpenAIError(500, "codex-mitm failed on this request; its log says where")


# Hooks that wait for something: a slot, a token, a better moment.
_waiting: set[asyncio.Task[None]] = set()


class Refused(Exception):
    """A decision of an addon: this request is answered with this error and goes no further."""

    def __init__(self, error: OpenAIError) -> None:
        super().__init__(error.message)
        self.error = error


def is_ours(flow: http.HTTPFlow) -> bool:
    """It came to the reverse proxy. What a user sends through other modes of the same mitmproxy is none of our business."""
    return isinstance(flow.client_conn.proxy_mode, ReverseMode)


def is_open(flow: http.HTTPFlow) -> bool:
    """Ours, and nobody has answered, failed or finished it yet: hooks of all addons are called even then."""
    return is_ours(flow) and flow.live and not flow.response and not flow.error


def guarded(hook: Callable[..., Any]) -> Callable[..., Any]:
    """For `requestheaders`, `request` and `response` hooks, sync or async: what escapes becomes the answer.

    Not for `responseheaders`, whose answer is still on its way: that is `guarded_head`.
    """
    if inspect.iscoroutinefunction(hook):

        @functools.wraps(hook)
        async def guarded_async(self: Any, flow: http.HTTPFlow) -> None:
            await _run_async(hook(self, flow), flow)

        return guarded_async

    @functools.wraps(hook)
    def guarded_sync(self: Any, flow: http.HTTPFlow) -> None:
        try:
            hook(self, flow)
        except exceptions.AddonHalt:
            raise
        except Exception as e:  # noqa: BLE001 - this is the boundary
            _answer(flow, e)

    return guarded_sync


def guarded_head(hook: Callable[[Any, http.HTTPFlow], None]) -> Callable[[Any, http.HTTPFlow], None]:
    """For `responseheaders` hooks: an answer that one of them could not deal with must not pass as upstream has written it."""

    @functools.wraps(hook)
    def guarded_sync(self: Any, flow: http.HTTPFlow) -> None:
        try:
            hook(self, flow)
        except exceptions.AddonHalt:
            raise
        except Exception:
            logger.exception("%s failed at its answer's head", flow.request.path.partition("?")[0])
            flow.metadata[OURS] = True
            if flow.response and is_ours(flow):
                engine.hold_head(flow)
                flow.response.stream = lambda data: _fault_instead(flow)

    return guarded_sync


def _fault_instead(flow: http.HTTPFlow) -> list[bytes]:
    if engine.head_is_held(flow):
        engine.answer_instead(flow, engine.error_response(FAULT))
    return []


def end_waiting() -> None:
    """The proxy comes to its end: requests whose hook waits for something are refused now."""
    for task in list(_waiting):
        task.cancel()


async def _run_async(running: Coroutine[Any, Any, None], flow: http.HTTPFlow) -> None:
    try:
        await _unless_ended(running)
    except exceptions.AddonHalt:
        raise
    except Exception as e:  # noqa: BLE001 - this is the boundary
        _answer(flow, e)


async def _unless_ended(running: Coroutine[Any, Any, None]) -> None:
    """A task of its own, so that it can be cancelled and the addons after it still have their turn. Most hooks wait for nothing,
    and are done when it is made."""
    task = asyncio.Task(running, loop=asyncio.get_running_loop(), name="codex hook", eager_start=True)
    if not task.done():
        _waiting.add(task)
        task.add_done_callback(_waiting.discard)
    try:
        await task
    except asyncio.CancelledError:
        present = asyncio.current_task()
        if present and present.cancelling():
            raise
        raise Refused(engine.PROXY_STOPPED) from None


def _answer(flow: http.HTTPFlow, reason: Exception) -> None:
    engine.take_off_the_wire(flow)
    error = FAULT
    asked = f"{flow.request.method} {flow.request.path.partition('?')[0]}"
    if isinstance(reason, Refused):
        error = reason.error
        logger.debug("refused %s: %d %s", asked, error.status, error.message)  # the call's own line says so, call_log.py
    else:
        logger.error("%s failed", asked, exc_info=reason)
    flow.response = engine.error_response(error)
