"""What recording costs a request: `python -m tests.bench.recording [CALLS]`. The goal with bodies: 85 % of the throughput stay.

Three proxies before one fake: nothing recorded, calls, calls with bodies. They take turns, so that all see the same machine. A
proxy is busy on one core, so the throughput that stays is the processor time of a call without recording by that of one with it;
where the machine does other things too, calls a second say more about those. Processor time is of Linux.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from operator import truediv
from pathlib import Path

import httpx

from tests.e2e.client import ask
from tests.e2e.conftest import options_for, write_account
from tests.fakes.openai import FakeOpenAI
from tests.proxy import RunningProxy, running_proxy

SETTINGS = {
    "nothing": {"codex_traffic": ""},
    "calls": {},
    "calls and bodies": {"codex_traffic_bodies": "true"},
}
ROUNDS = 9
CLIENTS = 8
# Seconds in which what a round has left to write is written.
SETTLE = 0.4
# What is said comes back, one word an event: a short answer, and one of 400 events.
TEXTS = {"short": "hello there", "long": " ".join(f"word{n}" for n in range(400))}


@contextmanager
def proxies(openai: FakeOpenAI, folder: Path) -> Iterator[dict[str, RunningProxy]]:
    with ExitStack() as stack:
        started = {}
        for name, options in SETTINGS.items():
            home = folder / name
            home.mkdir()
            write_account(home / ".codex-mitm/accounts/default/auth.json", openai.control.login())
            started[name] = stack.enter_context(running_proxy(home, options_for(openai, **options), arguments=["-p", "0"]))
        yield started


async def calls_a_second(proxy: RunningProxy, text: str, calls: int) -> float:
    async with httpx.AsyncClient(trust_env=False, timeout=60, limits=httpx.Limits(max_connections=CLIENTS)) as client:
        turn = asyncio.Semaphore(CLIENTS)

        async def call() -> None:
            async with turn:
                answer = await client.post(f"{proxy.url}/responses", json=ask(text))
                assert answer.status_code == 200 and b"response.completed" in answer.content

        began = time.perf_counter()
        await asyncio.gather(*(call() for _ in range(calls)))
        return calls / (time.perf_counter() - began)


def processor_time(proxy: RunningProxy) -> float:
    """Seconds so far, of all its threads; proc_pid_stat(5), fields 14 and 15."""
    stat = Path(f"/proc/{proxy.process.pid}/stat")
    if not stat.exists():
        return 0.0
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(calls: int) -> None:
    with FakeOpenAI() as openai, tempfile.TemporaryDirectory() as folder, proxies(openai, Path(folder)) as started:
        for proxy in started.values():
            asyncio.run(calls_a_second(proxy, TEXTS["short"], 50))
        print(f"{'medians of ' + str(ROUNDS) + ' rounds':44}{'calls/s':>9}{'stay':>7}{'processor':>14}{'stay':>7}")
        for kind, text in TEXTS.items():
            some = calls if kind == "short" else max(1, calls // 8)
            rates: dict[str, list[float]] = {name: [] for name in started}
            spent: dict[str, list[float]] = {name: [] for name in started}
            for _ in range(ROUNDS):
                for name, proxy in started.items():
                    before = processor_time(proxy)
                    rates[name].append(asyncio.run(calls_a_second(proxy, text, some)))
                    time.sleep(SETTLE)
                    spent[name].append((processor_time(proxy) - before) / some * 1000)
            for name in started:
                # By round: what the machine does besides hits the three of one round alike.
                faster = statistics.median(map(truediv, rates[name], rates["nothing"]))
                cheaper = statistics.median(map(truediv, spent["nothing"], spent[name]))
                line = f"{kind + ' answers, recorded: ' + name:44}{statistics.median(rates[name]):9.0f}{faster:7.0%}"
                print(f"{line}{statistics.median(spent[name]):11.2f} ms{cheaper:7.0%}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
