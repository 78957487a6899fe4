"""A Dockerfile, read: its stages and their instructions, as far as ours go."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclass(frozen=True)
class Step:
    word: str
    flags: tuple[str, ...]
    """`--from=builder`, before the arguments."""
    rest: str


@dataclass(frozen=True)
class Stage:
    base: str
    name: str
    steps: list[Step] = field(default_factory=list)


def parse(text: str) -> list[Stage]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    stages: list[Stage] = []
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            base, *name = rest.split()
            stages.append(Stage(base, name[1] if name else ""))
        elif word:
            stages[-1].steps.append(_step(word, rest.strip()))
    return stages


def _step(word: str, rest: str) -> Step:
    flags = []
    while rest.startswith("--"):
        flag, _, rest = rest.partition(" ")
        flags.append(flag)
        rest = rest.strip()
    return Step(word, tuple(flags), rest)


def expand(text: str, variables: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda found: variables.get(found[1] or found[2], ""), text)


def pairs(rest: str, variables: Mapping[str, str]) -> dict[str, str]:
    """NAME=value NAME="a value", of ENV and LABEL."""
    split = (word.partition("=") for word in shlex.split(rest))
    return {name: expand(value, variables) for name, _, value in split}
