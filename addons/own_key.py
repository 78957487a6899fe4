"""The one key of a proxy that needs no more, from a file: a credential of systemd, a secret of Docker.

Who may look at a process or a container sees its environment, but not into such a file.
"""

from collections.abc import Mapping
from pathlib import Path

KEY, KEY_FILE = "PROXY_API_KEY", "PROXY_API_KEY_FILE"

# No header that carries a key is longer; a larger file is some other one.
MAX_SIZE = 4096


def with_key_of_file(env: Mapping[str, str]) -> Mapping[str, str]:
    """The environment as if the key stood in it. Raises ValueError, also of a file that is empty: that is a key that was lost."""
    place = env.get(KEY_FILE, "")
    if not place:
        return env
    if env.get(KEY):
        raise ValueError(f"{KEY} and {KEY_FILE} are both set, and only one of them can count: leave one out")
    try:
        with Path(place).open("rb") as file:
            content = file.read(MAX_SIZE + 1)
    except OSError as e:
        raise ValueError(f"{KEY_FILE}: {place}: {e.strerror}") from e
    if not content.strip():
        raise ValueError(f"{KEY_FILE}: {place} is empty, a key must be in it")
    if len(content) > MAX_SIZE:
        raise ValueError(f"{KEY_FILE}: {place} is too large for a key")
    return {**env, KEY: content.decode("latin-1")}  # what is no ASCII is refused with what else no header can carry
