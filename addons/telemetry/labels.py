"""The values of labels, few and harmless: each new one is a new series, which Prometheus keeps for weeks. Pure.

A client can write what it likes into its requests. So a name becomes a label only where somebody vouches for it: upstream, which
has answered or lists it, or whoever has set this proxy up. All others are `other`.
"""

import re

from addons.upstreams import CODEX_PATHS, bare_path

OTHER, NONE = "other", "none"

# What no table or legend has to escape, and never an e-mail address: an account can be called by its owner's.
_PLAIN = re.compile(r"[!-?A-~]{1,100}")

# Of OpenAI's platform. What is below one of them has ids in it.
PLATFORM = frozenset(
    "audio batches chat completions containers conversations embeddings evals files fine_tuning images models moderations realtime "
    "responses uploads vector_stores videos".split()
)


class Names:
    """At most so many different ones; those that came first stay."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: set[str] = set()

    def label(self, name: str, *, vouched: bool) -> str:
        if name in self._known:
            return name
        if not name:
            return NONE
        if not vouched or len(self._known) >= self._limit or not _PLAIN.fullmatch(name):
            return OTHER
        self._known.add(name)
        return name


def endpoint_of(path: str) -> str:
    """`/v1/responses`, whether or not the client wrote `/v1`; `/v1/files/*` for all that is below it."""
    bare = bare_path(path)
    if bare in CODEX_PATHS:
        return bare if bare.startswith("/backend-api/") else f"/v1{bare}"
    first, slash, _ = bare.removeprefix("/").partition("/")
    if first not in PLATFORM:
        return OTHER
    return f"/v1/{first}/*" if slash else f"/v1/{first}"


def status_class(status: int | None) -> str:
    """`none`: the client has seen no status."""
    return NONE if status is None else f"{status // 100}xx"
