import random
import sqlite3
from contextlib import closing
from pathlib import Path

from addons.traffic import queries, retention
from addons.traffic.exchange import Bodies, Body, Exchange
from addons.traffic.retention import DAY, Limits
from addons.traffic.schema import open_to_write
from addons.traffic.writer import Recorder
from tests.addons.traffic.calls import NOON, call, record
from tests.auth.program import wait_until

NEVER = Limits(days=10**6, bytes=1 << 40)


def tidied(path: Path, limits: Limits, now: float) -> list[int]:
    """What each step did."""
    with closing(open_to_write(path)) as db:
        steps = []
        while done := retention.step(db, limits, now):
            steps.append(done)
        return steps


def ids(path: Path) -> list[str]:
    with closing(open_to_write(path)) as db:
        return [call.id for call in queries.latest(db, 10**6)]


def large(number: int) -> Exchange:
    # Random, or it would be packed away to nothing.
    body = Body.whole(random.Random(number).randbytes(100_000))
    return call(number, bodies=Bodies(client_request=body))


def test_what_is_too_old_goes(tmp_path: Path) -> None:
    path = record(tmp_path / "traffic.db", *(call(n, started=NOON + n * DAY) for n in range(10)))
    tidied(path, NEVER._replace(days=4.5), NOON + 9 * DAY)
    assert ids(path) == [call(n).id for n in range(5, 10)]


def test_what_is_too_much_goes_the_oldest_first_and_the_file_shrinks(tmp_path: Path) -> None:
    path = record(tmp_path / "traffic.db", *(large(n) for n in range(40)), body_limit=1 << 20)
    before = path.stat().st_size
    steps = tidied(path, NEVER._replace(bytes=1_000_000), NOON)
    assert before > 4_000_000 and path.stat().st_size <= 1_000_000
    left = ids(path)
    assert left == [call(n).id for n in range(40 - len(left), 40)] and 5 <= len(left) <= 9
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(DISTINCT seq) FROM bodies").fetchone()[0] == len(left)
        assert db.execute("SELECT count(*) FROM stories").fetchone()[0] == len(left)
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert steps


def test_no_step_takes_much_at_once(tmp_path: Path) -> None:
    path = record(tmp_path / "traffic.db", *(call(n) for n in range(1, 1001)))
    steps = tidied(path, NEVER._replace(days=1), NOON + 10 * DAY)
    assert len(steps) >= 5 and max(steps) <= max(retention.STEP, retention.PAGES)
    assert ids(path) == []


def test_nothing_goes_without_need(tmp_path: Path) -> None:
    path = record(tmp_path / "traffic.db", *(call(n) for n in range(5)))
    assert tidied(path, Limits(), NOON + DAY) == []
    assert len(ids(path)) == 5


def test_the_sums_stay_when_the_calls_are_gone(tmp_path: Path) -> None:
    path = record(tmp_path / "traffic.db", call(1), call(2))
    tidied(path, NEVER._replace(days=1), NOON + 30 * DAY)
    with closing(open_to_write(path)) as db:
        assert [t.calls for t in queries.totals(db, "day", "0")] == [2]
        retention.tidy_totals(db, NOON + 30 * DAY)
        assert [t.calls for t in queries.totals(db, "day", "0")] == [2]
        retention.tidy_totals(db, NOON + 500 * DAY)
        assert queries.totals(db, "day", "0") == []


def test_a_clock_that_was_wrong_holds_nothing_up(tmp_path: Path) -> None:
    path = record(tmp_path / "traffic.db", call(1, started=NOON + 900 * DAY), call(2), call(3))
    tidied(path, NEVER._replace(days=1), NOON + 10 * DAY)
    assert ids(path) == [call(1).id]


def test_the_recorder_sees_to_it_by_itself(tmp_path: Path) -> None:
    path = record(tmp_path / "traffic.db", *(call(n) for n in range(300)))
    recorder = Recorder(path, limits=Limits(days=1), tidy_every=0.05, clock=lambda: NOON + 10 * DAY)
    recorder.start()
    recorder.put(call(999, started=NOON + 10 * DAY))
    wait_until(lambda: ids(path) == [call(999).id])
    recorder.close()
    assert ids(path) == [call(999).id]
