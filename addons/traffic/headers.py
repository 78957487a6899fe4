"""Which headers may be recorded: this table and nothing else. Of every other header only the name is kept."""

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

# A name that ends in `*` is a prefix. None of these carries a credential, a cookie or the identity of an account.
KEPT = (
    "accept",
    "accept-encoding",
    "cache-control",
    "cf-ray",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "openai-beta",
    "openai-model",
    "openai-processing-ms",
    "openai-version",
    "originator",
    "retry-after",
    "retry-after-ms",
    "server",
    "session-id",
    "thread-id",
    "transfer-encoding",
    "user-agent",
    "version",
    "x-client-request-id",
    "x-codex-account",
    "x-codex-active-limit",
    "x-codex-credits-*",
    "x-codex-edits",
    "x-codex-fault",
    "x-codex-model",
    "x-codex-plan-type",
    "x-codex-primary-*",
    "x-codex-queued",
    "x-codex-secondary-*",
    "x-oai-request-id",
    "x-openai-internal-codex-responses-lite",
    "x-ratelimit-*",
    "x-reasoning-included",
    "x-request-id",
    "x-should-retry",
    "x-stainless-*",
)

# A server that sends more than this is up to something.
MAX_HEADERS = 200


# Names that are looked up once for all messages that have them: those of the same client, or the same server, are always the same.
MAX_SHAPES = 128
# Characters of names; somebody who sends more is looked up each time.
MAX_SHAPE = 2048


class Shape(NamedTuple):
    """What the names of a message's headers say by themselves."""

    names: tuple[str, ...]
    kept: tuple[tuple[int, str], ...]
    """The places of those with a value that may be kept, and their names."""


class Headers:
    """What may be kept of one message's headers: `kept` with values, `names` of all of them, in lower case."""

    __slots__ = ("kept", "names")

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        known = list(fields)
        self.names, places = shape_of(tuple(name for name, _ in known))
        self.kept = tuple((name, known[place][1]) for place, name in places)

    @classmethod
    def of(cls, fields: tuple[tuple[bytes, bytes], ...]) -> "Headers":
        """As they are on the wire, read as mitmproxy reads them."""
        headers = cls.__new__(cls)
        headers.names, places = shape_of(tuple([name for name, _ in fields]))
        headers.kept = tuple([(name, fields[place][1].decode("utf-8", "surrogateescape")) for place, name in places])
        return headers

    def get(self, name: str, default: str = "") -> str:
        return next((value for known, value in self.kept if known == name), default)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and (self.kept, self.names) == (other.kept, other.names)

    def __hash__(self) -> int:
        return hash((self.kept, self.names))

    def __repr__(self) -> str:
        return f"Headers({list(self.kept)})"


def shape_of(names: tuple[str, ...] | tuple[bytes, ...]) -> Shape:
    return _known_shape(names) if sum(map(len, names)) <= MAX_SHAPE else _shape_of(names)


def _shape_of(names: tuple[str, ...] | tuple[bytes, ...]) -> Shape:
    texts = [name if isinstance(name, str) else name.decode("utf-8", "surrogateescape") for name in names[:MAX_HEADERS]]
    known = [text.lower() for text in texts]
    return Shape(tuple(sorted(set(known))), tuple((place, name) for place, name in enumerate(known) if may_be_kept(name)))


_known_shape = lru_cache(maxsize=MAX_SHAPES)(_shape_of)


def may_be_kept(name: str) -> bool:
    return any(name == rule or (rule[-1] == "*" and name.startswith(rule[:-1])) for rule in KEPT)


NO_HEADERS = Headers()
