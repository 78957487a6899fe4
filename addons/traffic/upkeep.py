"""`prune` and `verify`: the database made smaller, and searched for what must not be in it."""

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from addons.traffic import retention
from addons.traffic.packing import BrokenBody, unpack
from addons.traffic.retention import Limits
from addons.traffic.secrets import Search, find_in_body, find_yours
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


def verify(db: sqlite3.Connection, page: Page, yours: Search | None = None) -> bool:
    """Whether everything is readable, and free of secrets and of what the user wants out; what is found is not repeated, its place
    is."""
    [state] = db.execute("PRAGMA quick_check(1)").fetchone()
    places = list(search(db, yours))
    page.lines(printable(f"{place.where}: {place.kind}") for place in places)
    if state != "ok":
        page.line(f"the file is damaged: {state}")
    elif not places:
        page.line(f"{plural(_calls(db), 'call')} searched, {size(_file_size(db))}: nothing that looks like a secret")
        if yours:
            page.line("and nothing that matches redact_patterns")
    return state == "ok" and not places


def search(db: sqlite3.Connection, yours: Search | None = None) -> Iterator[Place]:
    """Every value of every table; of bodies what they unpack to."""
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    for table in tables:
        for row in db.execute(f'SELECT * FROM "{table}"'):
            for column, kind in _findings(table, row, yours):
                yield Place(_where(db, table, column, row), kind)


def _findings(table: str, row: sqlite3.Row, yours: Search | None) -> Iterator[tuple[str, str]]:
    texts: dict[str, bytes] = {}
    for column in row.keys():
        try:
            texts[column] = _text(table, row[column])
        except BrokenBody as e:
            yield column, str(e)
    for column, text in texts.items():
        yield from ((column, kind) for kind in sorted({f"looks like a {span.kind}" for span in find_in_body(text) if span.kind}))
    if yours:
        found = zip(texts, find_yours(list(texts.values()), yours), strict=True)
        yield from ((column, "matches one of redact_patterns") for column, spans in found if spans)


def _text(table: str, value: object) -> bytes:
    """Raises BrokenBody."""
    return unpack(value).data if table == "bodies" and isinstance(value, bytes) else str(value).encode("utf-8", "replace")


def _where(db: sqlite3.Connection, table: str, column: str, row: sqlite3.Row) -> str:
    names = row.keys()
    if "seq" not in names:
        return f"{table}.{column}"
    call = db.execute("SELECT id FROM calls WHERE seq = ?", (row["seq"],)).fetchone()
    part = f" {row['part']}" if "part" in names else ""
    return f"{table}.{column}{part} of {call['id'] if call else 'a call that is gone'}"
