"""Looks for the user's patterns, in a process that can be given up: pattern_search.py says why. For one thread."""

import pickle
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

from addons.traffic import pattern_search

# Seconds that one pattern may take for one text or body, in all its readings. A usual one takes 0.2 for 4 MiB.
PATIENCE = 5.0

# As faulthandler ends a process.
GIVEN_UP = 1

WHY = "redact_patterns could not be searched for"


class PatternsFailed(Exception):
    """What was not searched must not be recorded."""

    why = WHY


class Searching:
    """A `secrets.Search`. The process is started by the first search, and by the next one if it had to be given up."""

    def __init__(self, patterns: Sequence[str], patience: float | None = None) -> None:
        self.patterns = patterns
        self._patience = PATIENCE if patience is None else patience
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, texts: Sequence[bytes]) -> list[list[tuple[int, int]]]:
        """Raises PatternsFailed."""
        process = self._process = self._process or self._started()
        found: list[list[tuple[int, int]]] = [[] for _ in texts]
        searched = 0
        try:
            assert process.stdin and process.stdout
            pickle.dump(list(texts), process.stdin)
            process.stdin.flush()
            while searched < len(self.patterns):
                for places, more in zip(found, pickle.load(process.stdout), strict=True):
                    places += more
                searched += 1
        except (OSError, EOFError, pickle.UnpicklingError) as e:
            self.close()
            # The pattern is not repeated here: it may be what nobody shall read.
            number = f"number {searched + 1} of redact_patterns"
            if process.returncode == GIVEN_UP:
                raise PatternsFailed(f"{number} took more than {self._patience:g} seconds") from e
            raise PatternsFailed(f"the search for {number} ended with code {process.returncode}") from e
        return found

    def _started(self) -> subprocess.Popen[bytes]:
        # Isolated: beside that file there are others that have the names of Python's own.
        command = [sys.executable, "-I", pattern_search.__file__, str(self._patience)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdin
        pickle.dump(list(self.patterns), process.stdin)
        return process

    def close(self) -> None:
        process, self._process = self._process, None
        if process:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):  # what is left in its buffer
                    if pipe:
                        pipe.close()
