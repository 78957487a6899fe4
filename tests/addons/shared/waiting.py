"""Until something is so, or for much longer than it can take."""

import asyncio
import time
from collections.abc import Awaitable, Callable


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + 20
    while not await is_so():
        assert time.monotonic() < deadline, "it did not come to that"
        await asyncio.sleep(0.02)
