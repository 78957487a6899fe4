"""Keys for the proxy's own clients: made here, and only their hash is written down, into a policy file that keeps its comments."""

import io
import os
import secrets
import stat
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from auth import durable
from auth.errors import BadSetting, SaveFailed

PREFIX = "cmx-"
# 256 bits: as hard to guess as the hash is to turn around, so the hash needs neither salt nor slowness.
RANDOM_BYTES = 32
# As the proxy reads it; a file of this size is no policy.
MAX_SIZE = 1 << 20

# What ruamel raises of a file that is not what it says, besides its own errors.
NOT_YAML = (YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, RecursionError)


@dataclass(frozen=True, slots=True)
class NewKey:
    label: str
    key: str

    @property
    def entry(self) -> dict[str, str]:
        """What a policy says of it."""
        return {"label": self.label, "hash": f"sha256:{sha256(self.key.encode()).hexdigest()}"}


def make(label: str) -> NewKey:
    return NewKey(label, PREFIX + secrets.token_urlsafe(RANDOM_BYTES))


def as_yaml(new: NewKey) -> str:
    """To be pasted into a policy that has no keys yet; the last two lines, where it has some."""
    return _dumped(_round_trip(), {"keys": [new.entry]})


def add(new: NewKey, policy: Path) -> None:
    """Raises BadSetting, SaveFailed."""
    try:
        content = durable.read_bounded(policy, MAX_SIZE)
        mode = stat.S_IMODE(os.stat(policy).st_mode)
    except OSError as e:
        raise BadSetting("--policy", f"{policy}: {e.strerror}") from e
    changed = with_entry(content, new, policy)
    try:
        durable.replace(policy, changed)
        os.chmod(policy, mode)  # others may have to read it, the proxy for one: there is no secret in it
    except OSError as e:
        raise SaveFailed(policy, str(e.strerror).lower()) from e


def with_entry(content: bytes, new: NewKey, policy: Path) -> bytes:
    """The same file with one key more. Raises BadSetting."""
    yaml = _round_trip()
    try:
        text = content.decode("utf-8-sig")
        document: Any = yaml.load(text)
    except NOT_YAML as e:
        mark = getattr(e, "problem_mark", None)
        raise BadSetting("--policy", f"{policy} is not YAML" + (f", see line {mark.line + 1}" if mark else "")) from e
    if len(content) > MAX_SIZE or not isinstance(document, dict | None):
        raise BadSetting("--policy", f"{policy} is not a policy file")
    if document is None:  # nothing but comments
        return f"{text.rstrip()}\n\n{as_yaml(new)}".lstrip().encode()
    keys = document.get("keys") or []
    if not isinstance(keys, list):
        raise BadSetting("--policy", f"`keys` of {policy} is not a list")
    if any(isinstance(key, dict) and key.get("label") == new.label for key in keys):
        raise BadSetting("LABEL", f"{policy} has a key {new.label}")
    if keys:
        keys.append(new.entry)
    else:
        document["keys"] = [new.entry]  # not into a [] that is there: it would stand in braces
    return _dumped(yaml, document).encode()


def _round_trip() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1 << 20  # lines stay as long as they are
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _dumped(yaml: YAML, document: Any) -> str:
    written = io.StringIO()
    yaml.dump(document, written)
    return written.getvalue()
