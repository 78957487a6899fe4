"""The lessons of docs/learn.md, done as a learner does them: `make demo ARGS=--stay` in one terminal, a shell in the other.

A console block is commands and what they print; one without a command is what stands at the bottom of the demo's terminal by then.

    python -m tests.lessons        writes what is printed now into the page
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from tests.fakes.control import Control
from tests.proxy import ROOT, environment

PAGE = ROOT / "docs" / "learn.md"
DEMO = "make demo ARGS=--stay"

# What stands on the page for the folder that it was written in.
SOMEWHERE = "/home/ada/codex-mitm"
READY = "Ctrl-C ends it all. From here on: what the fake OpenAI is asked."

# Seconds. A sign-in polls once a second, the proxy looks for new accounts every five, the first start of all may take ten.
PATIENCE = 30.0
# A call is recorded a quarter of a second after its answer: before that the last one is the one before.
RECORDED_AFTER = 0.35

# As RFC 8628 6.1 has it, without vowels and look-alikes.
USER_CODE = r"\b[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}\b"

# What is another one each time. The number in a fake token is its place in the order in which they were made, and stays.
VOLATILE = (
    (r"\S*codex-mitm-demo-\w+", "DEMO"),
    (r"PATH=\S+", "PATH=BIN"),
    (r"127\.0\.0\.1:(?!1455\b)\d+", "127.0.0.1:PORT"),
    (r"token=[0-9a-f]{32}", "token=PASSWORD"),
    (USER_CODE, "CODE"),
    (r"\b(ac|rt)_FAKE_(\d+)_[\w-]*", r"\1_FAKE_\2_TOKEN"),
    (r"\beyJ[\w.-]+", "JWT"),
    (r"(?m)^(verifier +)\S+\.\.\.$", r"\1WORD..."),
    (r"(?m)^state=\S+$", "state=WORD"),
    (r"(?<![\w-])[\w-]{43}(?![\w-])", "WORD"),  # 32 bytes in base64url: a challenge, a state
    (r"\b(?:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|id \.\.\.[0-9a-f]{4})\b", "UUID"),
    (r"\b(resp|msg|fc|rs|req|chatcmpl)[_-][0-9a-f]{4,}", r"\1_ID"),
    (r"\bcall_[\w-]{12,}", "call_ID"),
    (r"(?m)^[0-9a-f]{8}(?=  \d{4}-)", "ID"),
    (r"\b\d{4}-\d\d-\d\d \d\d:\d\d\b", "DATE"),
    (r"\b\d\d \w{3} \d\d:\d\d\b", "DATE"),
    (r"\b\d+\.\d+s", "SECONDS"),
    (r"\b\d+ (s|min|h|days)\b", "SPAN"),
    (r'("(?:created|created_at|exp|iat|resets_at)": ?)\d+', r"\1MOMENT"),
    (r"(retry-after(?:-ms)?: )\d+", r"\1SPAN"),
    (r"\b\d+(\.\d)? ?[KM]iB\b", "SIZE"),
    (r"curl/\d[\w.]*", "curl/VERSION"),
)


@dataclass
class Step:
    lesson: str
    line: int
    command: str
    """Empty for a look at the demo's terminal."""
    printed: list[str] = field(default_factory=list)

    @property
    def in_background(self) -> bool:
        return self.command.endswith(" &")

    @property
    def only_looks(self) -> bool:
        """What was done before may take a moment to be seen, and looking once more does no harm."""
        return self.command.startswith("codex-traffic ") or " $USAGE " in self.command


def steps_of(page: str) -> list[Step]:
    steps: list[Step] = []
    lesson, fence, step = "", "", None
    for number, line in enumerate(page.splitlines(), 1):
        if line.startswith("```"):
            fence, step = "" if fence else line.removeprefix("```"), None
        elif not fence and line.startswith("#"):
            lesson = line.strip("# ")
        elif fence == "console":
            if step and not step.printed and is_open(step.command):
                step.command += f"\n{line}"
                step.line = number
            elif step is None or line.startswith("$ "):
                step = Step(lesson, number, line.removeprefix("$ ") if line.startswith("$ ") else "")
                steps.append(step)
                if not step.command:
                    step.printed.append(line)
            else:
                step.printed.append(line)
    return steps


def is_open(command: str) -> bool:
    """Whether it goes on in the next line."""
    try:
        shlex.split(command)
    except ValueError:
        return True
    return command.endswith("\\")


def masked(lines: list[str]) -> str:
    text = "\n".join(lines)
    for what, word in VOLATILE:
        text = re.sub(what, word, text)
    return text


