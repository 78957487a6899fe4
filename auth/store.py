"""Where accounts are kept: one folder each, with the Codex CLI's auth.json and our sidecar in it.

    auth.lock         the CLI's first lock: held over read, refresh and write
    auth.json.lock    the CLI's second lock: held over the write
    auth.json         the account; only ever replaced as a whole, under both locks
    codex-mitm.json   the sidecar: what the proxy remembers, no secret in it

`AccountStore` is the seam: behind it are `AccountFile`, and `AccountInRedis` for accounts that several proxies share. Whatever
may have to wait is async, and only `stamp`, asked once per request, answers from what is known already.
"""

import asyncio
import errno
import logging
import os
import re
from collections.abc import AsyncIterator, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

from auth import durable, locks, sidecar
from auth.authjson import AuthDocument, BadDocument
from auth.errors import AccountFileError, NotSignedIn, SaveFailed, TryAgainLater
from auth.sidecar import Memory

logger = logging.getLogger(__name__)

AUTH_JSON = "auth.json"
CODEX_CLI = "codex-cli"
DEFAULT = "default"

# The largest auth.json seen holds three JWTs of 2 to 4 KiB. A file of more than this is something else.
MAX_FILE_SIZE = 1 << 20
LOCK_POLL = 0.05
# Older CLIs truncate and write in place: half a file may be whole a moment later.
HALF_WRITTEN_TRIES = 4
HALF_WRITTEN_WAIT = 0.05
# No lock can be had there, and none is needed to try: read-only mounts, and file systems that do not know locks.
CANNOT_LOCK = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS}


class AccountStore(Protocol):
    """One account, wherever it is kept."""

    @property
    def name(self) -> str:
        """For users: log lines, status, policy."""

    @property
    def where(self) -> str:
        """For users: what to look at when something is wrong."""

    def stamp(self) -> Hashable:
        """Changes whenever the document may have changed. Called once per request: cheap, never waits, never raises."""

    async def read(self) -> AuthDocument:
        """Raises NotSignedIn if there is nothing, AccountFileError if it cannot be used."""

    def locked(self, patience: float) -> AbstractAsyncContextManager[None]:
        """The right to refresh and save. Raises TryAgainLater if others hold it for `patience` seconds."""

    async def announce(self, refresh_token: str) -> str | None:
        """Only under the lock, right before the token is spent. None if it may be spent, else why it never may be again.

        Raises TryAgainLater while somebody else may be spending it.
        """

    async def take_back(self, *, answered: bool) -> None:
        """Only under the lock, after `announce`: the request is over, and nothing came of it. Never raises."""

    async def save(self, document: AuthDocument) -> Hashable:
        """Only under the lock. Returns the stamp of what was written; raises SaveFailed with the old content intact, and Overtaken
        if that is not what this object has read last.
        """

    async def probe_writable(self) -> str | None:
        """None if a rotated token could be saved now, else why not."""

    async def recall(self) -> Memory:
        """Never raises: what cannot be read is an empty memory."""

    async def remember(self, memory: Memory) -> bool:
        """Never raises: False if it could not be written."""

    async def erase(self) -> None:
        """Only under the lock. Forgets the account and all that was put beside it; raises SaveFailed if something stays."""


