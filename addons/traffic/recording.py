"""An exchange put into the tables. The slow part, redaction and compression, is done before the transaction begins."""

import math
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from addons.traffic.cleaning import cleaned
from addons.traffic.exchange import Exchange, QuotaWindow
from addons.traffic.packing import pack
from addons.traffic.secrets import Patterns, find, redacted_text
from addons.traffic.stories import as_json, client_name, story_of
from addons.traffic.tee import BODY_LIMIT
from addons.wire.usage import Usage

# Names that upstream makes up without end would fill the disk. Of each kind so many are kept, the first ones.
MAX_NAMES = 5000
MAX_NAME = 200
# Models are what clients write into their requests: of those that come up on one day so many have a row of their own.
MAX_TOTALS = 500
OTHERS = "(others)"


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
    names: frozenset[tuple[str, str]]


class Gap(NamedTuple):
    """Calls that could not be recorded, between two moments."""

    since: float
    until: float
    calls: int
    why: str


def record_of(exchange: Exchange, body_limit: int = BODY_LIMIT, patterns: Patterns = ()) -> Record:
    story = cleaned(story_of(exchange), patterns)
    tokens = exchange.tokens or Usage()
    client = redacted_text(client_name(exchange.client), patterns)[:MAX_NAME]
    name, account, outcome = (_text(story[field]) for field in ("id", "account", "outcome"))
    model = _text(story["model_used"] or story["model_asked"])[:MAX_NAME]
    started, ended = _seconds(exchange.started), _seconds(exchange.ended)
    first_token = None if exchange.first_token is None else _seconds(exchange.first_token)
    status = None if exchange.status is None else _count(exchange.status)
    error = ": ".join(filter(None, story["error"][1:])) if story["error"] else ""
    told = (_count(tokens.input_tokens), _count(tokens.output_tokens)) if exchange.tokens else (None, None)
    edits = len(exchange.edits)
    return Record(
        id=name,
        started=started,
        ended=ended,
        model=model,
        client=client,
        account=account,
        call=(name, started, ended, first_token, client, model, account, status, outcome, error, *told, edits),
        counts=(
            1,
            int(exchange.failed),
            *map(_count, (tokens.input_tokens, tokens.cached_tokens, tokens.output_tokens, tokens.reasoning_tokens)),
        ),
        quota=tuple(
            QuotaWindow(_count(w.minutes), _seconds(w.used_percent), None if w.resets_at is None else _seconds(w.resets_at))
            for w in exchange.quota
        ),
        story=as_json(story),
        bodies={part: pack(body, body_limit, patterns) for part, body in exchange.bodies._asdict().items() if body is not None},
        names=frozenset((kind, name[:MAX_NAME]) for kind, name in _names(exchange, story, patterns) if name),
    )


def _names(exchange: Exchange, story: Mapping[str, Any], patterns: Patterns) -> Iterator[tuple[str, str]]:
    yield from (("event", kind) for kind in story["events"])
    yield from (("field", path) for path in _clean_paths(exchange.event_fields, patterns))
    yield from (("unknown", name) for name in story["unknown"])
    yield from (("header", name) for name in story["upstream_headers"]["names"])
    if story["error"]:
        yield "error", story["error"][1] or story["error"][0]


def _clean_paths(paths: Collection[str], patterns: Patterns) -> Iterable[str]:
    """An answer has two hundred of them: one search of all takes a hundredth of the time of one each."""
    if not patterns and not find("\n".join(paths).encode("utf-8", "replace")):
        return paths
    return [redacted_text(path, patterns) for path in paths]


def _text(value: str | None) -> str:
    """NULL is not taken there."""
    return value or ""


def _seconds(value: float) -> float:
    """What is no number would be NULL in the database."""
    return float(value) if math.isfinite(value) else 0.0


def _count(value: int) -> int:
    """Upstream can write any number; SQLite's have 64 bits, and a sum of them has to fit too."""
    return max(0, min(int(value), 1 << 40))


