"""A real redis-server on a free loopback port, in a folder of its own: `with redis_server(folder) as server`.

It can be killed, stopped for a while, and started again on the same port with what it wrote, or with nothing.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from auth.sealing import new_key_file
from tests.needs import missing

TIMEOUT = 20.0


@dataclass
class RedisServer:
    folder: Path
    port: int
    settings: Mapping[str, str]
    program: Sequence[str] = ("redis-server",)
    """What starts it: in a namespace of its own for instance, and with a file that `settings` come on top of."""
    host: str = "127.0.0.1"
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def url(self) -> str:
        password = self.settings.get("requirepass")
        return f"redis://{f':{password}@' if password else ''}{self.host}:{self.port}/0"

    @property
    def data(self) -> Path:
        """Where its files are, if it writes any."""
        return self.folder / "data"

    @property
    def key_file(self) -> Path:
        """What a deployment would seal with."""
        path = self.folder / "redis.key"
        if not path.exists():
            new_key_file(path)
        return path

    @property
    def env(self) -> dict[str, str]:
        """What makes a proxy, or `python -m auth`, use it."""
        return {"CODEX_MITM_REDIS_URL": self.url, "CODEX_MITM_REDIS_KEY_FILE": str(self.key_file)}

    def start(self) -> None:
        self.data.mkdir(exist_ok=True)
        command = [*self.program, "--port", str(self.port), "--bind", self.host, "--dir", str(self.data)]
        for name, value in self.settings.items():
            command += [f"--{name}", *value.split()] if value else [f"--{name}", ""]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + TIMEOUT
        while not self._answers():
            assert self.process.poll() is None and time.monotonic() < deadline, (self.folder / "redis.log").read_text()
            time.sleep(0.01)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """SIGTERM lets it write a snapshot first, if it keeps any."""
        assert self.process
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(how)
        self.process.wait(TIMEOUT)

    def send(self, what: signal.Signals) -> None:
        """SIGSTOP and SIGCONT: it is there and says nothing."""
        assert self.process
        self.process.send_signal(what)

    def restart(self, *, forget: bool = False) -> None:
        """`forget`: as one that wrote nothing down."""
        if self.process and self.process.poll() is None:
            self.kill()
        if forget:
            shutil.rmtree(self.data)
        self.start()

    def run(self, *command: str) -> str:
        """What redis-cli prints."""
        line = ["redis-cli", "-h", self.host, "-p", str(self.port), "--no-auth-warning", *command]
        # An empty one would be a password too.
        env = os.environ | ({"REDISCLI_AUTH": self.settings["requirepass"]} if "requirepass" in self.settings else {})
        ran = subprocess.run(line, env=env, capture_output=True, check=True, timeout=TIMEOUT)
        return ran.stdout.decode(errors="replace").strip()

    def written(self) -> bytes:
        """All bytes of its files, a snapshot of now included."""
        self.run("SAVE")
        return b"".join(path.read_bytes() for path in sorted(self.data.rglob("*")) if path.is_file())

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


@contextmanager
def redis_server(folder: Path, **settings: str) -> Iterator[RedisServer]:
    """`settings` are lines of redis.conf, with _ for -. By default it writes down every command at once, as the README says."""
    if sys.platform == "win32" or not shutil.which("redis-server"):
        missing("redis-server (Debian: redis-server) is missing")
    folder.mkdir(parents=True, exist_ok=True)
    given = {name.replace("_", "-"): value for name, value in settings.items()}
    server = RedisServer(folder, _free_port(), {"save": "", "appendonly": "yes", "appendfsync": "always"} | given)
    server.start()
    try:
        yield server
    finally:
        if server.process and server.process.poll() is None:
            server.kill()


def _free_port() -> int:
    """Given to the server, which keeps it over restarts."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
