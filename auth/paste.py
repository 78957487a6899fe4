"""Lines typed or pasted on stdin, while the event loop goes on.

A thread reads, because a loop cannot watch a terminal on Windows, nor a regular file anywhere. It reads the descriptor and not
`sys.stdin`: a daemon thread that is inside a buffered reader when Python ends aborts the process.
"""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import suppress

MAX_LINE = 16 << 10  # an address with a code in it is below 1 KiB


async def lines() -> AsyncIterator[str]:
    """Ends where stdin ends, at once if there is none."""
    descriptor = _stdin()
    if descriptor is None:
        return
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str | None] = asyncio.Queue()
    threading.Thread(target=_read, args=(descriptor, loop, queue), name="auth: stdin", daemon=True).start()
    while (line := await queue.get()) is not None:
        yield line


def _stdin() -> int | None:
    try:
        # None if the process was started without one; 0 may be anything then.
        return None if sys.stdin is None else sys.stdin.fileno()
    except (OSError, ValueError):
        return None


def _read(descriptor: int, loop: asyncio.AbstractEventLoop, queue: asyncio.Queue[str | None]) -> None:
    pending = b""
    with suppress(OSError, RuntimeError):  # stdin was closed under us; the loop was closed before the user pasted anything
        while chunk := os.read(descriptor, 4096):
            *complete, pending = (pending + chunk).split(b"\n")
            for line in complete:
                loop.call_soon_threadsafe(queue.put_nowait, line.decode("utf-8", "replace"))
            pending = pending[:MAX_LINE]
        loop.call_soon_threadsafe(queue.put_nowait, pending.decode("utf-8", "replace"))
        loop.call_soon_threadsafe(queue.put_nowait, None)
