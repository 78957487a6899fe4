"""What was seen: every request to the three public origins, as it came, and how its answer ended."""

import hashlib
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any

from .http import Request


@dataclass
class Entry:
    origin: str
    route: str | None
    method: str
    target: str
    headers: list[tuple[str, str]]
    size: int
    sha256: str
    json: Any
    form: list[tuple[str, str]] | None
    at: float
    connection: int
    fault: bool = False
    status: int | None = None
    ended: str | None = None
    ended_at: float | None = None

    def answered(self, status: int) -> None:
        self.status = status

    def end(self, how: str) -> None:
        self.ended = how
        self.ended_at = time.time()


@dataclass
class Journal:
    entries: list[Entry] = field(default_factory=list)

    def open(self, request: Request, route: str | None) -> Entry:
        entry = Entry(
            origin=request.origin,
            route=route,
            method=request.method,
            target=request.target,
            headers=list(request.headers),
            size=len(request.body),
            sha256=hashlib.sha256(request.body).hexdigest(),
            json=request.json,
            form=request.form,
            at=time.time(),
            connection=request.connection,
        )
        self.entries.append(entry)
        return entry

    def seen(self) -> list[dict[str, Any]]:
        return [asdict(entry) for entry in self.entries]

    def requests(self) -> dict[str, Counter[str]]:
        """How many requests came to each path of each origin."""
        counted: dict[str, Counter[str]] = defaultdict(Counter)
        for entry in self.entries:
            counted[entry.origin][entry.target.partition("?")[0]] += 1
        return counted
