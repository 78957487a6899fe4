"""`usage`: what the calls cost, from the totals, which are kept much longer than the calls."""

import csv
import json
import sqlite3
import time
from collections.abc import Sequence
from typing import TextIO

from addons.traffic import queries
from addons.traffic.explain import resets
from addons.traffic.queries import Total
from addons.traffic.text import BOLD, RED, YELLOW, Page, count, fit, gap_sentence, percent, wrap
from addons.wire.quota import kind_of

BAR = 12
DAY = 86400.0


def since(days: int, now: float) -> str:
    """The first of so many days, of which today is the last."""
    return time.strftime("%Y-%m-%d", time.localtime(now - (days - 1) * DAY))


def as_table(db: sqlite3.Connection, by: str, days: int, now: float, page: Page) -> None:
    first = since(days, now)
    totals = queries.totals(db, by, first)
    if not totals:
        page.line(f"no calls since {first}")
    else:
        head = f"{by:16} {'calls':>6} {'failed':>6} {'in':>6} {'cached':>6} {'out':>6} {'reasoning':>9}"
        page.line(page.paint(head, BOLD))
        most = max(total.input + total.output for total in totals)
        page.lines(_row(total, most, page) for total in totals)
        if len(totals) > 1:
            whole = Total("all", *(sum(column) for column in list(zip(*totals, strict=True))[1:]))
            page.line(_row(whole, 0, page))
    _plan(db, first, days, page)
    for gap in queries.gaps(db, now - days * DAY):
        page.lines(page.paint(line, YELLOW) for line in wrap(gap_sentence(*gap), "", "  "))


def _row(total: Total, most: int, page: Page) -> str:
    failed = page.paint(f"{total.failed or '–':>6}", RED) if total.failed else f"{'–':>6}"
    hit = percent(total.cached, total.input)
    bar = "█" * round(BAR * (total.input + total.output) / most) if most else ""
    heard, said, thought = count(total.input), count(total.output), count(total.reasoning)
    return f"{fit(total.key or '(none)', 16)} {total.calls:>6} {failed} {heard:>6} {hit:>6} {said:>6} {thought:>9}  {bar}".rstrip()


def _plan(db: sqlite3.Connection, first: str, days: int, page: Page) -> None:
    """What the plan lost meanwhile: to this proxy, and to whatever else uses the same plan between two of its calls."""
    span = "today" if days == 1 else f"in {days} days"
    for spent in queries.spent(db, first):
        name = kind_of(spent.minutes)
        used = f"{spent.account}'s plan, {name}: {spent.percent:.0f} % of it used {span}"
        page.lines(wrap(f"{used}, now at {spent.used:.0f} %{resets(spent.resets_at)}", "", "  "))


def as_json(db: sqlite3.Connection, by: str, days: int, now: float) -> str:
    first = since(days, now)
    document = {
        "since": first,
        "by": by,
        "totals": [dict(zip((by, *Total._fields[1:]), total, strict=True)) for total in queries.totals(db, by, first)],
        "plan": [spent._asdict() for spent in queries.spent(db, first)],
        "not_recorded": [gap._asdict() for gap in queries.gaps(db, now - days * DAY)],
    }
    return json.dumps(document, indent=2)


def as_csv(db: sqlite3.Connection, by: str, days: int, now: float, out: TextIO) -> None:
    rows: Sequence[Total] = queries.totals(db, by, since(days, now))
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow((by, *Total._fields[1:]))
    # A spreadsheet takes a cell that begins so for a formula, and a client chooses its own name.
    writer.writerows((f"'{row.key}" if row.key[:1] in ("=", "+", "-", "@") else row.key, *row[1:]) for row in rows)
