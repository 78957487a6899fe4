"""Who counts what the keys use: this process by itself, or several together (shared/limits.py)."""

from collections.abc import Callable, Collection, Hashable
from typing import Protocol

from addons.limits import Allowance, Asked, Limits, Wanted


class Counter[Ticket: Hashable](Protocol):
    """Keys are told by their digest: whatever is done to a label or to limits, the minute of a key goes on."""

    async def ask(self, key: bytes, ticket: Ticket, wanted: Wanted, limits: Limits) -> Asked:
        """Takes what is wanted, or nothing."""

    async def settle(self, key: bytes, ticket: Ticket, used: int | None) -> None:
        """It is over, and has used so many tokens; None if nobody knows."""

    def keep(self, keys: Collection[bytes]) -> None:
        """Forgets all others."""


class OwnCounter[Ticket: Hashable]:
    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.allowances: dict[bytes, Allowance[Ticket]] = {}

    def of(self, key: bytes) -> Allowance[Ticket]:
        return self.allowances.setdefault(key, Allowance())

    async def ask(self, key: bytes, ticket: Ticket, wanted: Wanted, limits: Limits) -> Asked:
        allowance, now = self.of(key), self.clock()
        over = allowance.ask(ticket, wanted, limits, now)
        return Asked(over, allowance.gauges(limits, now))

    async def settle(self, key: bytes, ticket: Ticket, used: int | None) -> None:
        if allowance := self.allowances.get(key):
            allowance.settle(ticket, used, self.clock())

    def keep(self, keys: Collection[bytes]) -> None:
        self.allowances = {key: kept for key, kept in self.allowances.items() if key in keys}
