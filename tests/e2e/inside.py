"""A script for mitmproxy, before the entry: lets a test look into a running proxy, and do to it what a user can.

GET  /inside           slots, the queue and the connections, as JSON
GET  /inside/memory    what is alive besides: flows, asyncio tasks, open files
GET  /inside/alive     the flows that are alive; from then on until /inside/memory Python looks for no garbage
POST /inside           sets options, {"codex_max_parallel": 2}; 400 with the reason if that is refused
X-Kill: HOOK           on any other request: the flow is killed in that hook
"""

import asyncio
import gc
import json
import os
from collections import Counter
from typing import Any

from mitmproxy import ctx, exceptions, http


class Inside:
    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if hook := flow.request.headers.get("x-kill"):
            flow.metadata["kill"] = hook

    def request(self, flow: http.HTTPFlow) -> None:
        if flow.request.path.startswith("/inside"):
            flow.response = _answer(flow.request)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if flow.metadata.get("kill") == "responseheaders":
            flow.kill()

    def response(self, flow: http.HTTPFlow) -> None:
        if flow.metadata.get("kill") == "response":
            flow.kill()


def _answer(request: http.Request) -> http.Response:
    if request.method == "POST":
        try:
            ctx.options.update(**json.loads(request.content or b""))
        except exceptions.OptionsError as e:
            return http.Response.make(400, str(e))
    return http.Response.make(200, json.dumps(LOOKS[request.path]()))


def _flows() -> int:
    return sum(isinstance(found, http.HTTPFlow) for found in gc.get_objects())


def _alive() -> dict[str, Any]:
    gc.disable()
    return {"flows": _flows()}


def _counts() -> dict[str, Any]:
    slots = ctx.master.addons.get("codexparallel").slots
    return {
        "taken": len(slots.taken),
        "waiting": len(slots.waiting),
        "connections": len(ctx.master.addons.get("proxyserver").connections),
    }


def _memory() -> dict[str, Any]:
    gc.enable()
    gc.collect()
    accounts, parallel = (ctx.master.addons.get(name) for name in ("codexaccounts", "codexparallel"))
    return {
        **_counts(),
        "lines": len(parallel.slots.lines),
        "futures": len(parallel.waiting),
        "loans": sum(account.in_flight for account in accounts.roster.pool.accounts.values()),
        "flows": _flows(),
        "tasks": Counter(_kind(task.get_name()) for task in asyncio.all_tasks()),
        "files": len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0,
    }


def _kind(name: str) -> str:
    """Without what tells one task from another of its kind: its number, or what mitmproxy says of it in a test."""
    return name.partition(" [")[0].rstrip("0123456789")


LOOKS = {"/inside": _counts, "/inside/memory": _memory, "/inside/alive": _alive}

addons = [Inside()]
