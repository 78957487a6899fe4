"""`tail`: one line a call, as they come."""

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from addons.traffic import queries
from addons.traffic.errors import NoDatabase
from addons.traffic.exchange import FAILURES
from addons.traffic.queries import Call, Gap
from addons.traffic.schema import identity, open_to_read
from addons.traffic.text import DIM, RED, WIDTH, YELLOW, Page, clock, count, fit, gap_sentence, say, seconds

# Seconds between two looks. A look that finds nothing new costs some 20 microseconds.
LOOK_EVERY = 0.2
AT_ONCE = 500

HEAD = "time     id       client   model        state tokens      first total ed account"

# What the status does not say.
MARKS = {"cut": "cut", "client_left": "left", "incomplete": "part"}


def tail(path: Path, last: int, follow: bool, page: Page) -> None:
    if follow and not path.exists():
        say(f"nothing is recorded yet, waiting for {path}")
    elif not follow:
        open_to_read(path).close()  # a complaint stands alone, without a head above it
    page.line(page.paint(HEAD, DIM))
    page.flush()
    for line in lines(path, last, follow, page):
        page.line(line)
        page.flush()


def lines(path: Path, last: int, follow: bool, page: Page) -> Iterator[str]:
    db, opened = _opened(path, follow), identity(path)
    calls = queries.latest(db, last)
    seq = queries.last_seq(db)
    since = calls[0].started if calls else time.time()
    seen: set[Gap] = set()
    while True:
        gaps = [gap for gap in queries.gaps(db, since) if gap not in seen]
        seen.update(gaps)
        yield from _in_order(calls, gaps, page)
        if not follow:
            db.close()
            return
        if len(calls) < AT_ONCE:
            time.sleep(LOOK_EVERY)
        if identity(path) != opened:  # removed, and begun anew
            db.close()
            db, opened, seq = _opened(path, follow), identity(path), 0
        calls = queries.after(db, seq, AT_ONCE)
        seq = calls[-1].seq if calls else seq


def _opened(path: Path, follow: bool) -> sqlite3.Connection:
    """Waits for a file that is not there yet, or empty."""
    while True:
        try:
            return open_to_read(path)
        except NoDatabase:
            if not follow:
                raise
        time.sleep(LOOK_EVERY)


def _in_order(calls: list[Call], gaps: list[Gap], page: Page) -> Iterator[str]:
    rows = [(call.started + call.took, call_lines(call, page)) for call in calls]
    rows += [(gap.until, [page.paint(f"{clock(gap.since)} {gap_sentence(*gap)}"[:WIDTH], YELLOW)]) for gap in gaps]
    for _, texts in sorted(rows, key=lambda row: row[0]):
        yield from texts


def call_lines(call: Call, page: Page) -> list[str]:
    """One line, and a second one that says why if the client did not get its answer."""
    failed = call.outcome in FAILURES
    state = MARKS.get(call.outcome) or (str(call.status) if call.status is not None else "none")
    tokens = "–" if call.tokens_in is None else f"{count(call.tokens_in)}→{count(call.tokens_out or 0)}"
    before = f"{clock(call.started)} {fit(queries.short(call.id), 8)} {fit(call.client, 8)} {fit(call.model, 12)} "
    status = page.paint(fit(f"{state}!" if failed else state, 5), RED if failed else "")
    times = f"{seconds(call.first_token):>5} {seconds(call.took):>5}"
    line = f"{before}{status} {fit(tokens, 11)} {times} {call.edits or '–':>2} {fit(call.account, 7)}".rstrip()
    if not failed:
        return [line]
    return [line, page.paint(f"{' ' * 9}{fit(call.error or call.outcome, WIDTH - 9).rstrip()}", RED)]
