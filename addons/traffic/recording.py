"""An exchange put into the tables. The slow part, redaction and compression, is done before the transaction begins."""

import math
import sqlite3
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from operator import add
from typing import Any, NamedTuple

from addons.traffic.cleaning import cleaned, harmless
from addons.traffic.exchange import Bodies, Client, Exchange, QuotaWindow
from addons.traffic.packing import pack
from addons.traffic.secrets import Search, find, find_yours, redacted_text
from addons.traffic.stories import as_json, client_name, story_of
from addons.traffic.tee import BODY_LIMIT
from addons.wire.usage import Usage

# Names that upstream makes up without end would fill the disk. Of each kind so many are kept, the first ones.
MAX_NAMES = 5000
MAX_NAME = 200
# Models are what clients write into their requests: of those that come up on one day so many have a row of their own.
MAX_TOTALS = 500
OTHERS = "(others)"

# Of tokens, statuses, minutes.
MOST = 1 << 40

# Rows of one statement: as many as fit. SQLite took at most 999 values until 3.32, and a call has fourteen. Python keeps the last
# 128 statements as SQLite has read them, 40 KB each of the long ones: so there is not one for each size of a batch.
ROWS = (64, 16, 4, 1)

# Seconds. Gaps of the same kind that are closer together than this are one gap.
SAME_GAP = 60.0


class Record(NamedTuple):
    """Free of secrets, and of a form that the tables take."""

    id: str
    started: float
    ended: float
    model: str
    client: str
    account: str
    call: tuple[str | float | int | None, ...]
    """The row of `calls`."""
    counts: tuple[int, ...]
    """What is added up: calls, failed, input, cached, output, reasoning."""
    quota: tuple[QuotaWindow, ...]
    story: str
    bodies: Mapping[str, bytes]
    names: Mapping[str, Collection[str]]
    """By their kind; of any length."""


class Gap(NamedTuple):
    """Calls that could not be recorded, between two moments."""

    since: float
    until: float
    calls: int
    why: str


def record_of(exchange: Exchange, body_limit: int = BODY_LIMIT, search: Search | None = None) -> Record:
    """`search` is for what the user wants out, beyond what looks like a secret."""
    story = story_of(exchange)
    text = None if search else harmless(story)
    if text is None:
        story = cleaned(story, search)
        text = as_json(story)
    # NULL is not taken in any of these.
    client = client_name(Client(*[text or "" for text in story["client"]]))[:MAX_NAME]
    name, account, outcome = story["id"] or "", story["account"] or "", story["outcome"] or ""
    model = (story["model_used"] or story["model_asked"] or "")[:MAX_NAME]
    tokens = exchange.tokens or Usage()
    tokens_in, tokens_out = _count(tokens.input_tokens), _count(tokens.output_tokens)
    started, ended = _seconds(exchange.started), _seconds(exchange.ended)
    first_token = None if exchange.first_token is None else _seconds(exchange.first_token)
    status = None if exchange.status is None else _count(exchange.status)
    error = ": ".join(filter(None, story["error"][1:])) if story["error"] else ""
    told = (tokens_in, tokens_out) if exchange.tokens else (None, None)
    edits = len(exchange.edits)
    return Record(
        id=name,
        started=started,
        ended=ended,
        model=model,
        client=client,
        account=account,
        call=(name, started, ended, first_token, client, model, account, status, outcome, error, *told, edits),
        counts=(1, int(exchange.failed), tokens_in, _count(tokens.cached_tokens), tokens_out, _count(tokens.reasoning_tokens)),
        quota=tuple(map(_window, exchange.quota)),
        story=text,
        bodies={
            part: pack(body, body_limit, search)
            for part, body in zip(Bodies._fields, exchange.bodies, strict=True)
            if body is not None
        },
        names={
            "event": story["events"],
            "field": _clean_paths(exchange.event_fields) if not search else _paths_without_yours(exchange.event_fields, search),
            "unknown": story["unknown"],
            "header": story["upstream_headers"]["names"],
            "error": [story["error"][1] or story["error"][0]] if story["error"] else (),
        },
    )


@lru_cache(maxsize=32)
def _clean_paths(paths: frozenset[str]) -> frozenset[str]:
    """An answer has two hundred of them, and the next answer the same."""
    if find("\n".join(paths).encode("utf-8", "replace")):
        paths = frozenset(map(redacted_text, paths))
    return frozenset(path.encode("utf-8", "replace").decode() for path in paths)


def _paths_without_yours(paths: frozenset[str], search: Search) -> frozenset[str]:
    found = find_yours([path.encode("utf-8", "replace") for path in paths], search)
    return frozenset(map(redacted_text, paths, found))


def _window(told: QuotaWindow) -> QuotaWindow:
    resets_at = None if told.resets_at is None else _seconds(told.resets_at)
    return QuotaWindow(_count(told.minutes), _seconds(told.used_percent), resets_at)


def _seconds(value: float) -> float:
    """What is no number would be NULL in the database."""
    return float(value) if math.isfinite(value) else 0.0


def _count(value: int) -> int:
    """Upstream can write any number; SQLite's have 64 bits, and a sum of them has to fit too."""
    return int(value) if 0 <= value <= MOST else 0 if value < 0 else MOST


