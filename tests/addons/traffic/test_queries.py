"""What the commands ask the database is no more work when there are more calls in it; counted in SQLite's steps, not in time."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from addons.traffic import queries, recording, retention
from addons.traffic.errors import NotRecorded
from addons.traffic.queries import LAST
from addons.traffic.retention import Limits
from addons.traffic.schema import open_to_write, transaction
from tests.addons.traffic.calls import NOON, call, with_bodies

FEW, MANY = 300, 3000
# Of the same age: what is summed up by day has as many rows in both.
AN_HOUR = 3600.0

Ask = Callable[[sqlite3.Connection], object]


def filled(path: Path, calls: int) -> sqlite3.Connection:
    db = open_to_write(path)
    tables = recording.Tables(db)
    with transaction(db):
        made = (with_bodies if number % 100 == 0 else call for number in range(calls))
        tables.insert([recording.record_of(make(n, started=NOON + n * AN_HOUR / calls)) for n, make in enumerate(made)])
    return db


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[sqlite3.Connection]]:
    folder = tmp_path_factory.mktemp("databases")
    with closing(filled(folder / "few.db", FEW)) as few, closing(filled(folder / "many.db", MANY)) as many:
        yield [few, many]


def an_old_call(db: sqlite3.Connection) -> queries.Call:
    return queries.find(db, "00000064")


ASKED: dict[str, Ask] = {
    "tail, at first": lambda db: queries.latest(db, 10),
    "tail, while it follows": lambda db: queries.after(db, queries.last_seq(db) - 3, 1000),
    "tail, of what is missing": lambda db: queries.gaps(db, 0),
    "explain last": lambda db: queries.story(db, queries.find(db, LAST)),
    "explain an old one": lambda db: queries.story(db, an_old_call(db)),
    "show an old one": lambda db: queries.bodies(db, an_old_call(db)),
    "an id that there is not": lambda db: pytest.raises(NotRecorded, queries.find, db, "ffffffff"),
    "usage by day": lambda db: queries.totals(db, "day", "0"),
    "usage by client": lambda db: queries.totals(db, "client", "0"),
    "what the plan lost": lambda db: queries.spent(db, "0"),
    "drift": lambda db: queries.names(db, 0.0, ("event", "field")),
    "the first call": queries.first_call,
    "to look whether something is too old": lambda db: retention.step(db, Limits(), NOON),
}


def steps(db: sqlite3.Connection, ask: Ask) -> int:
    taken = 0

    def one_more() -> int:
        nonlocal taken
        taken += 1
        return 0

    db.set_progress_handler(one_more, 1)
    try:
        ask(db)
    finally:
        db.set_progress_handler(None, 1)
    return taken


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_ten_times_as_many_calls_are_no_more_work(databases: list[sqlite3.Connection], ask: Ask) -> None:
    few, many = (steps(db, ask) for db in databases)
    assert 0 < many <= few * 1.2


def test_this_test_would_see_it(databases: list[sqlite3.Connection]) -> None:
    few, many = (steps(db, lambda db: db.execute("SELECT * FROM calls WHERE account = 'x'").fetchall()) for db in databases)
    assert many > few * 5


def test_what_is_too_much_goes_without_a_look_at_the_rest(databases: list[sqlite3.Connection]) -> None:
    # A step takes so many calls at the most, whatever else there is; it is undone again.
    taken = []
    for db in databases:
        db.execute("BEGIN")
        taken.append(steps(db, lambda db: retention._drop_most(db, 1000)))
        db.execute("ROLLBACK")
    assert 0 < taken[1] <= taken[0] * 1.2
