"""A small file that others write while this process reads it: has it changed, and what does it say when nobody is at it.

Most programs empty a file before they write it anew, and half of a list of keys may be a list of keys. So what is as young as a
write takes is waited for, and an empty file is believed only when it has been empty for longer than any of them takes.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

# Seconds for which it has to have stayed as it is, and how often that is tried. The clock of files ticks every 10 ms at the
# slowest: what is written after a rest has another stamp than what was written before it.
REST, TRIES = 0.02, 2
# Seconds. Nobody waits for that: whoever has asked goes on with what was there before.
EMPTY_REST = 1.0


# Is another when the file has changed: the time of that in nanoseconds, the size, the inode.
type Stamp = tuple[int, int, int]


def stamp_of(path: Path) -> Stamp | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def read_at_rest(
    path: Path, limit: int, empty_rest: float = EMPTY_REST, sleep: Callable[[float], object] = time.sleep
) -> tuple[Stamp | None, bytes] | None:
    """Up to `limit` bytes of it; None if it is not at rest. Blocks for REST * TRIES at most. Raises OSError."""
    for _ in range(TRIES):
        stamp = stamp_of(path)
        changed_ns, size, _ = stamp or (0, 0, 0)
        age = time.time() - changed_ns / 1e9 if stamp else REST
        if 0 <= age < REST:  # a file from the future has no age
            sleep(REST - age)
            continue
        if stamp and not size and 0 <= age < empty_rest:
            return None
        with path.open("rb") as file:
            content = file.read(limit)
        if stamp_of(path) == stamp:
            return stamp, content
    return None
