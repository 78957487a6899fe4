"""`drift`: what upstream says now and did not say before."""

import sqlite3

from addons.traffic import queries
from addons.traffic.queries import short
from addons.traffic.text import BOLD, Page, date_and_time, plural, printable, wrap

DAY = 86400.0

# With the first calls everything is new. What upstream says in the course of a day is what it usually says.
BASELINE = DAY

ALWAYS = ("unknown", "error")
KINDS = {
    "unknown": "not known to the proxy",
    "error": "error code",
    "event": "event type",
    "field": "field of an event",
    "header": "header of an answer",
}


def drift(db: sqlite3.Connection, days: float, everything: bool, now: float, page: Page) -> None:
    began = queries.first_call(db)
    if began is None:
        page.line("upstream has not said anything yet")
        return
    after = 0.0 if everything else max(now - days * DAY, began + BASELINE)
    usual = [kind for kind in KINDS if kind not in ALWAYS]
    names = queries.names(db, 0.0 if everything else now - days * DAY, ALWAYS) + queries.names(db, after, usual)
    for kind, words in KINDS.items():
        found = [name for name in names if name.kind == kind]
        if found:
            page.line(page.paint(words, BOLD))
            page.lines(f"  {date_and_time(name.first_seen)}  {short(name.id):8}  {printable(name.name)}" for name in found)
    if everything:
        return
    if not names:
        page.line("nothing new")
    known = len(queries.names(db, 0.0, tuple(KINDS)))
    page.lines(wrap(f"{plural(known, 'name')} known since {date_and_time(began)}; those of the first day are shown with --all"))
