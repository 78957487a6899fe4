"""What processes have used, from Linux's /proc."""

import os
import re
import time
from collections import defaultdict
from pathlib import Path

PROC = Path("/proc")


def family(pid: int) -> list[int]:
    """The process and all that it has started, and those in turn."""
    children = defaultdict(list)
    for path in PROC.glob("[0-9]*/stat"):
        try:
            children[_parent(path.read_text())].append(int(path.parent.name))
        except FileNotFoundError:
            continue  # it has ended in the meantime
    found = [pid]
    for each in found:
        found += children[each]
    return found


def _parent(stat: str) -> int:
    return int(stat.rpartition(")")[2].split()[1])


def processor_time(pids: list[int]) -> float:
    """Seconds so far, of all their threads, those that have ended too.

    By their CPU clocks, whose numbers are made as clock_getcpuclockid(3) does: `stat` has the same in ticks of 10 ms.
    """
    return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids)


def resident(pids: list[int]) -> int:
    """Bytes of memory that are theirs alone: what several of them share, and what is only mapped from files, is not counted."""
    return sum(int(kb) for pid in pids for kb in re.findall(r"RssAnon:\s+(\d+) kB", (PROC / f"{pid}/status").read_text())) * 1024


def allow_many_files() -> None:
    """As many as this user may have open: hundreds of streams want two of them each. Children have it from here."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def machine() -> dict[str, object]:
    found = re.search(r"model name\s*: (.*)", (PROC / "cpuinfo").read_text())
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": found[1] if found else os.uname().machine,
        "kernel": os.uname().release,
    }
