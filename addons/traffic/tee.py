"""Collects a body while it passes by, in bounded memory: its beginning, and its end. What is between them is counted."""

from array import array
from collections import deque

from addons.traffic.exchange import Body, Chunk

# Per body. A request with a few screenshots has about 2 MiB; of a stream the beginning and the end tell most.
BODY_LIMIT = 4 << 20

# A stream of one-byte chunks would cost a hundred times its size. What belongs to the same moment is put together then.
MAX_CHUNKS = 20_000


class Tee:
    def __init__(self, limit: int = BODY_LIMIT) -> None:
        self._room = limit // 2
        self._tail_room = limit - limit // 2
        self._head: list[bytes] = []
        self._moments = array("d")
        self._tail: deque[Chunk] = deque()
        self._tail_size = 0
        self.left_out = 0

    def add(self, at: float, data: bytes) -> None:
        if not data:
            return
        size = len(data)
        if size <= self._room and len(self._head) < MAX_CHUNKS:  # nearly always
            self._moments.append(at)
            self._head.append(data)
            self._room -= size
            return
        first = data[: self._room] if len(self._head) < MAX_CHUNKS else b""
        if first:
            self._moments.append(at)
            self._head.append(first)
        self._room = 0
        self._tail.append(Chunk(at, data[len(first) :]))
        self._tail_size += size - len(first)
        self._make_room()

    def _make_room(self) -> None:
        while self._tail_size > self._tail_room or len(self._tail) > MAX_CHUNKS:
            first = self._tail.popleft()
            over = len(first.data) if len(self._tail) >= MAX_CHUNKS else min(len(first.data), self._tail_size - self._tail_room)
            if over < len(first.data):
                self._tail.appendleft(Chunk(first.at, first.data[over:]))
            self._tail_size -= over
            self.left_out += over

    def body(self) -> Body:
        pieces = [*self._head, *(data for _, data in self._tail)]
        moments = self._moments + array("d", [at for at, _ in self._tail])
        gap = len(self._head) if self.left_out else 0
        return Body.of(b"".join(pieces), moments, array("Q", map(len, pieces)), self.left_out, gap)


def capped(body: Body, limit: int) -> Body:
    """No longer than the limit; what a body has lost already stays lost."""
    if body.size <= limit and len(body.moments) <= 2 * MAX_CHUNKS:
        return body
    tee = Tee(limit)
    for chunk in body.chunks:
        tee.add(chunk.at, chunk.data)
    cut = tee.body()
    cut.left_out += body.left_out
    return cut
