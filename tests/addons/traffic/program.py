"""`python -m addons.traffic` as a user meets it: a process, 80 columns, the clock of Greenwich."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.proxy import ROOT, environment

TIMEOUT = 30.0
WIDTH = 80


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@dataclass
class Program:
    home: Path

    @property
    def path(self) -> Path:
        return self.home / ".codex-mitm" / "traffic.db"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "addons.traffic", *arguments]

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        return environment(self.home, {"TZ": "UTC", "PYTHONIOENCODING": "utf-8", **(extra or {})})

    def run(self, *arguments: str, **extra: str) -> Ran:
        ran = subprocess.run(
            self.command(*arguments),
            cwd=ROOT,
            env=self.environment(extra),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
        )
        return Ran(ran.returncode, ran.stdout.decode(extra.get("PYTHONIOENCODING", "utf-8")), ran.stderr.decode())

    def show(self, *arguments: str) -> str:
        """What a command prints that has nothing to complain about."""
        ran = self.run(*arguments)
        assert (ran.code, ran.err) == (0, "")
        return ran.out

    @contextmanager
    def start(self, *arguments: str) -> Iterator["Running"]:
        out, err = (self.home / f"{arguments[0]}.{name}" for name in ("out", "err"))
        with out.open("wb") as out_file, err.open("wb") as err_file:
            process = subprocess.Popen(
                self.command(*arguments),
                cwd=ROOT,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=out_file,
                stderr=err_file,
            )
        try:
            yield Running(process, out, err)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


@dataclass
class Running:
    process: subprocess.Popen[Any]
    out: Path
    err: Path

    def lines(self, number: int) -> list[str]:
        """So many lines of its output, as soon as they are there."""
        self.wait_until(lambda: self.out.read_text().count("\n") >= number)
        return self.out.read_text().splitlines()

    def wait_until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not done():
            assert time.monotonic() < deadline, f"it did not come to that:\n{self.out.read_text()}\n{self.err.read_text()}"
            assert self.process.poll() is None or done(), f"it ended:\n{self.out.read_text()}\n{self.err.read_text()}"
            time.sleep(0.01)
