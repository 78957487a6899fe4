"""What it means when a database cannot be written, in words for `tail`, the log and the commands."""

import errno
import shutil
import sqlite3
from pathlib import Path

from addons.traffic.errors import BadDatabase

# What SQLite says when the -shm file finds no room, too.
IO_ERROR = "disk I/O error"
FULL = 64 << 10

# SQLite's words, as a user is told why calls are missing.
REASONS = {
    "database or disk is full": "the disk was full",
    "attempt to write a readonly database": "the disk was read-only",
    IO_ERROR: "the disk failed",
    "database is locked": "another program held the database",
}
ERRNOS = {errno.ENOSPC: "the disk was full", errno.EDQUOT: "the disk was full", errno.EROFS: "the disk was read-only"}


def reason(error: sqlite3.Error | OSError | BadDatabase, folder: Path) -> str:
    if isinstance(error, OSError):
        return ERRNOS.get(error.errno or 0) or (error.strerror or str(error)).lower()
    text = str(error)
    if text == IO_ERROR and _is_full(folder):
        text = "database or disk is full"
    return REASONS.get(text, text.lower())


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < FULL
    except OSError:
        return False
