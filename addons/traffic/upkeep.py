"""`prune` and `verify`: the database made smaller, and searched for what must not be in it."""

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from addons.traffic import retention
from addons.traffic.packing import BrokenBody, unpack
from addons.traffic.retention import Limits
from addons.traffic.secrets import find
from addons.traffic.text import Page, plural, printable, size


def prune(db: sqlite3.Connection, limits: Limits, now: float, page: Page) -> None:
    before, calls_before = _file_size(db), _calls(db)
    while retention.step(db, limits, now):
        pass
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    page.line(f"{plural(calls_before - _calls(db), 'call')} removed, {size(before)} before and {size(_file_size(db))} now")


def _calls(db: sqlite3.Connection) -> int:
    [calls] = db.execute("SELECT count(*) FROM calls").fetchone()
    return int(calls)


def _file_size(db: sqlite3.Connection) -> int:
    [pages], [page_size] = (db.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
    return int(pages * page_size)


class Place(NamedTuple):
    where: str
    kind: str


def verify(db: sqlite3.Connection, page: Page) -> bool:
    """Whether everything is readable and free of secrets; what is found is not repeated, its place is."""
    [state] = db.execute("PRAGMA quick_check(1)").fetchone()
    places = list(search(db))
    page.lines(printable(f"{place.where}: {place.kind}") for place in places)
    if state != "ok":
        page.line(f"the file is damaged: {state}")
    elif not places:
        page.line(f"{plural(_calls(db), 'call')} searched, {size(_file_size(db))}: nothing that looks like a secret")
    return state == "ok" and not places


def search(db: sqlite3.Connection) -> Iterator[Place]:
    """Every value of every table; of bodies what they unpack to."""
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    for table in tables:
        for row in db.execute(f'SELECT * FROM "{table}"'):
            for column in row.keys():
                for kind in _kinds(table, column, row[column]):
                    yield Place(_where(db, table, column, row), kind)


def _kinds(table: str, column: str, value: object) -> list[str]:
    try:
        data = unpack(value).data if table == "bodies" and isinstance(value, bytes) else str(value).encode("utf-8", "replace")
    except BrokenBody as e:
        return [str(e)]
    return sorted({f"looks like a {span.kind}" for span in find(data)})


def _where(db: sqlite3.Connection, table: str, column: str, row: sqlite3.Row) -> str:
    names = row.keys()
    if "seq" not in names:
        return f"{table}.{column}"
    call = db.execute("SELECT id FROM calls WHERE seq = ?", (row["seq"],)).fetchone()
    part = f" {row['part']}" if "part" in names else ""
    return f"{table}.{column}{part} of {call['id'] if call else 'a call that is gone'}"
