"""What is asked of the database. One statement at a time and none left open, or the -wal could not be folded in."""

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from addons.traffic.errors import NotRecorded

# OpenAI's ids begin so. What `tail` shows is the beginning of what differs.
PREFIX = "req_"
SHORT = 8
LAST = "last"


class Call(NamedTuple):
    seq: int
    id: str
    started: float
    took: float
    first_token: float | None
    client: str
    model: str
    account: str
    status: int | None
    outcome: str
    error: str
    tokens_in: int | None
    tokens_out: int | None
    edits: int


class Gap(NamedTuple):
    since: float
    until: float
    calls: int
    why: str


class Total(NamedTuple):
    key: str
    calls: int
    failed: int
    input: int
    cached: int
    output: int
    reasoning: int


class Spent(NamedTuple):
    """Percent of an account's window that were used up, and how the window stands."""

    account: str
    minutes: int
    percent: float
    used: float
    resets_at: float | None


class Name(NamedTuple):
    kind: str
    name: str
    first_seen: float
    id: str


def short(id: str) -> str:
    return id.removeprefix(PREFIX)[:SHORT]


def latest(db: sqlite3.Connection, count: int) -> list[Call]:
    """The oldest of them first."""
    rows = db.execute(f"SELECT {', '.join(Call._fields)} FROM calls ORDER BY seq DESC LIMIT ?", (count,)).fetchall()
    return [Call(*row) for row in reversed(rows)]


def last_seq(db: sqlite3.Connection) -> int:
    [seq] = db.execute("SELECT max(seq) FROM calls").fetchone()
    return seq or 0


def after(db: sqlite3.Connection, seq: int, count: int) -> list[Call]:
    rows = db.execute(f"SELECT {', '.join(Call._fields)} FROM calls WHERE seq > ? ORDER BY seq LIMIT ?", (seq, count)).fetchall()
    return [Call(*row) for row in rows]


def gaps(db: sqlite3.Connection, since: float) -> list[Gap]:
    return [Gap(*row) for row in db.execute("SELECT since, until, calls, why FROM gaps WHERE until >= ? ORDER BY since", (since,))]


def find(db: sqlite3.Connection, wanted: str) -> Call:
    """By an id, the beginning of one, or `last`. Raises NotRecorded."""
    if wanted == LAST:
        if found := latest(db, 1):
            return found[0]
        raise NotRecorded("no call is recorded yet")
    found = (_beginning_with(db, wanted) or _beginning_with(db, PREFIX + wanted)) if wanted else []
    if not found:
        raise NotRecorded(f"no call is recorded whose id begins with {wanted}", "`codex-traffic tail` shows the latest")
    ids = list(dict.fromkeys(call.id for call in found))
    if len(ids) > 1 and wanted not in ids:
        raise NotRecorded(f"the ids of several calls begin with {wanted}", f"name one of {', '.join(ids[:5])}")
    # The latest, should a client use an id twice.
    return next((call for call in found if call.id == wanted), found[0])


def _beginning_with(db: sqlite3.Connection, beginning: str) -> list[Call]:
    # A range, which the index can serve; LIKE could not, and it has wildcards.
    behind = beginning[:-1] + chr(min(ord(beginning[-1]) + 1, 0x10FFFF))
    statement = f"SELECT {', '.join(Call._fields)} FROM calls WHERE id >= ? AND id < ? ORDER BY seq DESC LIMIT 20"
    return [Call(*row) for row in db.execute(statement, (beginning, behind))]


def story(db: sqlite3.Connection, call: Call) -> str:
    row = db.execute("SELECT story FROM stories WHERE seq = ?", (call.seq,)).fetchone()
    if row is None:  # pruned between two statements
        raise NotRecorded(f"{call.id} has just been removed, it was too old")
    return str(row[0])


def bodies(db: sqlite3.Connection, call: Call) -> dict[str, bytes]:
    return {part: packed for part, packed in db.execute("SELECT part, packed FROM bodies WHERE seq = ?", (call.seq,))}


# By what `usage` can group. These are column names, and no user's words.
GROUPS = ("day", "model", "client", "account")


def totals(db: sqlite3.Connection, by: str, since: str) -> list[Total]:
    """Days in their order, all else by tokens, the most first."""
    assert by in GROUPS
    order = "1" if by == "day" else "sum(input) + sum(output) DESC, 1"
    statement = f"""SELECT {by}, sum(calls), sum(failed), sum(input), sum(cached), sum(output), sum(reasoning)
        FROM totals WHERE day >= ? GROUP BY {by} ORDER BY {order}"""
    return [Total(*row) for row in db.execute(statement, (since,))]


def spent(db: sqlite3.Connection, since: str) -> list[Spent]:
    statement = """SELECT account, minutes, coalesce(sum(percent), 0), used, resets_at FROM quotas
        LEFT JOIN (SELECT * FROM spent WHERE day >= ?) USING (account, minutes)
        GROUP BY account, minutes ORDER BY account, minutes"""
    return [Spent(*row) for row in db.execute(statement, (since,))]


def first_call(db: sqlite3.Connection) -> float | None:
    """When recording began: names are never removed, calls are."""
    [began] = db.execute("SELECT min(first_seen) FROM names").fetchone()
    return began if isinstance(began, float) else None


def names(db: sqlite3.Connection, since: float, kinds: Sequence[str]) -> list[Name]:
    marks = ", ".join("?" * len(kinds))
    statement = f"""SELECT kind, name, first_seen, id FROM names
        WHERE first_seen > ? AND kind IN ({marks}) ORDER BY first_seen DESC, kind, name"""
    return [Name(*row) for row in db.execute(statement, (since, *kinds))]