class AccountFile:
    """An auth.json in a local folder, which the Codex CLI may be using too."""

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.path = path
        self.name = name or _name_of(path)
        # For auth.json these are the CLI's names; a file with another name gets its own locks and its own sidecar.
        self._locks = ((path.with_suffix(".lock"), 0o644), (path.with_name(f"{path.name}.lock"), 0o600))
        self._unlockable: set[Path] = set()  # warned of already
        self._sidecar = path.with_name("codex-mitm.json" if path.name == AUTH_JSON else f"{path.stem}.codex-mitm.json")

    @property
    def where(self) -> str:
        return str(self.path)

    def stamp(self) -> Hashable:
        return durable.stamp(self.path)

    async def read(self) -> AuthDocument:
        for _ in range(HALF_WRITTEN_TRIES - 1):
            try:
                return await asyncio.to_thread(self._read)
            except AccountFileError:
                await asyncio.sleep(HALF_WRITTEN_WAIT)
        return await asyncio.to_thread(self._read)

    def _read(self) -> AuthDocument:
        try:
            raw = durable.read_bounded(self.path, MAX_FILE_SIZE)
        except FileNotFoundError as error:
            raise NotSignedIn(self.path) from error
        except OSError as error:
            raise AccountFileError(self.path, reason(error)) from error
        if len(raw) > MAX_FILE_SIZE:
            raise AccountFileError(self.path, f"it is larger than {MAX_FILE_SIZE} bytes")
        try:
            return AuthDocument.parse(raw)
        except BadDocument as error:
            raise AccountFileError(self.path, str(error)) from error

    @asynccontextmanager
    async def locked(self, patience: float) -> AsyncIterator[None]:
        deadline = asyncio.get_running_loop().time() + patience
        with ExitStack() as held:
            for path, mode in self._locks:
                try:
                    await _hold(held, path, mode, deadline)
                except OSError as error:
                    self._go_on_without(path, error)
            await asyncio.to_thread(durable.sweep, self.path.parent)
            yield

    def _go_on_without(self, path: Path, error: OSError) -> None:
        if error.errno not in CANNOT_LOCK:
            raise AccountFileError(path, reason(error)) from error
        level = logging.DEBUG if path in self._unlockable else logging.WARNING
        self._unlockable.add(path)
        logger.log(level, "account %s: %s cannot be locked (%s), going on without", self.name, path, reason(error))

    async def announce(self, refresh_token: str) -> str | None:
        """The CLI announces nothing either: who has the lock may spend it, and the issuer says whether that was once too often."""
        return None

    async def take_back(self, *, answered: bool) -> None:
        pass

    async def save(self, document: AuthDocument) -> Hashable:
        try:
            return await asyncio.to_thread(durable.replace, self.path, document.dump())
        except OSError as error:
            raise SaveFailed(self.path, reason(error), _remedy(error)) from error

    async def probe_writable(self) -> str | None:
        return await asyncio.to_thread(self._probe_writable)

    def _probe_writable(self) -> str | None:
        if os.path.ismount(self.path):
            return "it is mounted as a single file and cannot be replaced: mount its folder instead"
        try:
            durable.probe(self.path)
        except OSError as error:
            return reason(error)
        return None

    async def recall(self) -> Memory:
        return await asyncio.to_thread(self._recall)

    def _recall(self) -> Memory:
        try:
            return sidecar.unpack(durable.read_bounded(self._sidecar, sidecar.SIZE))
        except OSError:
            return Memory()

    async def remember(self, memory: Memory) -> bool:
        try:
            await asyncio.to_thread(durable.overwrite, self._sidecar, sidecar.pack(memory))
        except OSError as error:
            logger.debug("account %s: %s not written (%s)", self.name, self._sidecar, reason(error))
            return False
        return True

    async def erase(self) -> None:
        try:
            await asyncio.to_thread(self._erase)
        except OSError as error:
            raise SaveFailed(self.path, reason(error), _remedy(error)) from error

    def _erase(self) -> None:
        self.path.unlink(missing_ok=True)
        self._sidecar.unlink(missing_ok=True)
        with suppress(OSError):  # Windows keeps the locks while they are held, and there may be something of the user's beside them
            for path, _ in self._locks:
                path.unlink(missing_ok=True)
            self.path.parent.rmdir()


def find_accounts(configured: Sequence[str | Path], env: Mapping[str, str]) -> list[AccountFile]:
    """The configured accounts; else our own; else the Codex CLI's, used in place. Empty if nobody has signed in.

    Raises AccountFileError for a configured path that does not exist: another account must not step in for it.
    """
    if configured:
        return _with_unique_names([account for path in configured for account in _configured(Path(path), env)])
    if own := _in_folder(own_folder(env) / "accounts"):
        return own
    cli = _codex_home(env) / AUTH_JSON
    return [AccountFile(cli, CODEX_CLI)] if cli.is_file() else []


