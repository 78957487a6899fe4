"""Other names for models, as a policy file gives them: checked, and looked up.

    gpt-4.1-nano: "@smallest"       # exact names first
    /gpt-4.*/: gpt-5.6-luna-low     # then patterns, in the order of the file; the whole name has to match

A target is a model, also with its effort behind it, or one of the list's own: `@smallest`, `@default` (the first one offered).
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

SPECIAL = ("@smallest", "@default")
MAX_ALIASES = 1000
MAX_LENGTH = 200

Fault = Literal["not_a_mapping", "too_many", "bad_name", "bad_pattern", "bad_target"]


class AliasProblem(NamedTuple):
    """What is wrong with one entry; `alias` is empty where it is the whole."""

    fault: Fault
    alias: str
    message: str

    def __str__(self) -> str:
        return f"{self.alias}: {self.message}" if self.alias else self.message


class Aliases(NamedTuple):
    exact: Mapping[str, str] = {}
    patterns: tuple[tuple[re.Pattern[str], str], ...] = ()

    def target(self, spellings: Sequence[str]) -> str | None:
        """Of one name, the spelling as given first."""
        for name in spellings:
            if name in self.exact:
                return self.exact[name]
        # A pattern is the operator's, the name is anybody's: a long one could keep a careless pattern busy for hours.
        short = [name for name in spellings if len(name) <= MAX_LENGTH]
        return next((target for pattern, target in self.patterns if any(map(pattern.fullmatch, short))), None)


NO_ALIASES = Aliases()


def validate_aliases(raw: Any) -> tuple[Aliases, tuple[AliasProblem, ...]]:
    """The entries that are right, and what is wrong with the others. Nothing at all is no aliases."""
    if raw is None:
        return NO_ALIASES, ()
    if not isinstance(raw, dict):
        return NO_ALIASES, (AliasProblem("not_a_mapping", "", "aliases must be a mapping of names to models"),)
    if len(raw) > MAX_ALIASES:
        return NO_ALIASES, (AliasProblem("too_many", "", f"{len(raw)} aliases, at most {MAX_ALIASES} are taken"),)
    exact: dict[str, str] = {}
    patterns: list[tuple[re.Pattern[str], str]] = []
    problems: list[AliasProblem] = []
    for name, target in raw.items():
        if problem := _problem(name, target):
            problems.append(problem)
        elif _is_pattern(name):
            patterns.append((re.compile(name[1:-1]), target))
        else:
            exact[name] = target
    return Aliases(exact, tuple(patterns)), tuple(problems)


def _is_pattern(name: str) -> bool:
    return len(name) > 2 and name[0] == name[-1] == "/"


def _problem(name: Any, target: Any) -> AliasProblem | None:
    # YAML reads `4.1:` as a number.
    if not isinstance(name, str) or not 0 < len(name) <= MAX_LENGTH:
        return AliasProblem("bad_name", str(name)[:MAX_LENGTH], f"must be a string of at most {MAX_LENGTH} characters, in quotes")
    if not isinstance(target, str) or not 0 < len(target) <= MAX_LENGTH:
        return AliasProblem("bad_target", name, "must name a model")
    if target.startswith("@") and target not in SPECIAL:
        return AliasProblem("bad_target", name, f"{target} is none of {', '.join(SPECIAL)}")
    if _is_pattern(name):
        try:
            with warnings.catch_warnings(action="ignore"):  # of what a later Python will read in another way
                re.compile(name[1:-1])
        except (re.error, OverflowError, RecursionError) as e:
            return AliasProblem("bad_pattern", name, f"is no regular expression: {e}")
    return None
