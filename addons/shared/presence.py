"""Which proxies are there. Each has a lease and renews it; what belongs to one whose lease is over does not count any more."""

import secrets
from collections.abc import Awaitable, Callable

from addons.shared.line import Line, lua

# Seconds. What a proxy held that died, or was stopped, counts for this long. The beats of a busy one come late.
LEASE = 10.0

BEAT = lua("clock", "beat")
LEAVE = lua("leave")


class Presence:
    def __init__(self, line: Line, lease: float = LEASE) -> None:
        self.line = line
        self.lease = lease
        self.id = secrets.token_hex(8)
        self.key = line.key("replicas")
        self.restorers: list[Callable[[], Awaitable[None]]] = []
        """Are asked to say again what this proxy holds: it was taken for dead, or Redis has forgotten everything."""

    async def beat(self) -> None:
        """Raises Away."""
        if not await self.line.knock(BEAT, [self.key], ["", self.id, round(self.lease * 1e6)]):
            for restore in self.restorers:
                await restore()

    async def leave(self) -> None:
        """What it held is free at once. Raises Away."""
        await self.line.run(LEAVE, [self.key], [self.id])
