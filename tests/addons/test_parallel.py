"""`CodexParallel` with more clients than any machine has connections for: who gets in, in which order, and what is left of it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

import pytest
from mitmproxy import http
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import taddons, tflow, tutils
from mitmproxy.utils import asyncio_utils

from addons.parallel import CodexParallel
from addons.redact import CLIENT
from tests.addons.hooks import over

SLOTS, WAITING, KEYS = 64, 2000, 7


@pytest.fixture
async def parallel() -> AsyncIterator[CodexParallel]:
    addon = CodexParallel()
    with taddons.context(addon) as tctx:
        tctx.options.update(codex_max_parallel=SLOTS, codex_queue_size=WAITING, codex_queue_timeout="600")
        yield addon


def question(number: int) -> http.HTTPFlow:
    flow = tflow.tflow(req=tutils.treq(method=b"POST", path=b"/v1/responses"))
    flow.client_conn.proxy_mode = ProxyMode.parse("reverse:https://x")
    flow.metadata[CLIENT] = f"key {number % KEYS}"
    return flow


def in_turns(came: list[http.HTTPFlow], left: list[http.HTTPFlow]) -> list[http.HTTPFlow]:
    """First come first served within a key, and turns between the keys, in the order in which they came."""
    lines: dict[str, deque[http.HTTPFlow]] = {}
    for flow in came:
        lines.setdefault(flow.metadata[CLIENT], deque()).extend([] if flow in left else [flow])
    order = []
    while lines:
        for key in list(lines):
            order.append(lines[key].popleft())
            if not lines[key]:
                del lines[key]
    return order


async def test_two_thousand_wait_for_sixty_four_slots_and_a_third_of_them_leaves(parallel: CodexParallel) -> None:
    present = [question(number) for number in range(SLOTS)]
    for flow in present:
        await over(parallel.request(flow))
    assert parallel.slots.taken == set(present)

    waiting = [question(number) for number in range(WAITING)]
    asked = {flow: asyncio_utils.create_task(over(parallel.request(flow)), name="a request", keep_ref=True) for flow in waiting}
    await asyncio.sleep(0)
    assert list(parallel.waiting) == waiting
    one_more = question(0)
    await over(parallel.request(one_more))
    assert one_more.response and one_more.response.status_code == 429, "the queue holds as many as it should and not one more"

    left = waiting[1::3]
    for flow in left:
        parallel.client_disconnected(flow.client_conn)
    async with asyncio.timeout(20):
        await asyncio.gather(*(asked[flow] for flow in left))
    assert len(parallel.waiting) == WAITING - len(left)
    assert all(flow.error and not flow.response for flow in left)

    got_in: list[http.HTTPFlow] = []
    running = deque(present)
    while running:
        before = set(parallel.slots.taken)
        parallel.end(running.popleft())
        assert len(parallel.slots.taken) <= SLOTS
        for flow in parallel.slots.taken - before:
            await asked[flow]
            got_in.append(flow)
            running.append(flow)
    async with asyncio.timeout(20):
        await asyncio.gather(*asked.values())
    assert got_in == in_turns(waiting, left)
    assert all(not flow.error and not flow.response for flow in got_in)
    assert not (parallel.slots.taken or parallel.slots.waiting or parallel.slots.lines or parallel.waiting)
