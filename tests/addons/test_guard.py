import asyncio
import json
import logging

import pytest
from mitmproxy import exceptions, http
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow

from addons import engine
from addons.guard import Refused, guarded, is_open
from addons.wire.errors import OpenAIError


class Example:
    def __init__(self, escapes: Exception | None) -> None:
        self.escapes = escapes

    @guarded
    def request(self, flow: http.HTTPFlow) -> None:
        if self.escapes:
            raise self.escapes

    @guarded
    async def response(self, flow: http.HTTPFlow) -> None:
        if self.escapes:
            raise self.escapes


async def run(example: Example, hook: str) -> http.HTTPFlow:
    flow = tflow.tflow(resp=hook == "response")
    flow.request.path = "/v1/responses?key=CANARY"
    engine.put_on_the_wire(flow, {"authorization": "Bearer CANARY"})
    result = getattr(example, hook)(flow)
    if result is not None:
        await result
    return flow


HOOKS = pytest.mark.parametrize("hook", ["request", "response"])


@HOOKS
async def test_a_hook_that_works_is_not_in_the_way(hook: str) -> None:
    flow = await run(Example(None), hook)
    assert (flow.response is not None) == (hook == "response")
    assert engine.is_on_the_wire(flow)


@HOOKS
async def test_a_bug_is_a_500_without_a_credential(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        flow = await run(Example(ValueError("bug")), hook)
    assert flow.response and flow.response.status_code == 500
    assert json.loads(flow.response.content or b"")["error"]["code"] == "server_error"
    assert b"bug" not in (flow.response.content or b"")
    assert not engine.is_on_the_wire(flow)
    assert caplog.records[-1].levelno == logging.ERROR and "ValueError: bug" in caplog.text
    assert "CANARY" not in caplog.text


@HOOKS
async def test_a_decision_is_the_answer_and_no_bug(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "addons.guard"):
        flow = await run(Example(Refused(OpenAIError(404, "no such thing", code="gone", headers={"x-y": "z"}))), hook)
    assert flow.response and flow.response.status_code == 404
    assert flow.response.headers["x-y"] == "z" and flow.response.headers["x-request-id"].startswith("req_")
    assert [record.message for record in caplog.records] == ["refused GET /v1/responses: 404 no such thing"]


async def test_a_hook_may_wait_as_often_as_it_likes_and_be_interrupted() -> None:
    told = []

    class Waits:
        @guarded
        async def response(self, flow: http.HTTPFlow) -> None:
            for number in range(3):
                await asyncio.sleep(0)
                told.append(number)
            try:
                async with asyncio.timeout(0.001):
                    await asyncio.Event().wait()
            except TimeoutError:
                told.append(3)
            await asyncio.sleep(0)
            raise Refused(OpenAIError(418, "enough"))

    flow = tflow.tflow(resp=True)
    await Waits().response(flow)
    assert told == [0, 1, 2, 3]
    assert flow.response and flow.response.status_code == 418


async def test_who_waits_for_a_hook_can_be_cancelled() -> None:
    ends = []

    class Waits:
        @guarded
        async def response(self, flow: http.HTTPFlow) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ends.append(flow)

    flow = tflow.tflow(resp=True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await Waits().response(flow)
    assert ends == [flow]
    assert flow.response and flow.response.status_code == 200


@HOOKS
async def test_mitmproxys_own_signal_passes(hook: str) -> None:
    with pytest.raises(exceptions.AddonHalt):
        await run(Example(exceptions.AddonHalt()), hook)


@pytest.mark.parametrize(
    ("mode", "answered", "live", "expected"),
    [
        ("reverse:https://x", False, True, True),
        ("reverse:https://x", True, True, False),
        ("reverse:https://x", False, False, False),
        ("regular", False, True, False),
    ],
)
def test_open_requests(mode: str, answered: bool, live: bool, expected: bool) -> None:
    flow = tflow.tflow(resp=answered, live=live)
    flow.client_conn.proxy_mode = ProxyMode.parse(mode)
    assert is_open(flow) is expected
