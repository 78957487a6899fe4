"""What the proxy must remember about an account between runs, and may not put into auth.json. Never a secret.

Without it, a proxy that restarts asks the issuer again with a token that was refused for good, every time.
"""

import json
from hashlib import sha256
from typing import NamedTuple

# One page. The file is always exactly this long and is overwritten in place, because it matters most when the disk is full:
# a token that could not be saved is noted here, and no new block can be had for it.
SIZE = 4096
# Reasons are one line. Longer ones are cut so that all of them fit the page, at twelve bytes for the longest escape.
MAX_TEXT = 96


class Memory(NamedTuple):
    """Times are epoch seconds; 0 and "" mean never and nothing."""

    dead_token: str = ""  # fingerprint of the refresh token that the issuer refuses for good
    dead_reason: str = ""
    dead_since: float = 0.0
    last_attempt: float = 0.0
    last_error: str = ""
    last_error_at: float = 0.0
    unsaved_why: str = ""  # a rotated token is in memory only
    unsaved_since: float = 0.0
    signed_in_here: bool = False  # by our own `login`: signing out may end it at the issuer, nobody else lives on it

    def is_dead(self, refresh_token: str) -> bool:
        return self.dead_token == fingerprint(refresh_token)


def fingerprint(refresh_token: str) -> str:
    """A refresh token is long and random: its hash can be compared and cannot be turned back."""
    return sha256(refresh_token.encode()).hexdigest()


def pack(memory: Memory) -> bytes:
    fields = {name: value[:MAX_TEXT] if isinstance(value, str) else value for name, value in memory._asdict().items()}
    return json.dumps(fields).encode().ljust(SIZE - 1) + b"\n"


def unpack(raw: bytes) -> Memory:
    """A torn or foreign file is an empty memory: forgetting costs one request, an error would cost the account."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return Memory()
    return _from_fields(found) if isinstance(found, dict) else Memory()


def _from_fields(found: dict[str, object]) -> Memory:
    known = Memory()._asdict()
    fits = {name: found[name] for name, default in known.items() if type(found.get(name)) is type(default)}
    return Memory(**fits)  # type: ignore[arg-type]  # the line above compared the types