def is_own_name(name: str) -> bool:
    """It becomes the name of a folder."""
    return re.fullmatch(r"(?!\.)[A-Za-z0-9._-]{1,64}", name) is not None


def own_account(name: str, env: Mapping[str, str]) -> AccountFile:
    """Where a sign-in under this name is kept; the folder is made, for nobody else to look into."""
    path = own_folder(env) / "accounts" / name / AUTH_JSON
    try:
        durable.make_private_folders(path.parent)
    except OSError as error:
        raise SaveFailed(path, reason(error)) from error
    return AccountFile(path)


def own_folder(env: Mapping[str, str]) -> Path:
    return Path(env["CODEX_MITM_HOME"]) if env.get("CODEX_MITM_HOME") else _home(env) / ".codex-mitm"


def reason(error: OSError) -> str:
    """In the operating system's words, which users can look up."""
    return (error.strerror or type(error).__name__).lower()


def _configured(path: Path, env: Mapping[str, str]) -> list[AccountFile]:
    path = _home(env) / path.relative_to("~") if path.parts[:1] == ("~",) else path
    if path.is_dir():
        return [AccountFile(path / AUTH_JSON)] if (path / AUTH_JSON).exists() else _in_folder(path)
    if not path.exists():
        raise AccountFileError(path, "it does not exist", "correct codex_accounts, or sign in first")
    return [AccountFile(path)]


def _in_folder(folder: Path) -> list[AccountFile]:
    accounts = [AccountFile(path) for path in folder.glob(f"*/{AUTH_JSON}")]
    return sorted(accounts, key=lambda account: (account.name != DEFAULT, account.name))


def _with_unique_names(accounts: list[AccountFile]) -> list[AccountFile]:
    """Two folders may share a name; an account's name is what policy and status know it by."""
    seen: dict[str, int] = {}
    for account in accounts:
        seen[account.name] = count = seen.get(account.name, 0) + 1
        if count > 1:
            account.name = f"{account.name}-{count}"
    return accounts


def _name_of(path: Path) -> str:
    if path.name != AUTH_JSON:
        return path.stem
    folder = path.absolute().parent.name
    return CODEX_CLI if folder == ".codex" else folder or DEFAULT


def _codex_home(env: Mapping[str, str]) -> Path:
    return Path(env["CODEX_HOME"]) if env.get("CODEX_HOME") else _home(env) / ".codex"


def _home(env: Mapping[str, str]) -> Path:
    home = env.get("HOME") or env.get("USERPROFILE")
    return Path(home) if home else Path.home()


async def _hold(held: ExitStack, path: Path, mode: int, deadline: float) -> None:
    """Waits for the lock, and lets `held` release it."""
    loop = asyncio.get_running_loop()
    while (descriptor := await asyncio.to_thread(_try_hold, path, mode)) is None:
        if loop.time() >= deadline:
            raise TryAgainLater(f"another process holds {path}")
        await asyncio.sleep(LOCK_POLL)
    held.callback(os.close, descriptor)


def _try_hold(path: Path, mode: int) -> int | None:
    """An open, locked descriptor. Signing out deletes the lock files: a lock on a deleted one would keep nobody out."""
    descriptor = durable.open_lockable(path, mode)
    try:
        if locks.try_lock(descriptor) and durable.is_at(descriptor, path):
            return descriptor
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _remedy(error: OSError) -> str:
    match error.errno:
        case errno.EBUSY:  # what rename says of a mount point
            return "it is mounted as a single file and cannot be replaced, mount its folder instead"
        case errno.ENOSPC | errno.EDQUOT:
            return "make room on that disk"
        case errno.EROFS:
            return "mount its folder read-write"
        case _:
            return "make its folder writable for this user"
