"""The Codex CLI's auth.json: read, and written back without losing a field.

The file is shared with the CLI and with tools we have not heard of, so the document keeps the whole JSON object, in its
order, and changes only what a refresh or a login changes. Nothing of ours is ever put in: the CLI drops unknown keys on its
next write (measured on 0.169). What the proxy has to remember is in the sidecar.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

from auth.grants import TokenGrant, is_bearer
from auth.tokens import Claims, read_claims_unverified

CHATGPT = "chatgpt"
API_KEY = "api_key"


class BadDocument(ValueError):
    """Why these bytes are no account that can be used. The caller knows the file and says so."""


@dataclass(frozen=True, slots=True)
class AuthDocument:
    """One account. `kind` is "chatgpt" or "api_key"; nothing else can be parsed into being."""

    kind: str
    id_token: str | None = field(repr=False)
    access_token: str | None = field(repr=False)
    refresh_token: str | None = field(repr=False)
    stored_account_id: str | None = field(repr=False)
    api_key: str | None = field(repr=False)
    last_refresh: float | None
    _fields: Mapping[str, object] = field(repr=False)

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Raises BadDocument, which says what is wrong without quoting it."""
        try:
            # The standard library's parser, because it keeps integers of any size.
            fields = json.loads(raw, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise BadDocument("it is not JSON") from error
        if not isinstance(fields, dict):
            raise BadDocument("it is not a JSON object")
        return cls._of(fields)

    @classmethod
    def from_login(cls, grant: TokenGrant, *, issuer: str, client_id: str, now: float, api_key: str | None = None) -> Self:
        """A fresh ChatGPT sign-in. The account id comes from the id_token now and never again, as in the CLI."""
        return cls._of(
            {
                "auth_mode": "chatgpt",
                "OPENAI_API_KEY": api_key,
                "tokens": {
                    "id_token": grant.id_token,
                    "access_token": grant.access_token,
                    "refresh_token": grant.refresh_token,
                    "oauth_provenance": {"issuer": issuer, "client_id": client_id},
                    "account_id": read_claims_unverified(grant.id_token).account_id,
                },
                "last_refresh": _format_time(now),
            }
        )

    @classmethod
    def from_api_key(cls, api_key: str) -> Self:
        """Raises BadDocument for a key that no header can carry."""
        return cls._of({"auth_mode": "apikey", "OPENAI_API_KEY": api_key.strip()})

    @classmethod
    def _of(cls, fields: Mapping[str, object]) -> Self:
        kind = _supported(_mode(fields))
        tokens = _tokens(fields)
        document = cls(
            kind=kind,
            id_token=_secret(tokens, "id_token"),
            access_token=_secret(tokens, "access_token"),
            refresh_token=_secret(tokens, "refresh_token"),
            stored_account_id=_secret(tokens, "account_id"),
            api_key=_secret(fields, "OPENAI_API_KEY"),
            last_refresh=_parse_time(fields.get("last_refresh")),
            _fields=fields,
        )
        document._check_bearer()
        return document

    def _check_bearer(self) -> None:
        if self.kind == API_KEY and self.api_key is None:
            raise BadDocument("it holds no OPENAI_API_KEY")
        if self.kind == CHATGPT and self.access_token is None:
            raise BadDocument("it holds no tokens.access_token")

    @property
    def bearer(self) -> str:
        bearer = self.api_key if self.kind == API_KEY else self.access_token
        assert bearer is not None  # _check_bearer
        return bearer

    @property
    def account_id(self) -> str | None:
        return self.stored_account_id or self.claims.account_id or self.access_claims.account_id

    @property
    def claims(self) -> Claims:
        """Who the user is: the id_token's claims."""
        return read_claims_unverified(self.id_token)

    @property
    def access_claims(self) -> Claims:
        """How long the access token lives."""
        return read_claims_unverified(self.access_token)

    def refreshed(self, grant: TokenGrant, now: float) -> Self:
        """Replaces what the issuer returned, and nothing else: an omitted refresh token stays the current one."""
        returned = {name: value for name in TokenGrant.__dataclass_fields__ if (value := getattr(grant, name)) is not None}
        tokens = {**_tokens(self._fields), **returned}
        return self._of({**self._fields, "tokens": tokens, "last_refresh": _format_time(now)})

    def dump(self) -> bytes:
        """As the CLI writes it: two spaces, UTF-8, no newline at the end."""
        text = json.dumps(self._fields, indent=2, ensure_ascii=False, allow_nan=False)
        # Half a surrogate pair is legal in JSON but has no UTF-8; Python's escape for it is also JSON's.
        return text.encode("utf-8", "backslashreplace")


def _mode(fields: Mapping[str, object]) -> str:
    """auth_mode, or what the CLI concludes from an older file that has none (manager.rs, resolved_mode)."""
    mode = fields.get("auth_mode")
    if mode is not None:
        return mode if isinstance(mode, str) else "unknown"
    if fields.get("personal_access_token") is not None:
        return "personalAccessToken"
    if fields.get("bedrock_api_key") is not None:
        return "bedrockApiKey"
    return "apikey" if fields.get("OPENAI_API_KEY") is not None else "chatgpt"


def _supported(mode: str) -> str:
    match mode:
        case "chatgpt":
            return CHATGPT
        case "apikey":
            return API_KEY
        case "chatgptAuthTokens" | "agentIdentity" | "personalAccessToken" | "bedrockApiKey" | "headers":
            raise BadDocument(f"its auth_mode is {mode}: only chatgpt and apikey are supported")
        case _:
            raise BadDocument("its auth_mode is not known: only chatgpt and apikey are supported")


def _tokens(fields: Mapping[str, object]) -> Mapping[str, object]:
    tokens = fields.get("tokens")
    if tokens is None:
        return {}
    if not isinstance(tokens, dict):
        raise BadDocument("its tokens are not a JSON object")
    return tokens


def _secret(fields: Mapping[str, object], name: str) -> str | None:
    value = fields.get(name)
    if value is None or value == "":
        return None
    if not is_bearer(value):
        raise BadDocument(f"its {name} is not a string that a header can carry")
    return str(value)


def _parse_time(value: object) -> float | None:
    """RFC 3339; the CLI writes nanoseconds, of which Python keeps six digits."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        return None


def _format_time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _refuse_constant(name: str) -> object:
    raise ValueError(name)  # NaN and Infinity are Python's, not JSON's: the CLI could not read the file we would write
