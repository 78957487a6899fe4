"""One call as it is recorded: who asked what, what became of it and why. Built once, when the call is over.

There is no field for a credential. Headers pass an allow-list on their way in (headers.py), the writer takes whatever looks like
a secret out of every text and body before it reaches the disk (secrets.py). Texts may be of any length; the writer cuts them.

Times are seconds after `started`, and None for what did not happen.
"""

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Literal, NamedTuple

from addons.traffic.headers import NO_HEADERS, Headers
from addons.wire.plan import Edit
from addons.wire.usage import Usage

Outcome = Literal["complete", "incomplete", "failed", "cut", "client_left", "refused"]

# The client did not get what it asked for. `incomplete` is an answer that ended early by the rules, as at `max_tokens`.
FAILURES: tuple[Outcome, ...] = ("failed", "cut", "refused")


class Client(NamedTuple):
    label: str = ""
    """The name that the policy gives to the client's key."""
    agent: str = ""
    address: str = ""


class Attempt(NamedTuple):
    """One try at an upstream."""

    account: str
    started: float
    status: int | None = None
    failure: str = ""
    """Why there is no status: `connection refused`."""
    outcome: str = ""
    """What the proxy made of it: `token renewed`, `other account`, `answered`."""
    waited: float = 0.0
    """Seconds that were let pass before it."""


class Failure(NamedTuple):
    type: str
    code: str
    message: str


class QuotaWindow(NamedTuple):
    minutes: int
    used_percent: float
    resets_at: float | None = None


class Chunk(NamedTuple):
    at: float
    data: bytes


class Body:
    """What was sent, with the moments at which it came. Of a long one the middle may be missing. Not to be changed.

    The bytes are in one piece, and moments and lengths in two arrays: of the objects that a stream's chunks would be Python's
    collector would have more work than the rest of the recording is.
    """

    __slots__ = ("data", "gap", "left_out", "lengths", "moments")

    def __init__(self, chunks: Iterable[Chunk] = (), left_out: int = 0, gap: int = 0) -> None:
        moments, pieces = [], []
        for at, data in chunks:
            moments.append(at)
            pieces.append(data)
        self._fill(b"".join(pieces), array("d", moments), array("Q", map(len, pieces)), left_out, gap)

    def _fill(self, data: bytes, moments: "array[float]", lengths: "array[int]", left_out: int, gap: int) -> None:
        self.data = data
        self.moments = moments
        self.lengths = lengths
        """Of the chunks, like the moments."""
        self.left_out = left_out
        """Bytes that are missing between `chunks[:gap]` and `chunks[gap:]`."""
        self.gap = gap

    @classmethod
    def of(cls, data: bytes, moments: "array[float]", lengths: "array[int]", left_out: int = 0, gap: int = 0) -> "Body":
        body = cls.__new__(cls)
        body._fill(data, moments, lengths, left_out, gap)
        return body

    @classmethod
    def whole(cls, data: bytes, at: float = 0.0) -> "Body":
        return cls((Chunk(at, data),) if data else ())

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        ends = accumulate(self.lengths, initial=0)
        return tuple(Chunk(at, self.data[a:b]) for at, (a, b) in zip(self.moments, pairwise(ends), strict=True))

    @property
    def truncated(self) -> bool:
        return self.left_out > 0

    @property
    def size(self) -> int:
        return len(self.data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Body) and all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __repr__(self) -> str:
        return f"Body({self.chunks}, {self.left_out}, {self.gap})"


class Bodies(NamedTuple):
    """Any of them may be missing: recording bodies is off by default."""

    client_request: Body | None = None
    upstream_request: Body | None = None
    upstream_events: Body | None = None
    client_answer: Body | None = None


@dataclass(slots=True, kw_only=True)
class Exchange:
    """Not to be changed. A frozen one of so many members takes Python 4 microseconds to make, this one takes 1."""

    id: str
    """The `x-request-id` that the client saw."""
    started: float
    """Unix time."""
    ended: float
    endpoint: str
    """The path; a query is not kept, because some clients put their key there."""
    outcome: Outcome
    method: str = "POST"
    client: Client = Client()

    queued: float | None = None
    """When it left the queue."""
    first_byte: float | None = None
    first_token: float | None = None
    longest_gap: float | None = None
    """The longest silence of upstream within the answer."""

    dialect: str = ""
    stream: bool = False
    model_asked: str = ""
    model_used: str = ""
    account: str = ""
    account_why: str = ""
    upstream: str = ""
    attempts: tuple[Attempt, ...] = ()
    edits: tuple[Edit, ...] = ()

    status: int | None = None
    """That the client saw; None if it saw none."""
    error: Failure | None = None
    tokens: Usage | None = None
    quota: tuple[QuotaWindow, ...] = ()
    """Of the account, as upstream told it with this answer."""

    client_headers: Headers = NO_HEADERS
    upstream_request_headers: Headers = NO_HEADERS
    upstream_headers: Headers = NO_HEADERS
    answer_headers: Headers = NO_HEADERS

    events: Mapping[str, int] = field(default_factory=dict)
    """Upstream's event types, counted."""
    event_fields: frozenset[str] = frozenset()
    """The members that those events had, see vocabulary.py."""
    unknown: frozenset[str] = frozenset()
    """Event types and fields that the proxy does not know, and passed over."""

    bodies: Bodies = Bodies()

    @property
    def failed(self) -> bool:
        return self.outcome in FAILURES
