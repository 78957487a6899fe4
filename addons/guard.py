"""The one broad `except` of the suite. A hook that raises would skip the addons after it and let the request out regardless
(mitmproxy's `safecall`), so every hook that decides something runs under `guarded`: it fails closed, with OpenAI's envelope.
"""

import asyncio
import functools
import logging
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

from mitmproxy import exceptions, http
from mitmproxy.proxy.mode_specs import ReverseMode

from addons import engine
from addons.wire.errors import OpenAIError

logger = logging.getLogger(__name__)

# The failure is this suite's: no account is to blame for it, and to repeat the request would not help.
OURS = "codex.our_fault"

FAULT = OpenAIError(500, "codex-mitm failed on this request; its log says where")


# Tasks in which a hook is under way that may wait for something: a slot, a token, a better moment. And those of them that may
# wait no longer.
_waiting: set[asyncio.Task[Any]] = set()
_ended: set[asyncio.Task[Any]] = set()


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
    # `is_ours` once more, because every addon asks this about every call.
    return flow.live and not flow.response and not flow.error and isinstance(flow.client_conn.proxy_mode, ReverseMode)


def guarded(hook: Callable[..., Awaitable[None] | None]) -> Callable[..., Any]:
    """For `requestheaders`, `request` and `response` hooks: what escapes becomes the answer.

    They are sync, or async, or sync and return what is to be waited for: a hook that has nothing to do with most calls costs these
    no coroutine. And one that is async comes to its end here, as a rule: it may wait, and most calls need not. Not for
    `responseheaders`, whose answer is still on its way: that is `guarded_head`.
    """

    @functools.wraps(hook)
    def guarded_hook(self: Any, flow: http.HTTPFlow) -> Awaitable[None] | None:
        try:
            waiting = hook(self, flow)
            if waiting is None:
                return None
            if type(waiting) is types.CoroutineType:
                try:
                    waiting = _Rest(waiting, waiting.send(None))
                except StopIteration:  # it had nothing to wait for
                    return None
        except exceptions.AddonHalt:
            raise
        except Exception as e:  # noqa: BLE001 - this is the boundary
            _answer(flow, e)
            return None
        return _wait_for(waiting, flow)

    return guarded_hook


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
    for task in _waiting - _ended:
        _ended.add(task)
        task.cancel()


class _Rest(Generator[Any, None, None]):
    """Of a hook that has begun, and waits for this: to be awaited like the whole of it."""

    def __init__(self, hook: Coroutine[Any, None, None], awaited: Any) -> None:
        self.hook = hook
        self.awaited = awaited
        self.is_told = False

    def __await__(self) -> Generator[Any, None, None]:
        return self

    def send(self, value: None) -> Any:
        if self.is_told:
            return self.hook.send(value)
        self.is_told = True
        return self.awaited

    def throw(self, *reason: Any) -> Any:
        return self.hook.throw(*reason)


async def _wait_for(waiting: Awaitable[None], flow: http.HTTPFlow) -> None:
    """In mitmproxy's task for this event, as `asyncio.timeout` does it: what is cancelled here ends here, and the addons after this
    one still have their turn."""
    task = asyncio.current_task()
    assert task
    _waiting.add(task)
    try:
        await waiting
    except exceptions.AddonHalt:
        raise
    except asyncio.CancelledError:
        if task not in _ended or task.cancelling() > 1:  # by somebody else
            raise
        _answer(flow, Refused(engine.PROXY_STOPPED))
    except Exception as e:  # noqa: BLE001 - this is the boundary
        _answer(flow, e)
    finally:
        _waiting.discard(task)
        if task in _ended:
            _ended.discard(task)
            task.uncancel()


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
