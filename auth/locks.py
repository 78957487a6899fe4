"""One attempt at an exclusive lock on an open file, on either kind of operating system.

The operating system drops the lock when the descriptor is closed, also when the process was killed: there is no stale lock
and nothing to break. Attempts never block, so the caller decides how to wait (the event loop must not).
"""

import os
import sys

if sys.platform == "win32":
    import msvcrt

    def try_lock(descriptor: int) -> bool:
        """True if this descriptor holds the lock now. Any range overlaps the CLI's, which is the whole file."""
        os.lseek(descriptor, 0, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def try_lock(descriptor: int) -> bool:
        """True if this descriptor holds the lock now. Raises OSError where the file system knows no locks."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