class Learner:
    def __init__(self, home: Path, demo: subprocess.Popen[bytes], shell: subprocess.Popen[bytes]) -> None:
        self._demo_out, self._shell_out = home / "demo.out", home / "shell.out"
        self._demo, self._shell = demo, shell
        self._typed = 0
        self.codes: dict[str, str] = {}
        """The user code of the page, and that of now."""

    def control(self) -> Control:
        return Control(self._settings()["CONTROL"])

    def everything_printed(self) -> str:
        return self._demo_out.read_text() + self._shell_out.read_text()

    def do(self, step: Step, *, patience: float = PATIENCE) -> list[str]:
        """What is printed; as soon as it is what the page says, if that may take a moment."""
        if step.command == DEMO:
            printed = self._banner()
            for name, value in self._settings(quoted=True).items():
                self._type(f"export {name}={value}")
        elif not step.command:
            printed = self._look_until(step, lambda: self._bottom(len(step.printed)), patience)
        elif step.in_background:
            before = len(self._shell_out.read_text())
            self._send(step.command)
            printed = self._look_until(step, lambda: self._shell_out.read_text()[before:].splitlines(), patience)
        elif step.only_looks:
            time.sleep(RECORDED_AFTER)
            printed = self._look_until(step, lambda: self._type(step.command), patience, pause=RECORDED_AFTER)
        else:
            printed = self._type(step.command)
        self.codes |= dict(zip(codes(step.printed), codes(printed), strict=False))
        return printed

    def _look_until(self, step: Step, look: Callable[[], list[str]], patience: float, pause: float = 0.02) -> list[str]:
        deadline = time.monotonic() + patience
        while masked(printed := look()) != masked(step.printed) and time.monotonic() < deadline:
            time.sleep(pause)
        return printed

    def _type(self, command: str) -> list[str]:
        before = len(self._shell_out.read_text())
        self._typed += 1
        end = f"-- {self._typed} was done --"
        self._send(f"{command}\necho '{end}'")
        deadline = time.monotonic() + PATIENCE
        while end not in (text := self._shell_out.read_text()[before:]):
            assert self._shell.poll() is None and time.monotonic() < deadline, f"{command}\ndoes not end:\n{text}"
            time.sleep(0.01)
        return text.partition(end)[0].splitlines()

    def _send(self, command: str) -> None:
        for of_the_page, of_now in self.codes.items():
            command = command.replace(of_the_page, of_now)
        assert self._shell.stdin
        self._shell.stdin.write(f"{command}\n".encode())
        self._shell.stdin.flush()

    def _banner(self) -> list[str]:
        """What the demo says before anything is asked."""
        deadline = time.monotonic() + PATIENCE
        while READY not in (text := self._demo_out.read_text()):
            assert self._demo.poll() is None and time.monotonic() < deadline, text
            time.sleep(0.02)
        return [*text.partition(READY)[0].splitlines(), READY]

    def _settings(self, *, quoted: bool = False) -> dict[str, str]:
        found = dict(re.findall(r"^    export (\w+)=(.*)$", self._demo_out.read_text(), re.M))
        return found if quoted else {name: shlex.split(value)[0] for name, value in found.items()}

    def _bottom(self, number: int) -> list[str]:
        """Of the demo's terminal; what is asked again and again stands there once."""
        lines = self._demo_out.read_text().splitlines()[len(self._banner()) :]
        return [line for line, _ in groupby(lines) if line][-number:]


def codes(lines: list[str]) -> list[str]:
    return re.findall(USER_CODE, "\n".join(lines))


@contextmanager
def learner(home: Path) -> Iterator[Learner]:
    with (home / "demo.out").open("wb") as demo_out, (home / "shell.out").open("wb") as shell_out:
        demo = start(["sh", "-c", f"echo '{recipe(home)}' && exec '{sys.executable}' -m tests.demo --stay"], home, demo_out)
        shell = start(["sh"], home, shell_out)
    try:
        yield Learner(home, demo, shell)
    finally:
        os.killpg(shell.pid, signal.SIGTERM)  # with what it has in the background
        demo.send_signal(signal.SIGINT)
        for process in (shell, demo):
            process.communicate(timeout=PATIENCE)


def recipe(home: Path) -> str:
    """What make would run, and says that it does. Make itself might find that it has to install something first."""
    command = ["make", "-n", *DEMO.split()[1:]]
    said = subprocess.run(command, cwd=ROOT, env=environment(home), capture_output=True, text=True, check=True).stdout
    return said.splitlines()[-1]


def start(command: list[str], home: Path, out: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(home, {"TZ": "UTC", "PYTHONIOENCODING": "utf-8"}),
        stdin=subprocess.PIPE,
        stdout=out,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def main() -> None:
    lines = PAGE.read_text().splitlines()
    with TemporaryDirectory() as home, learner(Path(home)) as someone:
        changes = []
        for step in steps_of(PAGE.read_text()):
            begin = step.line if step.command else step.line - 1
            printed = [line.replace(str(ROOT), SOMEWHERE).rstrip() for line in someone.do(step, patience=7.0)]
            print(f"$ {step.command}", *printed, sep="\n")
            changes.append((begin, begin + len(step.printed), printed))
    for begin, end, printed in reversed(changes):
        lines[begin:end] = printed
    text = "\n".join([*lines, ""])
    for of_the_page, of_now in someone.codes.items():
        text = text.replace(of_the_page, of_now)
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
