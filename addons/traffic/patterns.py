"""`redact_patterns` of the policy file: what a deployment wants out of the record, beyond what looks like a secret. Pure."""

import re
import warnings
from typing import Any

from ruamel.yaml import YAML, YAMLError

# Each is run over each body several times; who has more of them has a list of words, and that is one pattern: (ada|bob|...).
MAX_PATTERNS = 50
MAX_LENGTH = 2000


class BadPattern(ValueError):
    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.number = number
        """Which one of the list, from zero; None: the list itself is wrong."""


def patterns_in(policy: str) -> tuple[str, ...]:
    """Of a policy file, whatever else is right or wrong in it. Raises BadPattern."""
    try:
        document = YAML(typ="safe", pure=True).load(policy)
        return validate_patterns(document.get("redact_patterns")) if isinstance(document, dict) else ()
    except YAMLError as e:
        raise BadPattern("it cannot be read as YAML") from e
    except BadPattern as e:
        where = "" if e.number is None else f": number {e.number + 1}"
        raise BadPattern(f"redact_patterns{where}: {e}") from e


def validate_patterns(value: Any) -> tuple[str, ...]:
    """Raises BadPattern."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise BadPattern("it must be a list of regular expressions")
    if len(value) > MAX_PATTERNS:
        raise BadPattern(f"it has {len(value)} entries, more than {MAX_PATTERNS}; one can have several words: (ada|bob)")
    for number, pattern in enumerate(value):
        if problem := _problem(pattern):
            raise BadPattern(problem, number)
    return tuple(value)


def _problem(pattern: Any) -> str | None:
    if not isinstance(pattern, str):
        return "it must be a text; in quotes, if YAML takes it for something else"
    if len(pattern) > MAX_LENGTH:
        return f"it has {len(pattern)} characters, more than {MAX_LENGTH}"
    try:
        with warnings.catch_warnings(action="ignore"):  # of what a later Python will read in another way
            compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as e:
        return f"{pattern[:100]} is not a regular expression ({e})"
    return f"{pattern[:100]} matches the empty string, so it would match everywhere" if compiled.search("") else None
