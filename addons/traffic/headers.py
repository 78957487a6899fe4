"""Which headers may be recorded: this table and nothing else. Of every other header only the name is kept."""

from collections.abc import Iterable
from functools import lru_cache

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


class Headers:
    """What may be kept of one message's headers: `kept` with values, `names` of all of them, in lower case."""

    __slots__ = ("kept", "names")

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        known = [(name.lower(), value) for name, value in fields][:MAX_HEADERS]
        self.kept = tuple((name, value) for name, value in known if may_be_kept(name))
        self.names = tuple(sorted({name for name, _ in known}))

    def get(self, name: str, default: str = "") -> str:
        return next((value for known, value in self.kept if known == name), default)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and (self.kept, self.names) == (other.kept, other.names)

    def __hash__(self) -> int:
        return hash((self.kept, self.names))

    def __repr__(self) -> str:
        return f"Headers({list(self.kept)})"


NO_HEADERS = Headers()


@lru_cache(maxsize=1024)
def may_be_kept(name: str) -> bool:
    return any(name == rule or (rule[-1] == "*" and name.startswith(rule[:-1])) for rule in KEPT)
