"""A strict OpenAI on four loopback origins: issuer, Codex backend, platform, and a control endpoint for whoever tests.

In a test, with its event loop in a thread of its own:

    with FakeOpenAI() as fake:
        document = fake.control.login(email="ada@example.com")
        httpx.post(f"{fake.backend_url}/responses", ...)

On its own, for another process or another language; the first line of output is a JSON object with the four URLs:

    python -m tests.fakes.openai --until-eof

It is written from what Codex CLI 0.169 sends and from what the real servers are on record for, never from what a proxy of
ours does. Where the two disagree, one of them is wrong, and this one is not changed to make a test pass.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import cached_property
from types import TracebackType
from typing import Self

from .console import Console
from .control import Control
from .faults import NONE, deliver
from .http import Listener, Request, Wire
from .world import World

ORIGINS = ("issuer", "backend", "platform", "control")


class FakeOpenAI:
    """The four origins. A context manager that runs them in a thread; `serve` runs them in a loop that is there already."""

    def __init__(
        self,
        *,
        sentinel: str = "SENTINEL",
        issuer_port: int = 0,
        backend_port: int = 0,
        platform_port: int = 0,
        control_port: int = 0,
    ) -> None:
        self._sentinel = sentinel
        self._ports = dict(zip(ORIGINS, (issuer_port, backend_port, platform_port, control_port), strict=True))
        self._listeners = {origin: Listener(origin, self._serve_request) for origin in ORIGINS}
        self._console = Console(lambda: self._world, self._reset)
        self._world: World
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    @property
    def issuer_url(self) -> str:
        return self._listeners["issuer"].url

    @property
    def backend_url(self) -> str:
        return self._listeners["backend"].url + "/backend-api/codex"

    @property
    def platform_url(self) -> str:
        return self._listeners["platform"].url

    @property
    def control_url(self) -> str:
        return self._listeners["control"].url

    @cached_property
    def control(self) -> Control:
        return Control(self.control_url)

    async def serve(self, ready: Callable[[], object], stop: asyncio.Event) -> None:
        """Open the origins, call `ready`, and serve until `stop` is set."""
        try:
            for origin, listener in self._listeners.items():
                await listener.open(self._ports[origin])
            self._reset(None)
            ready()
            await stop.wait()
        finally:
            for listener in self._listeners.values():
                await listener.close()

    def __enter__(self) -> Self:
        opened = threading.Event()
        failures: list[OSError] = []

        async def run() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            try:
                await self.serve(opened.set, self._stop)
            except OSError as error:  # a port that is taken
                failures.append(error)
                opened.set()

        self._thread = threading.Thread(target=asyncio.run, args=(run(),), name="fake OpenAI", daemon=True)
        self._thread.start()
        opened.wait()
        if failures:
            raise failures[0]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        assert self._loop is not None and self._stop is not None and self._thread is not None
        if "control" in self.__dict__:
            self.control.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        crashes = [crash for listener in self._listeners.values() for crash in listener.crashes]
        if crashes and error is None:
            raise RuntimeError("the fake itself failed, so nothing it answered counts") from crashes[0]

    def _reset(self, sentinel: str | None) -> None:
        self._sentinel = sentinel or self._sentinel
        self._world = World(self.issuer_url, self._sentinel)

    async def _serve_request(self, request: Request, wire: Wire) -> None:
        if request.origin == "control":
            await deliver(request, lambda: self._console.answer(request), wire, NONE, lambda status: None)
        else:
            await self._world.serve(request, wire)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.openai", description="a strict fake OpenAI on loopback")
    for origin in ORIGINS:
        parser.add_argument(f"--{origin}-port", type=int, default=0, metavar="N", help="default: any free port")
    parser.add_argument("--sentinel", default="SENTINEL", help="the word that every opaque secret contains")
    parser.add_argument("--until-eof", action="store_true", help="end when stdin ends")
    options = vars(parser.parse_args())
    until_eof = options.pop("until_eof")
    logging.basicConfig(level=logging.WARNING, format="fake: %(message)s")
    asyncio.run(_run(FakeOpenAI(**options), until_eof))


async def _run(fake: FakeOpenAI, until_eof: bool) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def end(*_: object) -> None:
        loop.call_soon_threadsafe(stop.set)

    def wait_for_eof() -> None:
        # Not sys.stdin.read: a daemon thread in there holds a lock that the interpreter wants at its end.
        while os.read(sys.stdin.fileno(), 4096):
            pass
        end()

    def announce() -> None:
        urls = {
            "issuer_url": fake.issuer_url,
            "backend_url": fake.backend_url,
            "platform_url": fake.platform_url,
            "control_url": fake.control_url,
        }
        print(json.dumps(urls), flush=True)

    # signal.signal and not loop.add_signal_handler, which Windows does not have.
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    if until_eof:
        threading.Thread(target=wait_for_eof, name="until eof", daemon=True).start()
    await fake.serve(announce, stop)


if __name__ == "__main__":
    main()
