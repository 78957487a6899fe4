"""What is put where others could read it is sealed: AES-256-GCM, with keys from a file of the deployment.

    0x01 | key id (4 bytes) | nonce (12) | ciphertext and tag

The name under which something is kept is sealed with it (as associated data), so a value that was moved to another name does not
open. A file may hold several keys, one a line: the first one seals and all of them open, which is how a key is changed.
"""

import base64
import binascii
import hmac
import logging
import os
import secrets
import stat
import sys
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from auth import durable
from auth.errors import BadSetting, SaveFailed

logger = logging.getLogger(__name__)

SETTING = "CODEX_MITM_REDIS_KEY_FILE"
NEW_KEY = "`python -m auth migrate --new-key FILE` makes one"

VERSION = b"\x01"
KEY_SIZE, ID_SIZE = 32, 4
# NIST SP 800-38D 8.3: with random nonces of this size a key is good for 2^32 values. A save a second takes 136 years.
NONCE_SIZE = 12
MAX_FILE_SIZE = 1 << 14

# Of a file that is ours. One of root's can come to us only by its group: so Kubernetes mounts a Secret for who is not root.
_FOR_OTHERS = stat.S_IRGRP | stat.S_IROTH


class BadSeal(ValueError):
    """Why a value does not open. The caller knows whose it is and says so."""


class Seal:
    def __init__(self, keys: list[bytes]) -> None:
        """The first one seals. There is at least one."""
        self._ciphers = {_id_of(key): AESGCM(key) for key in keys}
        self._id = _id_of(keys[0])
        self._last = keys[-1]

    def seal(self, name: str, plain: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE_SIZE)
        return VERSION + self._id + nonce + self._ciphers[self._id].encrypt(nonce, plain, name.encode())

    def open(self, name: str, sealed: bytes) -> bytes:
        """Raises BadSeal."""
        version, rest = sealed[:1], sealed[1:]
        if version != VERSION:
            raise BadSeal("it is not sealed as this version of codex-mitm does it")
        id, rest = rest[:ID_SIZE], rest[ID_SIZE:]
        if id not in self._ciphers:
            raise BadSeal(f"it is sealed with a key that is not in the file of {SETTING}")
        try:
            return self._ciphers[id].decrypt(rest[:NONCE_SIZE], rest[NONCE_SIZE:], name.encode())
        except (InvalidTag, ValueError) as error:
            raise BadSeal("somebody has changed it, or moved it there from elsewhere") from error

    def derive(self, purpose: str) -> bytes:
        """32 bytes that every process with this file makes of it. Of the last key: a new one is put before it, and the processes
        agree while they are restarted one by one."""
        return hmac.digest(self._last, b"codex-mitm " + purpose.encode(), "sha256")


def new_key_file(path: Path) -> None:
    """Never over a file that is there: what it sealed could not be opened any more. Raises SaveFailed."""
    line = base64.b64encode(secrets.token_bytes(KEY_SIZE)) + b"\n"
    try:
        durable.make_private_folders(path.parent)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise SaveFailed(path, "there is a file already", "take another name, or add a line to that one") from None
    except OSError as error:
        raise SaveFailed(path, (error.strerror or type(error).__name__).lower()) from error


def read_key_file(path: Path) -> Seal:
    """Raises BadSetting."""
    try:
        raw = durable.read_bounded(path, MAX_FILE_SIZE)
        status = os.stat(path)
    except FileNotFoundError as error:
        raise BadSetting(SETTING, f"{path} does not exist ({NEW_KEY})") from error
    except OSError as error:
        raise BadSetting(SETTING, f"{path}: {(error.strerror or type(error).__name__).lower()}") from error
    if sys.platform != "win32" and status.st_mode & (_FOR_OTHERS if status.st_uid == os.geteuid() else stat.S_IROTH):
        logger.warning("%s can be read by others, and with it the accounts in Redis: chmod 600 it", path)
    lines = [line.strip() for line in raw.splitlines()]
    keys = [_key_of(line, path) for line in lines if line and not line.startswith(b"#")]
    if not keys:
        raise BadSetting(SETTING, f"{path} holds no key ({NEW_KEY})")
    return Seal(keys)


def _key_of(line: bytes, path: Path) -> bytes:
    try:
        key = base64.b64decode(line, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_SIZE:
        raise BadSetting(SETTING, f"{path} holds a line that is no key, which is {KEY_SIZE} bytes in base64 ({NEW_KEY})")
    return key


def _id_of(key: bytes) -> bytes:
    """Which key it was, and nothing of the key."""
    return sha256(b"codex-mitm key id\n" + key).digest()[:ID_SIZE]
