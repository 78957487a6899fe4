"""Who is in, who waits, and who is next: so many slots, a queue of so many places before them, and turns that go round.

    a slot is never free while somebody waits
    within a client the first that came is the first that gets in
    between clients the turns go round: before a ticket that has n of its own client's before it, each other client has at most
    n + 1 turns, however much it asks for
    a full queue makes room for a client that has clearly less in it than another: the newest ticket of whoever has most gives way
    the numbers may change at any time: who is in stays in, who waits keeps the place, and for everybody else the new ones hold

Pure. A ticket is whatever the caller tells its requests apart by; it is in here from `ask` until `release` or `leave`.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Literal, NamedTuple


class Queued[Ticket: Hashable](NamedTuple):
    position: int
    """1 is next, if nobody comes or leaves meanwhile."""
    gave_way: Ticket | None = None
    """Was waiting, and waits no more: the queue was full, and its client had most in it."""


class Slots[Ticket: Hashable]:
    def __init__(self, limit: int, queue_size: int) -> None:
        self.limit = limit
        self.queue_size = queue_size
        self.taken: set[Ticket] = set()
        self.waiting: dict[Ticket, str] = {}
        """The client of each, in the order in which they came."""
        self.lines: OrderedDict[str, OrderedDict[Ticket, None]] = OrderedDict()
        """Those who wait, by client, in the order of their turns. No line is empty."""

    def ask(self, client: str, ticket: Ticket) -> Literal["in", "full"] | Queued[Ticket]:
        assert ticket not in self.taken and ticket not in self.waiting, "a ticket is good for one slot"
        if len(self.taken) < self.limit:
            self.taken.add(ticket)
            return "in"
        gave_way = None
        if len(self.waiting) >= self.queue_size:
            gave_way = self._who_gives_way_to(client)
            if gave_way is None:
                return "full"
            self.leave(gave_way)
        self.waiting[ticket] = client
        self.lines.setdefault(client, OrderedDict())[ticket] = None
        return Queued(self._position(client), gave_way)

    def release(self, ticket: Ticket) -> Ticket | None:
        """The one that is in instead. A ticket that is not in releases nothing."""
        if ticket not in self.taken:
            return None
        self.taken.remove(ticket)
        return self._let_in()

    def leave(self, ticket: Ticket) -> None:
        """The queue, that is; one that is in stays in."""
        client = self.waiting.pop(ticket, None)
        if client is not None:
            del self.lines[client][ticket]
            if not self.lines[client]:
                del self.lines[client]

    def change(self, limit: int, queue_size: int) -> list[Ticket]:
        """Those who get in by it."""
        self.limit, self.queue_size = limit, queue_size
        let_in = []
        while (ticket := self._let_in()) is not None:
            let_in.append(ticket)
        return let_in

    def _let_in(self) -> Ticket | None:
        if not self.lines or len(self.taken) >= self.limit:
            return None
        client, line = next(iter(self.lines.items()))
        ticket = next(iter(line))
        self.lines.move_to_end(client)
        self.leave(ticket)
        self.taken.add(ticket)
        return ticket

    def _who_gives_way_to(self, client: str) -> Ticket | None:
        """Nobody, unless the newcomer's client has as much as the other one afterwards, or less."""
        longest = max(self.lines.values(), key=len, default=None)
        if longest is None or len(longest) < len(self.lines.get(client, ())) + 2:
            return None
        return next(reversed(longest))

    def _position(self, client: str) -> int:
        """Of the last one in this client's line."""
        rounds = len(self.lines[client])
        position, is_before = 0, True
        for name, line in self.lines.items():
            if name == client:
                is_before = False
                position += rounds
            else:
                position += min(len(line), rounds if is_before else rounds - 1)
        return position
