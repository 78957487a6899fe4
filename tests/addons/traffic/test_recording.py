"""What the tables add up to."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from addons.traffic import queries, recording
from addons.traffic.exchange import Exchange, Failure, QuotaWindow
from addons.traffic.recording import OTHERS, Tables, record_of
from addons.traffic.schema import open_to_write, transaction
from addons.wire.usage import Usage
from tests.addons.traffic.calls import NOON, call, refused


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = open_to_write(tmp_path / "traffic.db")
    yield connection
    connection.close()


def write(db: sqlite3.Connection, *exchanges: Exchange) -> None:
    tables = Tables(db)
    with transaction(db):
        tables.insert([record_of(exchange) for exchange in exchanges])


def test_totals_by_day_model_client_and_account(db: sqlite3.Connection) -> None:
    write(db, call(1), call(2, model_used="gpt-6.1-sol"), refused(3), call(4, started=NOON + 5 * 86400, account="bob"))
    by_model = queries.totals(db, "model", "0")
    assert [(t.key, t.calls, t.failed, t.input, t.cached, t.output, t.reasoning) for t in by_model] == [
        ("gpt-6-luna", 3, 1, 1624, 1280, 688, 240),
        ("gpt-6.1-sol", 1, 0, 812, 640, 344, 120),
    ]
    assert [(t.key, t.calls) for t in queries.totals(db, "account", "0")] == [("ada", 3), ("bob", 1)]
    assert [(t.key, t.calls) for t in queries.totals(db, "client", "0")] == [("OpenAI/Python", 4)]
    days = queries.totals(db, "day", "0")
    assert [t.calls for t in days] == [3, 1] and days[0].key < days[1].key
    assert [t.calls for t in queries.totals(db, "day", days[1].key)] == [1]


def test_batches_of_all_sizes_are_written_with_a_few_statements(db: sqlite3.Connection) -> None:
    """Each that SQLite has read stays in memory: 128 of them, and the long ones are 40 KB."""
    shapes: set[int] = set()

    def note(statement: str) -> None:
        if statement.startswith("INSERT INTO calls "):
            shapes.add(statement.count("'OpenAI/Python'"))

    db.set_trace_callback(note)
    written = 0
    for size in range(1, 150):
        write(db, *(call(n) for n in range(written, written + size)))
        written += size
    assert [t.calls for t in queries.totals(db, "client", "0")] == [written]
    assert [count for (count,) in db.execute("SELECT count(DISTINCT id) FROM calls")] == [written]
    assert shapes == {1, 4, 16, 64}


def test_clients_that_make_up_models_do_not_fill_the_disk(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MAX_TOTALS", 3)
    write(db, *(call(n, model_used=f"model-{n}") for n in range(6)), call(9, model_used="model-0"))
    assert {t.key: t.calls for t in queries.totals(db, "model", "0")} == {"model-0": 2, "model-1": 1, "model-2": 1, OTHERS: 3}


def at(number: int, used: float, resets_at: float | None = NOON + 9000, **more: Any) -> Exchange:
    return call(number, quota=(QuotaWindow(300, used, resets_at),), **more)


LATER = NOON + 27000
SPENT = {
    "the first word about a window is where counting begins": ([at(1, 30)], 0),
    "what is added": ([at(1, 30), at(2, 34), at(3, 34.5)], 4.5),
    "another window after the reset counts from zero": ([at(1, 90), at(2, 5, LATER)], 5),
    "the reset is told a second later": ([at(1, 30), at(2, 31, NOON + 9001)], 1),
    "answers in another order": ([at(1, 30), at(3, 40), at(2, 35), at(4, 41)], 11),
    "a window that has no reset": ([at(1, 30, None), at(2, 31, None)], 1),
    "it was reset early": ([at(1, 30), at(2, 0), at(3, 2)], 2),
}


@pytest.mark.parametrize(("exchanges", "percent"), SPENT.values(), ids=SPENT)
def test_what_the_plan_lost(db: sqlite3.Connection, exchanges: list[Exchange], percent: float) -> None:
    write(db, *exchanges)
    [spent] = queries.spent(db, "0")
    assert (spent.account, spent.minutes, spent.percent) == ("ada", 300, percent)


def test_what_the_plan_lost_on_other_days_is_not_counted(db: sqlite3.Connection) -> None:
    write(db, at(1, 30), at(2, 40), at(3, 41, started=NOON + 5 * 86400))
    assert [spent.percent for spent in queries.spent(db, recording.day_of(NOON + 5 * 86400))] == [1]


def test_a_name_is_kept_with_the_first_call_that_had_it(db: sqlite3.Connection) -> None:
    write(db, call(1), call(2, events={"response.created": 1, "response.brand_new": 1}, unknown=frozenset({"response.brand_new"})))
    write(db, refused(3), call(4, error=Failure("overloaded", "", "no code")))
    found = {(name.kind, name.name): name.id for name in queries.names(db, 0, ("event", "error", "unknown"))}
    assert found == {
        ("event", "response.created"): call(1).id,
        ("event", "response.output_text.delta"): call(1).id,
        ("event", "response.completed"): call(1).id,
        ("event", "response.brand_new"): call(2).id,
        ("unknown", "response.brand_new"): call(2).id,
        ("error", "usage_limit_reached"): call(3).id,
        ("error", "overloaded"): call(4).id,
    }


def test_names_without_end_stop_being_added(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MAX_NAMES", 5)
    write(db, *(call(n, events={f"response.{n}": 1}) for n in range(20)))
    assert len(queries.names(db, 0, ("event",))) == 5


def test_numbers_that_no_database_takes(db: sqlite3.Connection) -> None:
    odd = Usage(10**30, -5)
    write(db, call(1, tokens=odd, started=float("nan"), ended=float("inf"), first_token=float("nan"), status=10**30))
    [row] = queries.latest(db, 1)
    assert (row.started, row.took, row.tokens_out) == (0.0, 0.0, 0)
