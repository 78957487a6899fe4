"""The addon of a proxy that is one of several: says twice a second that it is there, hears what the others have learned."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from mitmproxy import ctx
from mitmproxy.utils import asyncio_utils

from addons.shared.line import Away
from addons.shared.presence import Presence

# Seconds. What one proxy learns the others know after as many, and a Redis that is back is noticed as soon.
BEAT = 0.5


class CodexReplicas:
    """Sees no request, so its place in the list is of no account."""

    def __init__(self, presence: Presence, errands: Sequence[Callable[[], Awaitable[None]]]) -> None:
        """`errands` are run with each beat, and may raise Away."""
        self.presence = presence
        self.errands = errands
        self.background: asyncio.Task[None] | None = None

    def running(self) -> None:
        if ctx.options.codex_mode != "forward":
            self.background = asyncio_utils.create_task(self._beat(), name="codex replicas", keep_ref=False)

    def done(self) -> "asyncio.Task[None]":
        """Before `CodexAccounts`, which closes the connections. A task, for which mitmproxy waits at its end."""
        if self.background:
            self.background.cancel()
        return asyncio_utils.create_task(self._leave(), name="codex replicas leave", keep_ref=True)

    async def _beat(self) -> None:
        while True:
            with suppress(Away):
                await self.presence.beat()
                for errand in self.errands:
                    await errand()
            await asyncio.sleep(BEAT)

    async def _leave(self) -> None:
        with suppress(Away):
            await self.presence.leave()
