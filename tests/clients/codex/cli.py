"""The Codex CLI as a subprocess: one question to `codex exec`, or a conversation with `codex app-server`.

It gets a home of its own, no stdin, and a way out into the world that leads nowhere and is written down.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.conftest import write_account
from tests.needs import missing
from tests.pages import PAGES
from tests.proxy import RunningProxy, environment
from tests.rawserver import RawServer, raw_server, read_request, response

CODEX = Path(__file__).parent / "node_modules" / ".bin" / "codex"
# What it does besides: apps and plugins ask chatgpt.com, analytics tell it.
QUIET = ("--disable", "apps", "--disable", "plugins", "-c", "analytics.enabled=false")
# A turn takes half a second; a loaded machine may take many times that.
TIMEOUT = 60.0


@dataclass(frozen=True)
class Turn:
    """What `codex exec --json` printed."""

    code: int
    events: list[dict[str, Any]]
    stderr: str

    @property
    def items(self) -> list[dict[str, Any]]:
        return [event["item"] for event in self.events if event["type"] == "item.completed"]

    @property
    def said(self) -> str:
        assert self.code == 0, f"{self.events}\n{self.stderr}"
        return "\n".join(item["text"] for item in self.items if item["type"] == "agent_message")

    @property
    def ran(self) -> list[str]:
        """The output of each command that it was made to run."""
        return [item["aggregated_output"] for item in self.items if item["type"] == "command_execution"]

    @property
    def complaints(self) -> list[str]:
        """Errors and reconnections, as its user sees them."""
        told = [event for event in self.events if event["type"] == "error"] + [
            item for item in self.items if item["type"] == "error"
        ]
        return [event["message"] for event in told]


@dataclass(frozen=True)
class CodexCli:
    home: Path
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """CODEX_HOME."""
        return self.home / "codex"

    def sign_in(self, document: dict[str, Any]) -> None:
        write_account(self.folder / "auth.json", document)

    def configure(self, config: str) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "config.toml").write_text(config)

    def exec(self, prompt: str, *arguments: str) -> Turn:
        work = self.home / "work"
        work.mkdir(exist_ok=True)
        # The sandbox is not what is tested here, and needs more of the kernel than every machine permits.
        options = ("--json", "--skip-git-repo-check", "-s", "danger-full-access", "-C", str(work), *arguments)
        try:
            result = subprocess.run(
                [CODEX, "exec", *QUIET, *options, prompt],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
            )
        except subprocess.TimeoutExpired as expired:
            raise AssertionError(f"no end after {TIMEOUT:.0f} s:\n{expired.stdout!r}\n{expired.stderr!r}") from None
        return Turn(result.returncode, [json.loads(line) for line in result.stdout.splitlines()], result.stderr)

    def read_account(self, *methods: str) -> list[Any]:
        """What `codex app-server` answers to these methods, which are what the CLI's own /status asks. It must answer all."""
        start = {"id": 0, "method": "initialize", "params": {"clientInfo": {"name": "test", "title": "test", "version": "1"}}}
        asked = [start, {"method": "initialized"}, *({"id": n, "method": name, "params": {}} for n, name in enumerate(methods, 1))]
        with subprocess.Popen(
            [CODEX, "app-server", *QUIET],
            env=self._environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as server:
            assert server.stdin and server.stdout
            try:
                server.stdin.write("".join(json.dumps(message) + "\n" for message in asked))
                server.stdin.flush()
                answers: dict[int, Any] = {}
                while len(answers) <= len(methods):
                    message = json.loads(server.stdout.readline())
                    if "id" in message:
                        answers[message["id"]] = message
            finally:
                server.kill()
        assert [answer for answer in answers.values() if "error" in answer] == []
        return [answers[n]["result"] for n in range(1, len(methods) + 1)]

    def _environment(self) -> dict[str, str]:
        self.folder.mkdir(exist_ok=True)
        return environment(self.home, {"CODEX_HOME": str(self.folder), **self.environ})


@contextmanager
def outside() -> Iterator[RawServer]:
    """An HTTP proxy that lets nobody through. What it has received is what wanted to leave this machine."""

    def refuse(server: RawServer, connection: Any, number: int) -> None:
        server.received.append(read_request(connection))
        connection.sendall(response(403))

    with raw_server(refuse) as server:
        yield server


def wanted_out(server: RawServer) -> set[str]:
    return {request.split()[1].decode() for request in server.received if request}


def by_way_of(server: RawServer) -> dict[str, str]:
    """The environment of a program whose way out is this."""
    return {"HTTPS_PROXY": server.url, "HTTP_PROXY": server.url, "ALL_PROXY": server.url, "NO_PROXY": "127.0.0.1,localhost"}


def skip_without_codex() -> None:
    """It is there after `make test` on a machine with npm; where it is not, these tests are not for that machine."""
    why = "the Codex CLI is not installed: make test does that where npm is" if shutil.which("node") else "node is missing"
    if not shutil.which("node") or not CODEX.exists():
        missing(why)


@dataclass(frozen=True)
class Way:
    """One of docs/codex-cli.md: what it says to write into config.toml, and the environment it says to start the CLI with."""

    config: str
    environ: dict[str, str]


def way(number: int, proxy: RunningProxy, home: Path) -> Way:
    """The page's way of that number, with the port of this proxy and the home of this user."""
    text = PAGES["docs/codex-cli.md"].partition(f"\n## {number}. ")[2].partition("\n## ")[0].replace(":9090", f":{proxy.port}")
    config = "\n".join(re.findall(r"```toml\n(.*?)```", text, re.S))
    command = "".join(re.findall(r"^\$ ((?:[A-Z_]+=\S+ )+)codex ", text, re.M))
    return Way(config, {name: value.replace("~", str(home)) for name, value in re.findall(r"([A-Z_]+)=(\S+)", command)})
