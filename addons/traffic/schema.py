"""The database's tables, how they came to be, and opening it: for the one who writes, and for those who read.

    calls     one row a call, narrow: what `tail` and `prune` look at
    stories   the rest of it, as JSON (stories.py)
    bodies    what was sent, packed (packing.py)
    totals    tokens by day, model, client and account; they outlive the calls
    quotas    the last word about each window of an account's plan
    spent     how many percent of a window were used up by day
    names     every event type, field, error code and header that upstream ever used, with the first call that had it
    gaps      calls that were not recorded, and why

WAL, so that readers and the writer never wait for each other. `synchronous=NORMAL`: a killed process loses nothing that it has
committed, a power cut the last moments, and neither harms the file.
"""

import os
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from addons.traffic.errors import BadDatabase, NewerSchema, NoDatabase, NotOurs

# What `file` shows, and how we know our own: "CXTR".
APPLICATION_ID = 0x43585452

# Milliseconds that a command, or another proxy on the same file, may hold the lock. It takes them one.
BUSY = 2000

# What a checkpoint leaves of the -wal file.
WAL_SIZE = 4 << 20

# One step for each version; `user_version` counts those that were taken. Steps are added, never changed.
MIGRATIONS: Sequence[str] = (
    """
    CREATE TABLE calls (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL,
        started REAL NOT NULL,
        took REAL NOT NULL,
        first_token REAL,
        client TEXT NOT NULL,
        model TEXT NOT NULL,
        account TEXT NOT NULL,
        status INTEGER,
        outcome TEXT NOT NULL,
        error TEXT NOT NULL,
        tokens_in INTEGER,
        tokens_out INTEGER,
        edits INTEGER NOT NULL
    );
    CREATE INDEX calls_id ON calls (id);
    CREATE INDEX calls_started ON calls (started);
    CREATE TABLE stories (seq INTEGER PRIMARY KEY, story TEXT NOT NULL);
    CREATE TABLE bodies (seq INTEGER NOT NULL, part TEXT NOT NULL, packed BLOB NOT NULL, PRIMARY KEY (seq, part));
    CREATE TABLE totals (
        day TEXT NOT NULL, model TEXT NOT NULL, client TEXT NOT NULL, account TEXT NOT NULL,
        calls INTEGER NOT NULL, failed INTEGER NOT NULL,
        input INTEGER NOT NULL, cached INTEGER NOT NULL, output INTEGER NOT NULL, reasoning INTEGER NOT NULL,
        PRIMARY KEY (day, model, client, account)
    ) WITHOUT ROWID;
    CREATE TABLE quotas (
        account TEXT NOT NULL, minutes INTEGER NOT NULL, used REAL NOT NULL, resets_at REAL, heard REAL NOT NULL,
        PRIMARY KEY (account, minutes)
    ) WITHOUT ROWID;
    CREATE TABLE spent (
        day TEXT NOT NULL, account TEXT NOT NULL, minutes INTEGER NOT NULL, percent REAL NOT NULL,
        PRIMARY KEY (day, account, minutes)
    ) WITHOUT ROWID;
    CREATE TABLE names (
        kind TEXT NOT NULL, name TEXT NOT NULL, first_seen REAL NOT NULL, id TEXT NOT NULL,
        PRIMARY KEY (kind, name)
    ) WITHOUT ROWID;
    CREATE TABLE gaps (since REAL NOT NULL, until REAL NOT NULL, calls INTEGER NOT NULL, why TEXT NOT NULL);
    """,
)


def open_to_write(path: Path, migrations: Sequence[str] = MIGRATIONS) -> sqlite3.Connection:
    """Makes the database if need be, for nobody else to look into, and brings it up to date.

    Raises OSError, sqlite3.Error, or BadDatabase if waiting does not help.
    """
    _make_private(path)
    connection = _connect(path, "rwc")
    with ExitStack() as undo:
        undo.callback(connection.close)
        if _check(connection, path, len(migrations)) == 0:  # only before the first table
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_SIZE}")
        _bring_up_to_date(connection, path, migrations)
        undo.pop_all()
    return connection


def open_to_read(path: Path, migrations: Sequence[str] = MIGRATIONS) -> sqlite3.Connection:
    """Raises NoDatabase or BadDatabase. One that an older codex-mitm wrote is brought up to date first."""
    if not path.exists():
        raise NoDatabase(str(path))
    try:
        connection = _connect(path, "ro")
        try:
            version = _check(connection, path, len(migrations))
        except sqlite3.OperationalError as e:
            connection.close()
            # A WAL needs files beside it, even to read. Where they cannot be made nobody writes either.
            if not e.sqlite_errorname.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
                raise
            connection = _connect(path, "ro&immutable=1")
            version = _check(connection, path, len(migrations))
        if version == 0:
            connection.close()
            raise NoDatabase(str(path))
        if version < len(migrations):
            connection.close()
            open_to_write(path, migrations).close()
            connection = _connect(path, "ro")
        return connection
    except (sqlite3.Error, OSError) as e:
        raise BadDatabase(str(path), str(e)) from e


def identity(path: Path) -> tuple[int, int] | None:
    """Whether it is still the same file, for those who keep it open."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing. IMMEDIATE: one that begins by reading could not be made to wait for another writer later."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    # Autocommit; transactions are begun by hand. The writer opens in one thread and works in it, a test may close from another.
    name = path.absolute().as_posix().lstrip("/").replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    connection = sqlite3.connect(
        f"file:///{name}?mode={mode}", uri=True, timeout=BUSY / 1000, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    return connection


def _check(connection: sqlite3.Connection, path: Path, known: int) -> int:
    """The version, 0 for an empty file."""
    # In this order: another proxy may be making the tables just now, and does both at once.
    [version] = connection.execute("PRAGMA user_version").fetchone()
    [tables] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    [application] = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID and (application or version or tables):
        raise NotOurs(str(path))
    if version > known:
        raise NewerSchema(str(path), version, known)
    return int(version)


def _bring_up_to_date(connection: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    with transaction(connection):
        # Read again under the lock: another proxy may have been here in between.
        version = _check(connection, path, len(migrations))
        for step in migrations[version:]:
            for statement in filter(str.strip, step.split(";")):
                connection.execute(statement)
        if version < len(migrations):
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {len(migrations)}")


def _make_private(path: Path) -> None:
    """The file before SQLite makes it by the umask; its -wal and -shm take after it."""
    missing = [parent for parent in path.absolute().parents if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir(mode=0o700, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600))
    if sys.platform == "win32":
        return
    found = path.stat()
    if found.st_mode & 0o077:
        path.chmod(0o600)
    folder = path.absolute().parent.stat()
    if os.geteuid() == 0 and found.st_uid != folder.st_uid:
        # A container that runs as root on somebody's folder leaves nothing that they cannot open.
        with suppress(PermissionError):
            os.chown(path, folder.st_uid, folder.st_gid)
