"""Everything `auth` raises, by what the caller can do about it.

    AuthError
    ├── NotSignedIn        nobody has signed in here            -> sign in
    ├── AccountFileError   a file is there but cannot be used   -> look at that file; no other account steps in
    ├── LoginRequired      the refresh token is dead, for good  -> sign in again
    ├── TokenRejected      a token minted just now is refused   -> the account or its workspace is the trouble, not the token
    ├── TryAgainLater      nothing is wrong with the account    -> wait, repeat
    │   └── RedisAway      what proxies share is out of reach   -> look at Redis, or at the way to it
    ├── LoginFailed        a sign-in in progress came to an end -> read why, start over
    ├── SaveFailed         a file could not be written          -> make room, or make the folder writable
    │   └── Overtaken      somebody else has written it         -> read it, and see what is left to do
    └── BadSetting         an option or variable is unusable    -> correct it

`str(error)` is one line for the user: what happened, with which value, what to do next. It never holds a token or any part
of an answer's body; codes that an issuer sent pass through `grants.error_code` first, which lets only code-like words in.
"""

import math
from datetime import UTC, datetime
from pathlib import Path

# Seconds until a client may ask again. A Redis that restarts is back within a few.
RETRY_REDIS = 2.0

SIGN_IN = "run `make login` (or `python -m auth login`) in codex-mitm's folder"


class AuthError(Exception):
    """`what` happened, and the `remedy` where there is one."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what}: {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy


class NotSignedIn(AuthError):
    """There is no account at all, or its file is gone because somebody logged out."""

    def __init__(self, where: Path | str | None = None) -> None:
        super().__init__(f"not signed in, {where} does not exist" if where else "not signed in", SIGN_IN)
        self.where = where


class AccountFileError(AuthError):
    """The file at `path` cannot be read, is not an auth.json, or is of a kind that is not supported."""

    def __init__(self, path: Path | str, why: str, remedy: str = "") -> None:
        super().__init__(f"{path} cannot be used, {why}", remedy)
        self.path = path
        self.why = why


class LoginRequired(AuthError):
    """The issuer will never refresh this account again; `since` is when it said so (epoch seconds)."""

    def __init__(self, account: str, reason: str, since: float) -> None:
        when = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%d %H:%M UTC")
        super().__init__(f"account {account} is signed out since {when} ({reason})", SIGN_IN)
        self.account = account
        self.reason = reason
        self.since = since


class TokenRejected(AuthError):
    """Refreshing cannot help: the refused token is itself fresh."""

    def __init__(self, account: str) -> None:
        super().__init__(
            f"the token of account {account} was refreshed moments ago and is refused",
            "check at chatgpt.com that this account and workspace may use Codex",
        )
        self.account = account


class TryAgainLater(AuthError):
    """Issuer down, network down, lock held. `retry_after` is in seconds, None when nobody knows.

    `unanswered`: something was sent, and whether it was carried out is unknown.
    """

    def __init__(self, why: str, retry_after: float | None = None, *, unanswered: bool = False) -> None:
        super().__init__(why, "try again later" if retry_after is None else f"try again in {math.ceil(retry_after)} s")
        self.why = why
        self.retry_after = retry_after
        self.unanswered = unanswered


class RedisAway(TryAgainLater):
    """Refused, unreachable, silent, or in no state to serve; `why` names which, as redis-py calls it."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where} is away ({why})", RETRY_REDIS)
        self.where = where


class LoginFailed(AuthError):
    """An interactive sign-in ended without an account."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(f"sign-in failed, {reason}", remedy)
        self.reason = reason


class SaveFailed(AuthError):
    """The file at `path` keeps its old content."""

    def __init__(self, path: Path | str, why: str, remedy: str = "make room, or make its folder writable") -> None:
        super().__init__(f"{path} could not be written, {why}", remedy)
        self.path = path
        self.why = why


class Overtaken(SaveFailed):
    """What is there now is newer than what this came from."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(path, "somebody else has written it meanwhile", "look at it, and repeat what you did")


class BadSetting(AuthError):
    """`setting` is the name of an option or environment variable; its value may be a secret and is not repeated."""

    def __init__(self, setting: str, why: str) -> None:
        super().__init__(f"{setting} cannot be used, {why}")
        self.setting = setting
        self.why = why
