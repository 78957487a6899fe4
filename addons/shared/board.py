"""Facts that several proxies exchange through Redis, sealed: what is pinned here, all of them read within a beat.

Nobody subscribes to anything: to ask twice a second what has changed is one question, and whatever was missed is in the next
answer. Now and then everything is read again, and what Redis has lost is told again: a restart may cost it its last second, or all.
"""

from collections.abc import Mapping

from addons.shared.facts import Fact, Facts, merge
from addons.shared.line import Line, lua

EXCHANGE = lua("clock", "exchange")

# Every minute, with two exchanges a second.
WHOLE_EVERY = 120


class Board:
    def __init__(self, line: Line, name: str, size: int) -> None:
        """`size` is how many facts are kept at most, the newest."""
        self.line = line
        self.name = name
        self.size = size
        self.facts: Facts = {}
        """All that this proxy knows, its own news included."""
        self.news: Facts = {}
        """What it has to tell."""
        self._epoch, self._version, self._asked = "", 0, 0
        self._keys = [line.key("board", name, part) for part in ("facts", "versions", "count")]

    def pin(self, facts: Mapping[str, Fact]) -> None:
        self.facts, self.news = merge(self.facts, facts), merge(self.news, facts)

    async def exchange(self) -> Facts:
        """What the others have learned and this one did not know. Raises Away; what it had to tell is told the next time."""
        mine, since = dict(self.news), self._version if self._asked % WHOLE_EVERY else 0
        words = [word for name, fact in mine.items() for word in self._written(name, fact)]
        epoch, version, *told = await self.line.run(EXCHANGE, self._keys, [self._epoch, since, self.size, *words])
        self._asked += 1
        is_whole = not since or epoch.decode() != self._epoch
        self._epoch, self._version = epoch.decode(), int(version)
        heard = dict(filter(None, (self._read(*pair) for pair in zip(told[::2], told[1::2], strict=True))))
        self.news = {name: fact for name, fact in self.news.items() if mine.get(name) != fact}
        if is_whole and len(heard) < self.size:
            self.news |= {name: fact for name, fact in self.facts.items() if name not in heard or fact > heard[name]}
        new = {name: fact for name, fact in heard.items() if name not in self.facts or fact > self.facts[name]}
        self.facts |= new
        if len(self.facts) > 2 * self.size:
            latest = sorted(self.facts.items(), key=lambda entry: entry[1])[-self.size :]
            self.facts = dict(latest)
        return new

    def _written(self, name: str, fact: Fact) -> tuple[str, str, str, bytes]:
        mark = self.mark(name)
        return mark, repr(fact.at), fact.by, self.line.seal(self._place(mark), b"\n".join((name.encode(), fact.value)))

    def _read(self, mark: bytes, text: bytes) -> tuple[str, Fact] | None:
        """None for what is not of a proxy with our key, or of another version."""
        try:
            at, by, sealed = text.split(b" ", 2)
            name, value = self.line.open(self._place(mark.decode()), sealed).split(b"\n", 1)
            return name.decode(), Fact(float(at), by.decode(), value)
        except ValueError:
            return None

    def mark(self, name: str) -> str:
        return self.line.mark(f"board {self.name}", name.encode("utf-8", "surrogatepass"))

    def _place(self, mark: str) -> str:
        return f"board {self.name} {mark}"
