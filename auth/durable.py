"""Bytes to disk such that a kill, a power cut or a full disk leaves either the old content or the new, never less.

Plain blocking functions that raise OSError; the caller knows which thread to use and what to tell the user.
"""

import os
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

TEMP_PREFIX = ".auth-"  # the CLI's own, so that whoever comes next can tidy up after either of us
TEMP_MAX_AGE = 60.0  # a write takes milliseconds: a temp file this old belongs to a process that was killed
PROBE_SIZE = 8192  # an auth.json is 3 to 6 KiB
RENAME_TRIES, RENAME_WAIT = 25, 0.02


class Stamp(NamedTuple):
    """Differs whenever a file was replaced or rewritten. Cheap: one stat, no read."""

    mtime_ns: int
    size: int
    inode: int


def stamp(path: Path) -> Stamp | None:
    """None if there is no such file, or none that we may see."""
    try:
        return _stamp(os.stat(path))
    except OSError:
        return None


def replace(path: Path, content: bytes) -> Stamp:
    """Write beside, fsync, rename. Returns the stamp of exactly these bytes, whoever writes next."""
    target = Path(os.path.realpath(path))  # a symlink stays one: the file it points to is replaced
    temp = _write_temp(target.parent, content)
    try:
        _give_to_owner_of(target if target.exists() else target.parent, temp)
        written = _stamp(os.stat(temp))
        _rename(temp, target)
    except OSError:
        temp.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)
    return written


def overwrite(path: Path, content: bytes) -> None:
    """In place, for content that always has the same length: needs no free block once the file exists."""
    descriptor = open_private(path)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def probe(path: Path) -> None:
    """Raises the OSError that replacing the file would run into now."""
    target = Path(os.path.realpath(path))
    _write_temp(target.parent, bytes(PROBE_SIZE)).unlink()


def sweep(folder: Path) -> None:
    """Removes what killed processes left behind. Only under the lock."""
    for temp in folder.glob(f"{TEMP_PREFIX}*"):
        try:
            if time.time() - temp.stat().st_mtime > TEMP_MAX_AGE:
                temp.unlink()
        except OSError:
            continue  # somebody else's, or gone already


def read_bounded(path: Path, limit: int) -> bytes:
    """At most `limit` bytes and one more, by which the caller can tell that there are too many."""
    with path.open("rb") as file:
        return file.read(limit + 1)


def open_private(path: Path, mode: int = 0o600) -> int:
    """A descriptor for reading and writing; the file is created if need be, and belongs to whom its folder belongs."""
    created = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), mode)
    if created:
        _give_to_owner_of(path.parent, path)
    return descriptor


def open_lockable(path: Path, mode: int) -> int:
    """A lock needs a descriptor, not the right to write: on a read-only mount an existing lock file still serves."""
    try:
        return open_private(path, mode)
    except OSError:
        if not path.exists():
            raise
        return os.open(path, os.O_RDONLY)


def is_at(descriptor: int, path: Path) -> bool:
    """Whether this open file is still the one that the path leads to."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def make_private_folders(folder: Path) -> None:
    """0700 for each folder that is created; those that exist stay as they are."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir(mode=0o700, exist_ok=True)


def _write_temp(folder: Path, content: bytes) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=TEMP_PREFIX, dir=folder)  # created 0600
    temp = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temp.unlink(missing_ok=True)
        raise
    return temp


def _rename(temp: Path, target: Path) -> None:
    # Windows refuses while anyone has the target open; readers are done in a moment.
    for _ in range(RENAME_TRIES if sys.platform == "win32" else 0):
        try:
            return os.replace(temp, target)
        except PermissionError:
            time.sleep(RENAME_WAIT)
    os.replace(temp, target)


def _give_to_owner_of(pattern: Path, path: Path) -> None:
    # A container that runs as root on a mounted ~/.codex must not leave files that the user's own CLI cannot open.
    # Some mounts forbid even root to do so (NFS with root_squash); then the file is theirs already.
    if sys.platform != "win32" and os.geteuid() == 0:
        owner = pattern.stat()
        with suppress(PermissionError):
            os.chown(path, owner.st_uid, owner.st_gid)


def _sync_folder(folder: Path) -> None:
    # Without it the rename may be lost in a power cut. Windows has no such call, and some network file systems refuse it:
    # the file is replaced all the same, and saying otherwise would be wrong.
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            with suppress(OSError):
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _stamp(found: os.stat_result) -> Stamp:
    return Stamp(found.st_mtime_ns, found.st_size, found.st_ino)
