"""What recording costs and how long the commands take on a full database: `python -m tests.bench.traffic [CALLS]`.

The goals, with 100,000 calls: `tail` starts in under 0.3 s, `usage` takes under 1 s, `explain` under 0.1 s.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from addons.traffic import recording, secrets
from addons.traffic.exchange import Body
from addons.traffic.packing import pack
from addons.traffic.schema import open_to_write, transaction
from addons.traffic.writer import Recorder
from tests.addons.traffic.calls import NOON, call, with_bodies
from tests.proxy import ROOT

ROUNDS = 7
MODELS = ("gpt-6-luna", "gpt-6.1-sol", "gpt-6-terra")

GOALS = {
    "tail --no-follow": 0.3,
    "usage": 1.0,
    "usage --by client --days 30": 1.0,
    "explain last": 0.1,
    "explain MIDDLE": 0.1,
    "drift": 0.3,
}


def fill(path: Path, calls: int) -> float:
    """Seconds; by transactions as large as the recorder's largest."""
    began = time.perf_counter()
    connection = open_to_write(path)
    tables = recording.Tables(connection)
    for first in range(0, calls, 200):
        with transaction(connection):
            numbers = range(first, min(first + 200, calls))
            some = (call(number, started=NOON + number * 6, model_used=MODELS[number % 3]) for number in numbers)
            tables.insert([recording.record_of(exchange) for exchange in some])
    connection.close()
    return time.perf_counter() - began


def seconds(run: Callable[[], object]) -> tuple[float, float]:
    """The best and the middle one: the machine does other things too."""
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return min(taken), statistics.median(taken)


def command(path: Path, words: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "addons.traffic", "--db", str(path), *words.split()], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
    )


def text_of(size: int) -> bytes:
    words = json.dumps(
        {"role": "user", "content": "The quick brown fox jumps over the lazy dog; risk-free, that-is-to-say. "}
    ).encode()
    return (words * (size // len(words) + 1))[:size]


def main(calls: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "traffic.db"
        filled = fill(path, calls)
        print(
            f"{calls} calls written in {filled:.1f} s, {filled / calls * 1e6:.0f} µs each, {path.stat().st_size / 2**20:.0f} MiB\n"
        )
        print(f"{'with them':40}{'best':>9}{'median':>9}{'goal':>9}")
        for words, goal in GOALS.items():
            best, middle = seconds(partial(command, path, words.replace("MIDDLE", f"{calls // 2:08x}")))
            print(f"{words:40}{best:8.3f}s{middle:8.3f}s{goal:8.1f}s")

        four = text_of(4 << 20)
        hostile = {"eyJ over and over": b"eyJ" * (len(four) // 3), "sk- over and over": b"sk-" * (len(four) // 3)}
        hostile |= {"backslashes": b"\\u00" + b"\\" * len(four), "dots": b"eyJ" + b"." * len(four)}
        print(f"\n{'with 4 MiB':40}{'best':>9}{'median':>9}")
        for name, body in ({"search for secrets": four} | hostile).items():
            best, middle = seconds(partial(secrets.find, body))
            print(f"{name:40}{best:8.3f}s{middle:8.3f}s")
        best, middle = seconds(lambda: pack(Body.whole(four), len(four)))
        print(f"{'search and pack':40}{best:8.3f}s{middle:8.3f}s")

        recorder = Recorder(path)
        recorder.start()
        exchange = with_bodies(1)
        best, _ = seconds(lambda: [recorder.put(exchange) for _ in range(100)])
        recorder.close(20)
        print(f"\nput() takes {best / 100 * 1e6:.1f} µs of the caller's time")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
