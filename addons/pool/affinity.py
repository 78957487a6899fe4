"""Where a conversation is at home: on the account that served it last, because upstream keeps a prompt cache per account.

Bounded: what was not used for longest is forgotten first. What clients call their conversations is kept as a hash only.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from hashlib import sha256

# One new conversation each second, for over an hour.
SIZE = 4096
# Upstream keeps a cache for an hour at the most when it is not used.
KEEP_FOR = 3600.0


class Homes:
    def __init__(self, size: int = SIZE, keep_for: float = KEEP_FOR) -> None:
        self._size = size
        self._keep_for = keep_for
        self._homes: OrderedDict[str, tuple[str, float]] = OrderedDict()  # by mark: the account, and when it was last used

    def __len__(self) -> int:
        return len(self._homes)

    def find(self, keys: Iterable[str], among: Collection[str], now: float) -> str | None:
        """The account of the first key that has one among those."""
        for key in keys:
            name, used_at = self._homes.get(_mark(key), ("", 0.0))
            if name in among and now - used_at < self._keep_for:
                return name
        return None

    def settle(self, keys: Iterable[str], name: str, now: float) -> None:
        """All of the keys are at home there now, wherever they were before."""
        for key in keys:
            self._put(_mark(key), name, now)

    def keep(self, names: Collection[str]) -> None:
        self._homes = OrderedDict((mark, home) for mark, home in self._homes.items() if home[0] in names)

    def entries(self) -> Iterator[tuple[str, str, float]]:
        """(mark, account, last use), the oldest first; `restore` takes them."""
        return ((mark, name, used_at) for mark, (name, used_at) in self._homes.items())

    def restore(self, mark: str, name: str, used_at: float) -> None:
        self._put(mark, name, used_at)

    def _put(self, mark: str, name: str, used_at: float) -> None:
        self._homes[mark] = name, used_at
        self._homes.move_to_end(mark)
        while len(self._homes) > self._size:
            self._homes.popitem(last=False)


def _mark(key: str) -> str:
    # 64 bits tell 4096 keys apart. Half a surrogate pair, which JSON can hold, is no UTF-8.
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]
