"""Disks that do not take what is recorded: python -m tests.addons.traffic.disks SCENARIO FOLDER, run by test_full_disk.py in a
mount namespace of its own.

Mounts a small disk on FOLDER, does what the scenario says, prints what it saw as JSON.
"""

import json
import logging
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from addons.traffic import queries
from addons.traffic.exchange import Bodies, Body
from addons.traffic.schema import open_to_read
from addons.traffic.writer import Recorder
from tests.addons.traffic.calls import NOON, WAIT, call, record
from tests.auth.program import wait_until
from tests.smalldisk import SmallDisk

QUEUE = 4


class Disk(SmallDisk):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "512k")
        self.path = folder / "traffic.db"


def large(number: int) -> Any:
    # Does not fit into what is left of a page.
    return call(number, bodies=Bodies(client_request=Body.whole(bytes(range(256)) * 200)))


def play(disk: Disk, trouble: str) -> dict[str, Any]:
    # No disk is made read-only while a file on it is open for writing.
    recorder = begun(disk) if trouble == "full" else None
    with getattr(disk, trouble)():
        recorder = recorder or begun(disk)
        recorder.put(large(1))
        wait_until(lambda: recorder.health().trouble != "")
        during = recorder.health()
        taken = [recorder.put(large(n)) for n in range(2, 8)]
    flushed = recorder.flush(WAIT)
    recorder.close(WAIT)
    with closing(open_to_read(disk.path)) as db:
        return {
            "trouble": during.trouble,
            "taken": taken,
            "flushed": flushed,
            "calls": [call.id for call in queries.latest(db, 100)],
            "gaps": [(gap.calls, gap.why) for gap in queries.gaps(db, 0)],
            "state": db.execute("PRAGMA integrity_check").fetchone()[0],
        }


def begun(disk: Disk) -> Recorder:
    recorder = Recorder(disk.path, queue_calls=QUEUE, retry_every=0.05, clock=lambda: NOON)
    recorder.start()
    return recorder


# The trouble, and whether there was a database before it.
SCENARIOS: Mapping[str, tuple[str, bool]] = {
    "full": ("full", True),
    "full_from_the_start": ("full", False),
    "read_only": ("read_only", True),
    "read_only_from_the_start": ("read_only", False),
}


def read(disk: Disk) -> dict[str, Any]:
    """What the commands make of a database that they cannot write beside."""
    record(disk.path, call(0))
    with disk.read_only():
        commands = [["tail", "--no-follow"], ["prune"]]
        program = [sys.executable, "-m", "addons.traffic", "--db", str(disk.path)]
        ran = [subprocess.run([*program, *words], capture_output=True, text=True) for words in commands]
    return {"codes": [one.returncode for one in ran], "out": ran[0].stdout, "err": ran[1].stderr}


def main(scenario: str, folder: str) -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    if scenario == "read":
        return print(json.dumps(read(Disk(Path(folder)))))
    trouble, has_database = SCENARIOS[scenario]
    disk = Disk(Path(folder))
    if has_database:
        record(disk.path, call(0))
    print(json.dumps(play(disk, trouble)))


if __name__ == "__main__":
    main(*sys.argv[1:])