class Tables:
    """One connection's tables, for writing. To be used within a transaction; of no use after one that failed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._names: dict[str, set[str]] = {}
        for kind, name in connection.execute("SELECT kind, name FROM names"):
            self._names.setdefault(kind, set()).add(name)

    def insert(self, record: Record) -> None:
        cursor = self._connection.execute(
            "INSERT INTO calls (id, started, took, first_token, client, model, account, status, outcome, error, "
            "tokens_in, tokens_out, edits) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
            record.call,
        )
        seq = cursor.lastrowid
        self._connection.execute("INSERT INTO stories VALUES (?, ?)", (seq, record.story))
        rows = [(seq, part, packed) for part, packed in record.bodies.items()]
        self._connection.executemany("INSERT INTO bodies VALUES (?, ?, ?)", rows)
        self._add_up(record)
        self._note_quota(record)
        self._note_names(record)

    def note_gaps(self, gaps: Iterable[Gap]) -> None:
        self._connection.executemany("INSERT INTO gaps VALUES (?, ?, ?, ?)", gaps)

    def _add_up(self, record: Record) -> None:
        key = (day_of(record.started), record.model, record.client, record.account)
        if not self._has_room(key):
            key = (key[0], OTHERS, OTHERS, record.account)
        self._connection.execute(
            "INSERT INTO totals VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET calls = calls + excluded.calls, "
            "failed = failed + excluded.failed, input = input + excluded.input, cached = cached + excluded.cached, "
            "output = output + excluded.output, reasoning = reasoning + excluded.reasoning",
            (*key, *record.counts),
        )

    def _has_room(self, key: tuple[str, ...]) -> bool:
        known = "SELECT 1 FROM totals WHERE day = ? AND model = ? AND client = ? AND account = ?"
        if self._connection.execute(known, key).fetchone():
            return True
        [rows] = self._connection.execute("SELECT count(*) FROM totals WHERE day = ?", key[:1]).fetchone()
        return bool(rows < MAX_TOTALS)

    def _note_quota(self, record: Record) -> None:
        account, heard = record.account, record.started + record.ended
        for window in record.quota:
            before = self._connection.execute(
                "SELECT used, resets_at, heard FROM quotas WHERE account = ? AND minutes = ?", (account, window.minutes)
            ).fetchone()
            if before and before["heard"] > heard:
                continue  # answers come in any order; a window that is known better already is let alone
            percent = _spent(before, window.used_percent, window.resets_at) if before else 0.0
            self._connection.execute(
                "INSERT OR REPLACE INTO quotas VALUES (?,?,?,?,?)",
                (account, window.minutes, window.used_percent, window.resets_at, heard),
            )
            if percent > 0:
                self._connection.execute(
                    "INSERT INTO spent VALUES (?,?,?,?) ON CONFLICT DO UPDATE SET percent = percent + excluded.percent",
                    (day_of(heard), account, window.minutes, percent),
                )

    def _note_names(self, record: Record) -> None:
        for kind, name in record.names:
            known = self._names.setdefault(kind, set())
            if name not in known and len(known) < MAX_NAMES:
                known.add(name)
                row = (kind, name, record.started, record.id)
                self._connection.execute("INSERT OR IGNORE INTO names VALUES (?,?,?,?)", row)


# Upstream tells the same reset a second or two earlier or later from one answer to the next.
SAME_RESET = 120.0


def _spent(before: sqlite3.Row, used: float, resets_at: float | None) -> float:
    """Percent of the window that were used since `before`. What was used between a reset and now counts from zero."""
    was_reset = resets_at is not None and before["resets_at"] is not None and resets_at > before["resets_at"] + SAME_RESET
    return used if was_reset and used < before["used"] else max(0.0, used - before["used"])


def day_of(moment: float) -> str:
    """By the clock on the wall: "today" is the user's."""
    return time.strftime("%Y-%m-%d", time.localtime(moment))
