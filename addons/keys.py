"""The keys of this proxy's own clients, as a policy file gives them, and which of them a request brings. Pure.

A policy holds no key, only its SHA-256. That is a plain and fast hash, and enough: a key is 256 random bits, so there is no
list of likely ones to try, which is what slow hashes with a salt are for.
"""

import hmac
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from addons.limits import Limits
from addons.wire.aliases import NO_ALIASES, Aliases, validate_aliases

# On the flow: the label of the key that a request came in with. No key is needed: nothing.
KEY = "codex.key"

# On the flow of a request that was refused at its head: by its Host, its Origin, or its key.
TURNED_AWAY = "codex.turned_away"

# What the key from the environment is called.
FROM_ENVIRONMENT = "default"

MAX_KEYS = 1000
# Beyond these a limit limits nobody; and the memory of the first is one number for each of its requests.
MOST = {"requests_per_minute": 100_000, "tokens_per_minute": 1_000_000_000, "parallel": 10_000}

_LABEL = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_FIELDS = ("label", "hash", "requests_per_minute", "tokens_per_minute", "parallel", "models")


class BadKeys(ValueError):
    """What is wrong, and `where`: the steps that lead to it in the list."""

    def __init__(self, where: Sequence[str | int], message: str) -> None:
        super().__init__(message)
        self.where = tuple(where)


class Key(NamedTuple):
    label: str
    digest: bytes
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    parallel: int | None = None
    models: Aliases | None = None
    """What its holder may ask for, by the names that clients use; None is everything. Only the left sides count."""

    @property
    def limits(self) -> Limits:
        return Limits(self.requests_per_minute, self.tokens_per_minute, self.parallel)

    @property
    def is_limited(self) -> bool:
        return not self.limits.are_none or self.models is not None

    def may_ask_for(self, model: str) -> bool:
        return self.models is None or self.models.target([model]) is not None


def digest_of(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()


def find(keys: Sequence[Key], shown: Sequence[bytes]) -> Key | None:
    """The key that one of these digests is of. Takes as long for a wrong one as for any of the right ones."""
    found = None
    for key in keys:
        for digest in shown:
            if hmac.compare_digest(key.digest, digest) and found is None:
                found = key
    return found


def validate_keys(raw: Any) -> tuple[Key, ...]:
    """All of them or none: a key that is not understood must not be a key that is not there. Raises BadKeys."""
    if not isinstance(raw, list):
        raise BadKeys((), "it must be a list of {label: ..., hash: ...}; an empty one, [], lets nobody in")
    if len(raw) > MAX_KEYS:
        raise BadKeys((), f"{len(raw)} keys, at most {MAX_KEYS} are taken")
    keys: list[Key] = []
    for at, entry in enumerate(raw):
        key = _key(at, entry)
        for other in keys:
            if other.label == key.label:
                raise BadKeys((at, "label"), f"there are two keys {key.label}")
            if other.digest == key.digest:
                raise BadKeys((at, "hash"), f"it is the key {other.label} once more")
        keys.append(key)
    return tuple(keys)


def _key(at: int, entry: Any) -> Key:
    if not isinstance(entry, dict):
        raise BadKeys((at,), "a key must be a mapping, {label: ..., hash: ...}")
    for name in entry:
        if name not in _FIELDS:
            raise BadKeys((at, str(name)), f"not known, only {', '.join(_FIELDS)}")
    label = entry.get("label")
    if not isinstance(label, str) or not _LABEL.fullmatch(label):
        raise BadKeys((at, "label"), "it must be up to 64 letters, digits, dots, - and _, in quotes if they are digits only")
    given = entry.get("hash")
    found = _HASH.fullmatch(given) if isinstance(given, str) else None
    if not found:  # not repeated: it may be the key itself, pasted into the wrong place
        raise BadKeys((at, "hash"), "it must be sha256: and 64 hex digits, as `python -m auth key add` prints it")
    limits = {name: _limit((at, name), entry[name], most) for name, most in MOST.items() if name in entry}
    models = _models((at, "models"), entry["models"]) if "models" in entry else None
    return Key(label, bytes.fromhex(found[1]), models=models, **limits)


def _limit(where: tuple[int, str], value: Any, most: int) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise BadKeys(where, f"it must be a whole number from 1 to {most}; leave it out for no limit")
    return value


def _models(where: tuple[int, str], value: Any) -> Aliases:
    """The names and patterns of the aliases, without what they stand for."""
    if not isinstance(value, list) or not value:
        raise BadKeys(where, "it must be a list of names and /patterns/; leave it out to allow every model")
    for name in value:
        _, problems = validate_aliases({name: "@default"} if isinstance(name, str) else None)
        if problems or not isinstance(name, str):
            raise BadKeys(where, str(problems[0]) if problems else "a name must be a string, in quotes if it looks like a number")
    models, problems = validate_aliases(dict.fromkeys(value, "@default"))
    if problems:
        raise BadKeys(where, str(problems[0]))
    return models or NO_ALIASES


def from_environment(env: Mapping[str, str]) -> Key | None:
    """The one key of a proxy that needs no more. Raises ValueError.

    Set to nothing it is not set: that is how compose files pass on a variable that nobody has given a value.
    """
    given = env.get("PROXY_API_KEY", "")
    key = given.strip()
    if given and not key:
        raise ValueError("PROXY_API_KEY: it is set to nothing but blanks")
    if not all("!" <= character <= "~" for character in key):
        raise ValueError("PROXY_API_KEY: it must be letters, digits and signs without a blank, to fit into a header")
    return Key(FROM_ENVIRONMENT, digest_of(key)) if key else None
