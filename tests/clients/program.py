"""A program with an SDK in it, in a process of its own and asked question by question; js/serve.js is the other half of some."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.proxy import RunningProxy, environment

# No question takes a second; a loaded machine may take many times that.
ANSWER_TIMEOUT = 30.0


@dataclass(frozen=True)
class Failure:
    """The error that the SDK threw, as a program sees it. One in the middle of a stream has no status of its own."""

    kind: str
    message: str
    status: int | None
    code: str | None
    param: str | None
    request_id: str | None


@dataclass(frozen=True)
class Program:
    process: subprocess.Popen[str]
    stderr: Path

    def saw(self, of: str, way: str, **question: Any) -> dict[str, Any]:
        """What the program has in hand after it asked: it must have gone well."""
        saw = self._ask(of, way, question)
        assert "error" not in saw, saw
        return saw

    def failed(self, of: str, way: str, **question: Any) -> Failure:
        """The error that it got instead: it must have got one."""
        saw = self._ask(of, way, question)
        assert saw.keys() == {"error"}, f"taken for a whole answer: {saw}"
        return Failure(**saw["error"])

    def _ask(self, of: str, way: str, question: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        deadline = threading.Timer(ANSWER_TIMEOUT, self.process.kill)
        deadline.start()
        try:
            self.process.stdin.write(json.dumps({"of": of, "way": way, **question}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        finally:
            deadline.cancel()
        assert line, f"the program ended, or was ended after {ANSWER_TIMEOUT:.0f} s without an answer:\n{self.stderr.read_text()}"
        saw: dict[str, Any] = json.loads(line)
        return saw


@contextmanager
def running_program(script: Path, proxy: RunningProxy, home: Path, runs: str | Path = "node") -> Iterator[Program]:
    stderr = home / f"{script.stem}.log"
    with (
        stderr.open("w") as log,
        subprocess.Popen(
            [runs, script, proxy.url],
            cwd=home,
            env=environment(home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            encoding="utf-8",
        ) as process,
    ):
        try:
            yield Program(process, stderr)
        finally:
            process.kill()
