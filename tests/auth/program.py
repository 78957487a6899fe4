"""`python -m auth` as a user meets it: a process in a home of its own, and a browser, against the fake OpenAI.

Everything it prints is kept, and `Program.check` holds it against every secret that the fake has given out or was shown.
"""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

from auth.sidecar import Memory, pack
from tests.fakes.openai import FakeOpenAI
from tests.proxy import ROOT, environment

TIMEOUT = 30.0
SIGN_IN = "codex-mitm: hint: run `make login` (or `python -m auth login`) in codex-mitm's folder\n"

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs signals, resource limits or a pseudo-terminal")

# What would let a test open a browser on the developer's screen.
SCREEN = {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER", "SSH_CONNECTION", "SSH_TTY"}


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


class Running:
    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.process = process
        self._out, self._err = out, err

    def out(self) -> str:
        return self._out.read_text()

    def err(self) -> str:
        return self._err.read_text()

    def line(self, number: int = 0) -> str:
        """A line of stdout, as soon as it is whole."""
        self._wait_until(lambda: self.out().count("\n") > number)
        return self.out().splitlines()[number]

    def wait_for(self, text: str) -> None:
        self._wait_until(lambda: text in self.err())

    def type(self, text: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def interrupt(self) -> Ran:
        self.process.send_signal(signal.SIGINT)
        return self.end()

    def end(self) -> Ran:
        code = self.process.wait(TIMEOUT)
        return Ran(code, self.out(), self.err())

    def _wait_until(self, done: Callable[[], bool]) -> None:
        wait_until(lambda: self.process.poll() is not None or done())
        assert done(), f"it ended, or did not come to that:\n{self.out()}\n{self.err()}"


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not done() and time.monotonic() < deadline:
        time.sleep(0.01)


@dataclass
class Program:
    home: Path
    fake: FakeOpenAI
    printed: list[Path] = field(default_factory=list)

    def file(self, account: str = "default", name: str = "auth.json") -> Path:
        return self.home / ".codex-mitm" / "accounts" / account / name

    def place(self, fields: dict[str, Any], account: str = "default", **remembered: Any) -> Path:
        """An account of ours, without the sign-in; and what the sidecar says of it."""
        path = self.file(account)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(fields))
        self.file(account, "codex-mitm.json").write_bytes(pack(Memory(**remembered)))
        return path

    def place_cli(self, fields: dict[str, Any]) -> Path:
        """The Codex CLI's account, where the CLI keeps it."""
        path = self.home / ".codex" / "auth.json"
        path.parent.mkdir()
        path.write_text(json.dumps(fields))
        return path

    def run(self, *arguments: str, text: str = "", **how: Any) -> Ran:
        with self.start(*arguments, stdin=subprocess.PIPE, **how) as running:
            running.type(text)
            running.process.stdin.close()  # type: ignore[union-attr]
            return running.end()

    def run_here(self, command: str, *arguments: str, **how: Any) -> Ran:
        """With the fake for an issuer."""
        return self.run(command, "--issuer", self.fake.issuer_url, *arguments, **how)

    @contextmanager
    def start(
        self,
        *arguments: str,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        env: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        room: int | None = None,
        **how: Any,
    ) -> Iterator[Running]:
        """`room` is the size that no file of it can exceed: unlike a mode, a limit binds root too."""
        number = len(self.printed) // 2
        out, err = self.home / f"{number}.out", self.home / f"{number}.err"
        self.printed += [out, err]
        bare = {name: value for name, value in environment(self.home).items() if name not in SCREEN}
        if room is not None:
            bare |= {"COVERAGE_PROCESS_START": "", "COVERAGE_PROCESS_CONFIG": ""}  # its file is larger
        with out.open("wb") as out_file, err.open("wb") as err_file:
            process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "auth", *arguments],
                cwd=ROOT,
                env=bare | dict(env or {}),
                stdin=stdin,
                stdout=out_file,
                stderr=err_file,
                preexec_fn=None if sys.platform == "win32" else partial(_begin, room),
                **how,
            )
        try:
            yield Running(process, out, err)
        finally:
            if process.stdin and not process.stdin.closed:
                process.stdin.close()
            if process.poll() is None:
                process.kill()
                process.wait()

    def log_in(self, *arguments: str, as_: str = "ada@example.com") -> None:
        """By device, because that takes no port."""
        self.fake.control.settings(device_interval="1", sign_in_email=as_)
        with self.start("login", "--device", "--issuer", self.fake.issuer_url, *arguments) as login:
            self.fake.control.approve(login.line(1))
            assert login.end().code == 0, login.err()

    def check(self) -> None:
        """No secret in what was printed, no traceback, and no line that is wider than it has to be."""
        secrets = self.fake.control.tokens()
        for path in self.printed:
            text = path.read_text()
            assert [secret for secret in secrets if secret in text] == []
            assert "Traceback" not in text
            wide = [line for line in text.splitlines() if len(line) > 80]
            assert [line for line in wide if not re.search('/|^codex-mitm:|^ +"|sha256:', line)] == []


def consent(url: str, *, allow: bool = True) -> httpx.Response:
    """The user at the browser; the page on which they end up."""
    with httpx.Client(trust_env=False, follow_redirects=True, timeout=TIMEOUT) as browser:
        page = browser.get(url)
        links: list[str] = re.findall(r'href="(/oauth/[^"]+)"', page.text)
        link = next(link for link in links if link.endswith(f"allow={allow:d}"))
        return browser.get(str(page.url.join(link.replace("&amp;", "&"))))


def _begin(room: int | None) -> None:
    import resource

    # A shell that runs the tests in the background has them ignore Ctrl-C, which is inherited.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if room is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))


def callback_of(url: str, **query: str) -> str:
    """An address that the issuer might send this sign-in's browser to; its state is added unless it is given."""
    asked = httpx.URL(url).params
    return str(httpx.URL(asked["redirect_uri"]).copy_merge_params({"state": asked["state"], **query}))


def visit(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers=headers, trust_env=False, follow_redirects=True, timeout=TIMEOUT)