class Tables:
    """One connection's tables, for writing. To be used within a transaction; of no use after one that failed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._names: defaultdict[str, set[str]] = defaultdict(set)
        for kind, name in connection.execute("SELECT kind, name FROM names"):
            self._names[kind].add(name)

    def insert(self, records: Sequence[Record]) -> None:
        """All in one go: what SQLite does for a call takes less time than a statement of its own would."""
        [last] = self._connection.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'calls'").fetchone()
        numbered = list(enumerate(records, last + 1))
        self._insert(
            "calls (seq, id, started, took, first_token, client, model, account, status, outcome, error, "
            "tokens_in, tokens_out, edits)",
            [(seq, *record.call) for seq, record in numbered],
        )
        self._insert("stories", [(seq, record.story) for seq, record in numbered])
        self._insert("bodies", [(seq, part, packed) for seq, record in numbered for part, packed in record.bodies.items()])
        self._add_up(records)
        self._note_quotas(records)
        self._note_names(records)

    def _insert(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Not `executemany`, which lets go of the interpreter for each row: the proxy's own thread takes it, and has to be made to
        give it back. That happened nine times a call, and was a tenth of what a small one costs."""
        left = list(rows)
        for size in ROWS:
            while len(left) >= size:
                some, left = left[:size], left[size:]
                row = f"({', '.join('?' * len(some[0]))})"
                self._connection.execute(f"INSERT INTO {table} VALUES {', '.join([row] * size)}", [*chain.from_iterable(some)])

    def note_gaps(self, gaps: Iterable[Gap]) -> None:
        """One that goes on is one gap, however often it is told of."""
        for gap in gaps:
            latest = self._connection.execute("SELECT rowid, until, why FROM gaps ORDER BY rowid DESC LIMIT 1").fetchone()
            if latest and latest["why"] == gap.why and 0 <= gap.since - latest["until"] < SAME_GAP:
                told = (gap.until, gap.calls, latest["rowid"])
                self._connection.execute("UPDATE gaps SET until = ?, calls = calls + ? WHERE rowid = ?", told)
            else:
                self._connection.execute("INSERT INTO gaps VALUES (?, ?, ?, ?)", gap)

    def _add_up(self, records: Iterable[Record]) -> None:
        sums: dict[tuple[str, str, str, str], tuple[int, ...]] = {}
        for record in records:
            key = (day_of(record.started), record.model, record.client, record.account)
            before = sums.get(key)
            sums[key] = tuple(map(add, before, record.counts)) if before else record.counts
        for key, counts in sums.items():
            if not self._has_room(key):
                key = (key[0], OTHERS, OTHERS, key[3])
            self._connection.execute(
                "INSERT INTO totals VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET calls = calls + excluded.calls, "
                "failed = failed + excluded.failed, input = input + excluded.input, cached = cached + excluded.cached, "
                "output = output + excluded.output, reasoning = reasoning + excluded.reasoning",
                (*key, *counts),
            )

    def _has_room(self, key: tuple[str, str, str, str]) -> bool:
        known = "SELECT 1 FROM totals WHERE day = ? AND model = ? AND client = ? AND account = ?"
        if self._connection.execute(known, key).fetchone():
            return True
        [rows] = self._connection.execute("SELECT count(*) FROM totals WHERE day = ?", key[:1]).fetchone()
        return bool(rows < MAX_TOTALS)

    def _note_quotas(self, records: Iterable[Record]) -> None:
        """What an account's windows lost from one answer to the next is added up by day; what is written is how they stand then."""
        heard: dict[tuple[str, int], Standing | None] = {}
        spent: dict[tuple[str, str, int], float] = {}
        for record in records:
            at = record.started + record.ended
            for window in record.quota:
                key = (record.account, window.minutes)
                before = heard[key] if key in heard else self._standing(*key)
                if before and before.heard > at:
                    continue  # answers come in any order; a window that is known better already is let alone
                now = heard[key] = Standing(window.used_percent, window.resets_at, at)
                percent = _spent(before, now) if before else 0.0
                if percent > 0:
                    day = (day_of(at), *key)
                    spent[day] = spent.get(day, 0.0) + percent
        self._connection.executemany(
            "INSERT OR REPLACE INTO quotas VALUES (?,?,?,?,?)", [(*key, *standing) for key, standing in heard.items() if standing]
        )
        self._connection.executemany(
            "INSERT INTO spent VALUES (?,?,?,?) ON CONFLICT DO UPDATE SET percent = percent + excluded.percent",
            [(*day, percent) for day, percent in spent.items()],
        )

    def _standing(self, account: str, minutes: int) -> "Standing | None":
        found = self._connection.execute(
            "SELECT used, resets_at, heard FROM quotas WHERE account = ? AND minutes = ?", (account, minutes)
        ).fetchone()
        return Standing(*found) if found else None

    def _note_names(self, records: Iterable[Record]) -> None:
        for record in records:
            for kind, names in record.names.items():
                known = self._names[kind]
                if known.issuperset(names):
                    continue
                new = sorted({name[:MAX_NAME] for name in names if name} - known)[: max(0, MAX_NAMES - len(known))]
                known.update(new)
                rows = [(kind, name, record.started, record.id) for name in new]
                self._connection.executemany("INSERT OR IGNORE INTO names VALUES (?,?,?,?)", rows)


class Standing(NamedTuple):
    """Of one window of an account's plan."""

    used: float
    resets_at: float | None
    heard: float


# Upstream tells the same reset a second or two earlier or later from one answer to the next.
SAME_RESET = 120.0


def _spent(before: Standing, now: Standing) -> float:
    """Percent of the window that were used since `before`. What was used between a reset and now counts from zero."""
    was_reset = now.resets_at is not None and before.resets_at is not None and now.resets_at > before.resets_at + SAME_RESET
    return now.used if was_reset and now.used < before.used else max(0.0, now.used - before.used)


def day_of(moment: float) -> str:
    """By the clock on the wall: "today" is the user's."""
    return time.strftime("%Y-%m-%d", time.localtime(moment))
