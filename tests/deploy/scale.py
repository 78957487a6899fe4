"""deploy/scale on one machine: three real proxies, HAProxy with its file as it stands, and Redis with its own on another machine.

The other machine is a network namespace, and each proxy has a cable to it of its own, which can be cut: packets then vanish, as
they do when a switch fails, and nobody is told.
"""

import asyncio
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from auth.shared import URL
from tests.deploy.network import own_network
from tests.e2e.conftest import options_for
from tests.e2e.endings import Dialect, Ending, ask_for
from tests.fakes.openai import FakeOpenAI
from tests.needs import need_programs, need_root
from tests.proxy import ROOT, RunningProxy, environment, running_proxy
from tests.redisserver import RedisServer

FILES = ROOT / "deploy" / "scale"
PASSWORD = "CANARY-redis-password"

# In the network of the test, where they meet nobody else's.
FRONT, REDIS_PORT = 9090, 6379
# As HAProxy's file has them. A proxy is called so upstream, too, by which a test knows who has asked.
NAMES = ("one", "two", "three")

SOON = 60.0


@dataclass
class Replica:
    """One of the three, on a port and with a home that it keeps."""

    name: str
    port: int
    home: Path
    options: Mapping[str, str]
    env: Mapping[str, str]
    stack: ExitStack = field(default_factory=ExitStack)
    proxy: RunningProxy | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self.proxy
        return self.proxy.process

    def start(self) -> None:
        self.home.mkdir(exist_ok=True)
        running = running_proxy(self.home, self.options, arguments=("-p", str(self.port)), env=self.env)
        self.proxy = self.stack.enter_context(running)

    def log(self) -> str:
        """Of all that have run here."""
        return "".join(file.read_text(errors="replace") for file in sorted(self.home.glob("*.log")))


@dataclass
class Farm:
    replicas: list[Replica]
    redis: RedisServer
    haproxy_log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{FRONT}/v1"

    def cable(self, replica: Replica, state: str) -> None:
        """`down` and `up`. At the far end: here the addresses stay as they are, and only nobody answers."""
        far = self.redis.program[:2]
        subprocess.run([*far, "ip", "link", "set", f"far-{replica.name}", state], check=True)

    def is_ready(self, replica: Replica) -> bool:
        """As HAProxy has said it last. It takes a proxy that it knows nothing of for one that is."""
        said = re.findall(rf"Server ready/{replica.name} is (UP|DOWN)", self.haproxy_log.read_text())
        return not said or said[-1] == "UP"

    def wait_until_ready(self, replica: Replica, ready: bool = True) -> None:
        wait_until(lambda: self.is_ready(replica) is ready)


@contextmanager
def farm(folder: Path) -> Iterator[tuple[FakeOpenAI, Farm]]:
    need_programs("haproxy", "redis-server", "ip", "nsenter")
    need_root()
    with own_network(), FakeOpenAI() as openai, ExitStack() as stack:
        redis = stack.enter_context(redis_elsewhere(folder))
        replicas = [
            Replica(name, FRONT + n, folder / name, options_for(openai, codex_originator=name), redis.env | {URL: redis_url(n)})
            for n, name in enumerate(NAMES, 1)
        ]
        for replica in replicas:
            stack.enter_context(replica.stack)
            replica.start()
        log = stack.enter_context(haproxy(folder, [replica.port for replica in replicas]))
        yield openai, Farm(replicas, redis, log)


def redis_url(cable: int) -> str:
    return f"redis://:{PASSWORD}@10.77.{cable}.2:{REDIS_PORT}/0"


@contextmanager
def redis_elsewhere(folder: Path) -> Iterator[RedisServer]:
    other_machine = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL)
    try:
        inside = ("nsenter", f"--net=/proc/{other_machine.pid}/ns/net")
        wait_until(lambda: Path(f"/proc/{other_machine.pid}/comm").read_text() == "sleep\n")
        for n, name in enumerate(NAMES, 1):
            near, far = f"near-{name}", f"far-{name}"
            for command in (
                ["ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", str(other_machine.pid)],
                ["ip", "address", "add", f"10.77.{n}.1/24", "dev", near],
                ["ip", "link", "set", near, "up"],
                [*inside, "ip", "address", "add", f"10.77.{n}.2/24", "dev", far],
                [*inside, "ip", "link", "set", far, "up"],
            ):
                subprocess.run(command, check=True)
        place = folder / "redis"
        place.mkdir()
        settings = {"bind": "* -::*", "requirepass": PASSWORD}
        program = (*inside, "redis-server", str(FILES / "redis.conf"))
        redis = RedisServer(place, REDIS_PORT, settings, program, host="10.77.1.2")
        redis.start()
        try:
            yield redis
        finally:
            redis.kill()
    finally:
        other_machine.kill()
        other_machine.wait()


@contextmanager
def haproxy(folder: Path, ports: Sequence[int]) -> Iterator[Path]:
    """Before proxies on these ports; what it says is in the file."""
    addresses = {f"PROXY_{n}": f"127.0.0.1:{port}" for n, port in enumerate(ports, 1)}
    env = environment(folder, {"BIND": f"127.0.0.1:{FRONT}", **addresses})
    logfile = folder / "haproxy.log"
    with logfile.open("wb") as log:
        command = ["haproxy", "-db", "-f", str(FILES / "haproxy.cfg")]
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: process.poll() is not None or listens(FRONT))
        assert process.poll() is None, logfile.read_text()
        yield logfile
    finally:
        process.terminate()
        process.wait(20)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionError:
        return False
    return True


def is_served(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def wait_until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


KINDS: list[tuple[Dialect, bool]] = [("chat", True), ("responses", True), ("chat", False), ("responses", False)]


async def ask_at_once(url: str, count: int, text: str = "hello there", key: str = "any") -> list[Ending]:
    """So many clients, each with a connection of its own; of all kinds."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(trust_env=False, limits=limits) as client:
        headers = {"authorization": f"Bearer {key}"}
        return await asyncio.gather(*(ask_for(client, url, *KINDS[n % 4], text, headers) for n in range(count)))
