"""kill -9 while calls are written, again and again into the same file."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

from addons.traffic.exchange import Bodies
from addons.traffic.recorded import load
from addons.traffic.schema import open_to_read
from tests.addons.traffic.calls import call, with_bodies
from tests.proxy import ROOT

ROUNDS = 3


def test_the_database_opens_and_has_every_call_that_was_written(tmp_path: Path) -> None:
    path, promised = tmp_path / "traffic.db", 0
    for number in range(ROUNDS):
        killed = subprocess.Popen(
            [sys.executable, "-m", "tests.addons.traffic.killed", str(path)], cwd=ROOT, stdout=subprocess.PIPE
        )
        with killed:
            assert killed.stdout
            for _ in range(3 + number):
                promised = int(killed.stdout.readline())
            killed.kill()
        with closing(open_to_read(path)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            for wanted in (1, promised):
                assert load(db, call(wanted).id).bodies == with_bodies(wanted).bodies != Bodies()
            stories = db.execute("SELECT count(*) FROM calls JOIN stories USING (seq)").fetchone()[0]
            assert stories == db.execute("SELECT count(*) FROM calls").fetchone()[0] >= promised
