"""The recorder: takes exchanges from the proxy and writes them down in a thread of its own.

    put()  ->  queue, bounded by calls and bytes  ->  redact, pack  ->  one transaction for all that has come meanwhile

`put` never waits and never raises, whatever the disk does. While nothing can be written, the calls wait in the queue; what no
longer fits there is counted, and the count is written as a gap as soon as there is room again. A transaction is begun as soon as
there is something to write, so that a killed process loses what came in within the last moments, and nothing else.
"""

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from addons.traffic import retention
from addons.traffic.errors import BadDatabase
from addons.traffic.exchange import Exchange
from addons.traffic.recording import SAME_GAP, Gap, Record, Tables, record_of
from addons.traffic.retention import DEFAULT_LIMITS, Limits
from addons.traffic.schema import identity, open_to_write, transaction
from addons.traffic.searching import PatternsFailed, Searching
from addons.traffic.tee import BODY_LIMIT
from addons.traffic.trouble import reason

logger = logging.getLogger(__name__)

QUEUE_CALLS, QUEUE_BYTES = 5000, 64 << 20
# An exchange without bodies, in memory.
WEIGHT = 4096

# What one transaction takes. Redacting and packing 8 MiB takes about a quarter of a second.
BATCH_CALLS, BATCH_BYTES = 200, 8 << 20

# Seconds for which a batch waits for company. A thread that wakes up for every call takes more of the caller's time by being there
# than by what it does: the interpreter lets one of them run at a time.
LINGER = 0.25

# Seconds between two tries while nothing can be written, and between two looks for what is old.
RETRY_EVERY = 1.0
TIDY_EVERY = 60.0

# The same for what has to be told of calls that are not recorded, while none is.
GAP_LINGER = 5.0
MAX_GAPS = 100

OVERRUN = "more calls came than could be written"
FAULT = "a fault in codex-mitm, see its log"


# What SQLite complains of when it is not the disk's fault.
OUR_FAULTS = (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError)


class Health(NamedTuple):
    waiting: int
    """Calls that are not written yet."""
    not_recorded: int
    """Calls that never will be, since the start."""
    trouble: str
    """Why nothing can be written now; empty if it can."""


class Waiting(NamedTuple):
    exchange: Exchange
    weight: int
    patterns: Sequence[str]


