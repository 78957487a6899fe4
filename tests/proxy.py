"""The real proxy as a subprocess: mitmdump or mitmweb with our entry, from a foreign folder, with a home of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ENTRY = ROOT / "addons" / "codex_auth.py"
BIN = Path(sys.executable).parent

_LISTENING = re.compile(r"proxy.* listening at (?:\*|[\d.]+|\[[^]]+\]):(\d+)")
# A cold start is under two seconds here; a loaded machine may take ten times that.
START_TIMEOUT = 40.0
# What a proxy says that would let requests finish first.
WAITS = "a second Ctrl-C or SIGTERM ends the wait"


class ProxyDied(Exception):
    """The process ended before it listened; the message is its log."""


def free_port() -> int:
    """For a program that cannot be told to take any: mitmweb's own pages."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def failing_start(home: Path, options: Mapping[str, str] | None = None, **more: Any) -> str:
    """The log of a proxy that must end by itself, with an exit code that says so."""
    try:
        with running_proxy(home, options, **more) as proxy:
            assert proxy.process.wait(20) == 1  # a moment passes between listening and reading what else went wrong
            return proxy.log()
    except ProxyDied as died:
        return str(died)


@dataclass
class RunningProxy:
    process: subprocess.Popen[bytes]
    logfile: Path
    port: int

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The base URL that a client is given."""
        return f"{self.origin}/v1"

    def log(self) -> str:
        return self.logfile.read_text(errors="replace")

    def wait_for_log(self, text: str, timeout: float = 20.0) -> None:
        deadline = time.monotonic() + timeout
        while text not in self.log():
            assert time.monotonic() < deadline, f"{text!r} did not appear in:\n{self.log()}"
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGTERM, timeout: float = 20.0) -> int:
        """Ends the process if it is still there, and requests that are under way with it; returns its exit code."""
        if self.process.poll() is None:
            begun = len(self.log())
            self.process.send_signal(how)
            deadline = time.monotonic() + timeout
            while self.process.poll() is None and time.monotonic() < deadline:
                if WAITS in self.log()[begun:]:
                    self.process.send_signal(how)
                    break
                time.sleep(0.02)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a user who has nothing: a home of its own, no accounts, no proxies, no settings of ours."""
    drop = re.compile(r"(?i)^(.*_proxy|CODEX_.*|OPENAI_.*|SSL_CERT_FILE|SSLKEYLOGFILE|MITMPROXY_SSLKEYLOGFILE|MAKE.*|MFLAGS)$")
    env = {name: value for name, value in os.environ.items() if not drop.match(name)}
    return env | {"HOME": str(home), "USERPROFILE": str(home), "PYTHONUNBUFFERED": "1"} | dict(extra or {})


@contextmanager
def running_proxy(
    home: Path,
    options: Mapping[str, str] | None = None,
    *,
    arguments: Sequence[str] = ("-p", "0"),
    program: str = "mitmdump",
    scripts: Sequence[Path] = (ENTRY,),
    env: Mapping[str, str] | None = None,
    inside: Sequence[str] = (),
) -> Iterator[RunningProxy]:
    """Starts the proxy and waits until it listens. `options` become `--set name=value`; a list is given with one line an entry.

    `inside` is a command that runs the one after it, in a namespace of its own for instance.
    """
    logfile = home / f"{program}-{time.monotonic_ns()}.log"
    command = [*inside, str(BIN / program), *[word for script in scripts for word in ("-s", str(script))], *arguments]
    for name, value in (options or {}).items():
        for line in value.split("\n"):
            command += ["--set", f"{name}={line}"]
    foreign = home / "somewhere else"
    foreign.mkdir(exist_ok=True)
    with logfile.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=foreign, env=environment(home, env), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    proxy = RunningProxy(process, logfile, 0)
    try:
        proxy.port = _wait_for_port(proxy)
        yield proxy
    finally:
        proxy.stop()


def _wait_for_port(proxy: RunningProxy) -> int:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if found := _LISTENING.search(proxy.log()):
            return int(found[1])
        if proxy.process.poll() is not None:
            break
        time.sleep(0.02)
    raise ProxyDied(proxy.log())
