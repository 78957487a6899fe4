"""What is old or too much goes, the oldest first, in steps that take a few milliseconds each; and the file gives the room back.

Totals stay: they are small, and "what did last month cost" is asked when the calls are long gone.
"""

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from addons.traffic.schema import transaction

DAY = 86400.0
DAYS, BYTES = 7.0, 1 << 30

# Calls in a step. A call without bodies has about 3 KiB, one with bodies some hundred.
STEP = 200
STEP_BYTES = 4 << 20
# Pages given back in a step: 4 MiB, as much as the -wal holds before it is folded in.
PAGES = 1024
# Totals and gaps are kept this long.
YEARS = 400 * DAY


class Limits(NamedTuple):
    days: float = DAYS
    bytes: int = BYTES


DEFAULT_LIMITS = Limits()


def step(connection: sqlite3.Connection, limits: Limits, now: float) -> int:
    """Does a little; returns how many calls and pages went, 0 if there is nothing left to do."""
    with transaction(connection):
        gone = _drop_old(connection, now - limits.days * DAY) or _drop_most(connection, limits.bytes)
    return gone or _shrink(connection)


def size(connection: sqlite3.Connection) -> int:
    """In bytes, of what is in use."""
    [pages], [free], [page] = (_pragma(connection, name) for name in ("page_count", "freelist_count", "page_size"))
    return int((pages - free) * page)


def tidy_totals(connection: sqlite3.Connection, now: float) -> None:
    with transaction(connection):
        connection.execute("DELETE FROM totals WHERE day < date(?, 'unixepoch')", (now - YEARS,))
        connection.execute("DELETE FROM spent WHERE day < date(?, 'unixepoch')", (now - YEARS,))
        connection.execute("DELETE FROM gaps WHERE until < ?", (now - YEARS,))


def _drop_old(connection: sqlite3.Connection, before: float) -> int:
    return _drop(connection, connection.execute(f"{_WITH_SIZE} WHERE started < ? ORDER BY started LIMIT {STEP}", (before,)))


def _drop_most(connection: sqlite3.Connection, limit: int) -> int:
    too_much = size(connection) - limit
    if too_much <= 0:
        return 0
    return _drop(connection, connection.execute(f"{_WITH_SIZE} ORDER BY seq LIMIT {STEP}"), too_much)


# The length of a blob is in its head: none of it is read.
_WITH_SIZE = """SELECT seq, length(story) + (SELECT coalesce(sum(length(packed)), 0) FROM bodies WHERE bodies.seq = calls.seq)
    FROM calls JOIN stories USING (seq)"""


def _drop(connection: sqlite3.Connection, oldest: Iterable[tuple[int, int]], enough: int = STEP_BYTES) -> int:
    calls, dropped = [], 0
    for seq, bytes_ in oldest:
        calls.append((seq,))
        dropped += bytes_
        if dropped >= min(enough, STEP_BYTES):
            break
    for table in ("calls", "stories", "bodies"):
        connection.executemany(f"DELETE FROM {table} WHERE seq = ?", calls)
    return len(calls)


def _shrink(connection: sqlite3.Connection) -> int:
    [free] = _pragma(connection, "freelist_count")
    if not free:
        return 0
    connection.execute(f"PRAGMA incremental_vacuum({PAGES})").fetchall()
    [left] = _pragma(connection, "freelist_count")
    return int(free - left)


def _pragma(connection: sqlite3.Connection, name: str) -> sqlite3.Row:
    row: sqlite3.Row = connection.execute(f"PRAGMA {name}").fetchone()
    return row