class Recorder:
    def __init__(
        self,
        path: Path,
        *,
        limits: Limits = DEFAULT_LIMITS,
        body_limit: int = BODY_LIMIT,
        queue_calls: int = QUEUE_CALLS,
        queue_bytes: int = QUEUE_BYTES,
        tidy_every: float = TIDY_EVERY,
        retry_every: float = RETRY_EVERY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path, self._limits, self._body_limit = path, limits, body_limit
        self._queue_calls, self._queue_bytes = queue_calls, queue_bytes
        self._tidy_every, self._retry_every, self._clock = tidy_every, retry_every, clock
        self._changed = threading.Condition()  # guards what follows; nobody waits for a disk while holding it
        self._queue: deque[Waiting] = deque()
        self._queued_bytes = 0
        self._writing = 0
        self._gaps: list[Gap] = []
        self._batch_gaps: list[Gap] = []
        self._not_recorded = 0
        self._trouble = ""
        self._closing = False
        self._flushing = 0
        self._thread = threading.Thread(target=self._run, name="codex traffic", daemon=True)
        # Of the thread alone:
        self._searching: Searching | None = None
        self._connection: sqlite3.Connection | None = None
        self._tables: Tables | None = None
        self._opened: tuple[int, int] | None = None
        self._batch: list[Record] = []
        self._batch_bytes = 0
        self._tidy_at = 0.0

    def start(self) -> None:
        self._thread.start()

    def put(self, exchange: Exchange, patterns: Sequence[str] = ()) -> bool:
        """Takes one call over; False if there is no room for it. Never waits, never raises. What matches one of the user's patterns
        is not recorded."""
        weight = WEIGHT + sum([body.size for body in exchange.bodies if body is not None])
        with self._changed:
            waiting = len(self._queue) + self._writing
            if self._closing or waiting >= self._queue_calls or self._queued_bytes + weight > self._queue_bytes:
                self._skip(1, self._trouble or OVERRUN)
                return False
            self._queue.append(Waiting(exchange, weight, patterns))
            self._queued_bytes += weight
            if len(self._queue) == 1 or self._is_worth_it():  # to wake it for every call would cost as much as to write one
                self._changed.notify_all()
        return True

    def leave_out(self, why: str) -> None:
        """One call that shall be counted, and not recorded."""
        with self._changed:
            self._skip(1, why)
            self._changed.notify_all()

    def health(self) -> Health:
        with self._changed:
            return Health(len(self._queue) + self._writing, self._not_recorded, self._trouble)

    def flush(self, patience: float) -> bool:
        """Waits until all that was put is on the disk; False if it took too long."""
        with self._changed:
            self._flushing += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: not self._has_work(), patience)
            finally:
                self._flushing -= 1

    def close(self, patience: float = 2.0) -> None:
        """Writes what there is. A disk that does not answer is not waited for: the thread ends with the process."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(patience)
        if left := self.health().waiting:
            logger.error("%d calls were not recorded in %s before the end", left, self._path)

    # -- what follows runs in the thread

    def _run(self) -> None:
        while not self._is_over():
            self._take_batch()
            try:
                self._write()
                self._tidy()
            except OUR_FAULTS:
                self._close_connection()
                self._give_up_batch()
                self._pause()
            except (sqlite3.Error, OSError, BadDatabase) as e:
                self._close_connection()
                self._fail(e)
                self._pause()
                if self._is_closing():
                    break
            else:
                self._recover()
        self._close_connection()
        if self._searching:
            self._searching.close()

    def _is_closing(self) -> bool:
        with self._changed:
            return self._closing

    def _is_over(self) -> bool:
        with self._changed:
            return self._closing and not self._has_work()

    def _has_work(self) -> bool:
        """Under the lock."""
        return bool(self._queue or self._writing or self._gaps or self._batch_gaps)

    def _take_batch(self) -> None:
        """Waits for something to write, or for the next look at what is old. A batch that failed is taken up again."""
        if self._batch:
            return
        taken: deque[Waiting] = deque()
        with self._changed:
            self._changed.wait_for(lambda: self._has_work() or self._closing, max(0.0, self._tidy_at - time.monotonic()))
            if not self._queue and self._gaps:
                self._changed.wait_for(lambda: bool(self._queue) or self._is_worth_it(), GAP_LINGER)
            if self._queue:
                self._changed.wait_for(self._is_worth_it, LINGER)
            while (
                self._queue and len(taken) < BATCH_CALLS and (not taken or self._batch_bytes + self._queue[0].weight <= BATCH_BYTES)
            ):
                taken.append(self._queue.popleft())
                self._batch_bytes += taken[-1].weight
            self._writing = len(taken)
        while taken:
            first = taken.popleft()
            try:
                record = self._packed(first)
            except PatternsFailed as e:
                logger.warning("%s is not recorded: %s", first.exchange.id, e)
                self._put_back(taken, e.why)
                return
            if record:
                self._batch.append(record)

    def _put_back(self, rest: deque[Waiting], why: str) -> None:
        """A call was given up after seconds, and the next one may be no better: what is packed by now is written first."""
        with self._changed:
            self._skip(1, why)
            self._queue.extendleft(reversed(rest))
            self._batch_bytes -= sum(waiting.weight for waiting in rest)
            self._writing -= len(rest)

    def _packed(self, waiting: Waiting) -> Record | None:
        """Raises PatternsFailed. The boundary: one exchange that cannot be understood must not end the recording."""
        try:
            return record_of(waiting.exchange, self._body_limit, self._search(waiting.patterns))
        except PatternsFailed:
            raise
        except Exception:
            logger.exception("a call could not be recorded")
            with self._changed:
                self._skip(1, FAULT)
            return None

    def _search(self, patterns: Sequence[str]) -> Searching | None:
        if self._searching and self._searching.patterns != patterns:
            self._searching.close()
            self._searching = None
        if patterns and not self._searching:
            self._searching = Searching(patterns)
        return self._searching

    def _write(self) -> None:
        with self._changed:
            self._batch_gaps += self._gaps
            self._gaps = []
        if self._batch or self._batch_gaps:
            connection = self._open()
            self._tables = self._tables or Tables(connection)
            with transaction(connection):
                if self._batch:
                    self._tables.insert(self._batch)
                self._tables.note_gaps(self._batch_gaps)
        self._batch = []
        with self._changed:
            self._batch_gaps = []
            self._queued_bytes -= self._batch_bytes
            self._batch_bytes = self._writing = 0
            self._changed.notify_all()

    def _give_up_batch(self) -> None:
        """It would fail again, and hold up all that come after it."""
        logger.exception("%d calls could not be recorded", len(self._batch))
        with self._changed:
            self._skip(len(self._batch), FAULT)
            self._queued_bytes -= self._batch_bytes
            self._batch_bytes = self._writing = 0
        self._batch = []

    def _open(self) -> sqlite3.Connection:
        """Again if somebody has removed the file: what is written into a file without a name is lost."""
        if self._connection is not None and self._opened != identity(self._path):
            self._close_connection()
        if self._connection is None:
            self._connection = open_to_write(self._path)
            self._opened = identity(self._path)
        return self._connection

    def _close_connection(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = self._tables = None

    def _fail(self, error: sqlite3.Error | OSError | BadDatabase) -> None:
        why = reason(error, self._path.parent)
        with self._changed:
            known, self._trouble = self._trouble, why
        if known != why:
            hint = f" ({error.remedy})" if isinstance(error, BadDatabase) else ""
            # No error: mitmproxy ends when one is logged while it starts.
            logger.warning("calls cannot be recorded in %s, %s%s; the proxy goes on, and it is tried again", self._path, why, hint)

    def _pause(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing, self._retry_every)

    def _recover(self) -> None:
        with self._changed:
            recovered, self._trouble = self._trouble, ""
        if recovered:
            logger.info("calls are recorded again in %s; %d were not, since the start", self._path, self._not_recorded)

    def _tidy(self) -> None:
        """All that there is to do if nobody waits, else one step."""
        while time.monotonic() >= self._tidy_at and self._path.exists():
            if retention.step(self._open(), self._limits, self._clock()) == 0:
                retention.tidy_totals(self._open(), self._clock())
                break
            if self._is_wanted():
                return
        if time.monotonic() >= self._tidy_at:
            self._tidy_at = time.monotonic() + self._tidy_every

    def _is_worth_it(self) -> bool:
        """Under the lock."""
        return self._closing or self._flushing > 0 or len(self._queue) >= BATCH_CALLS or self._queued_bytes >= BATCH_BYTES

    def _is_wanted(self) -> bool:
        with self._changed:
            return bool(self._queue) or self._closing

    def _skip(self, calls: int, why: str) -> None:
        """Under the lock."""
        now = self._clock()
        self._not_recorded += calls
        last = self._gaps[-1] if self._gaps else None
        if last and (len(self._gaps) >= MAX_GAPS or (last.why == why and now - last.until < SAME_GAP)):
            self._gaps[-1] = last._replace(until=now, calls=last.calls + calls)
        else:
            self._gaps.append(Gap(now, now, calls, why))
