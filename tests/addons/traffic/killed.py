"""Records call after call until it is killed: python -m tests.addons.traffic.killed DATABASE, run by test_killed.py.

Prints how many calls are on the disk for certain, and goes on meanwhile.
"""

import itertools
import sys
from pathlib import Path

from addons.traffic.writer import Recorder
from tests.addons.traffic.calls import NOON, WAIT, with_bodies


def main(path: Path) -> None:
    recorder = Recorder(path, tidy_every=0.01, clock=lambda: NOON)
    recorder.start()
    for number in itertools.count(1):
        recorder.put(with_bodies(number))
        if number % 20 == 0:
            assert recorder.flush(WAIT)
            print(number, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
