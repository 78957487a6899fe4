"""Who is signed in: identities, the tokens minted for them, and what has become of each token.

A *session* is one sign-in. Its refresh tokens form a chain: redeeming one mints the next and spends the old, and a spent one
that comes back is reuse. Access tokens are JWTs, but they are judged by looking them up, never by decoding: only a token
that this vault minted is good, so one that was altered anywhere is as unknown as one that was made up.

Everything secret that is minted or accepted is remembered by kind, so that a test can search its logs for the literal strings.
"""

import base64
import itertools
import secrets
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import jwt

from .settings import DEFAULT_EMAIL, Clock, Settings

CLIENT_ID = "app_EMoamEEZ73f0CkXaXp7hrann"
# At least 32 bytes, RFC 7518 3.2. Clients read claims and never verify, as the CLI does; this key is nowhere to be had.
SIGNING_KEY = b"a test key that signs nothing of value"

type SecretKind = Literal["access", "refresh", "id", "api_key", "code", "code_verifier"]
type RefreshFault = Literal["refresh_token_reused", "refresh_token_invalidated", "refresh_token_expired"]


class AccessRefused(Exception):
    """The access token is not good; `body` names the answer that the backend gives."""

    def __init__(self, body: str) -> None:
        super().__init__(body)
        self.body = body


class RefreshRefused(Exception):
    def __init__(self, code: RefreshFault) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Identity:
    email: str
    plan: str
    account_id: str
    user_id: str

    def claims(self) -> dict[str, Any]:
        return {
            "https://api.openai.com/profile": {"email": self.email, "email_verified": True},
            "https://api.openai.com/auth": {
                "chatgpt_account_id": self.account_id,
                "chatgpt_account_user_id": f"{self.user_id}__{self.account_id}",
                "chatgpt_plan_type": self.plan,
                "chatgpt_user_id": self.user_id,
                "user_id": self.user_id,
            },
        }


@dataclass(frozen=True)
class Tokens:
    id_token: str
    access_token: str
    refresh_token: str
    expires_in: int


@dataclass(eq=False)
class Session:
    identity: Identity
    tokens: Tokens = field(init=False)
    """The newest."""
    refresh_revoked: bool = False


@dataclass
class AccessToken:
    session: Session
    expires_at: float
    revoked_as: str | None = None


@dataclass
class RefreshToken:
    session: Session
    expires_at: float
    spent: bool = False


@dataclass
class Vault:
    """All identities and tokens of one life of the fake."""

    clock: Clock
    settings: Settings
    issuer_url: str
    sentinel: str = "SENTINEL"
    identities: dict[str, Identity] = field(default_factory=dict)
    access: dict[str, AccessToken] = field(default_factory=dict)
    refresh: dict[str, RefreshToken] = field(default_factory=dict)
    api_keys: dict[str, str | None] = field(default_factory=dict)
    known_secrets: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    counts: Counter[str] = field(default_factory=Counter)
    grants: Counter[str] = field(default_factory=Counter)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def remember(self, kind: SecretKind, value: str) -> str:
        if value not in self.known_secrets[kind]:
            self.known_secrets[kind].append(value)
        return value

    def opaque(self, kind: SecretKind, prefix: str) -> str:
        return self.remember(kind, f"{prefix}_{self.sentinel}_{next(self._numbers)}_{secrets.token_urlsafe(24)}")

    def identity(self, email: str = DEFAULT_EMAIL, plan: str | None = None, account_id: str | None = None) -> Identity:
        """The identity of that email, made if it is new; a plan or account id given now replaces the old one."""
        known = self.identities.get(email)
        self.identities[email] = Identity(
            email=email,
            plan=plan or (known.plan if known else "plus"),
            account_id=account_id or (known.account_id if known else str(uuid.uuid4())),
            user_id=known.user_id if known else f"user-{uuid.uuid4().hex[:24]}",
        )
        return self.identities[email]

    def sign_in(self, identity: Identity, *, lifetime: float | None = None, issued_ago: float = 0.0) -> Session:
        session = Session(identity)
        self._mint(session, lifetime, self.clock.now() - issued_ago)
        return session

    def redeem(self, refresh_token: str) -> Tokens:
        """Spend a refresh token for the session's next tokens.

        Raises RefreshRefused: a spent token was reused, an expired one came too late, any other is not (or no longer) ours.
        """
        self.counts["refreshes"] += 1
        token = self.refresh.get(refresh_token)
        if token is None or token.session.refresh_revoked:
            raise RefreshRefused("refresh_token_invalidated")
        if token.spent:
            self.counts["reuses"] += 1
            if self.settings.reuse_revokes_session:
                self.revoke_session(token.session)
            raise RefreshRefused("refresh_token_reused")
        if token.expires_at <= self.clock.now():
            raise RefreshRefused("refresh_token_expired")
        token.spent = True
        return self._mint(token.session, None, self.clock.now())

    def holder(self, access_token: str) -> Identity:
        """Whose access token this is, by the clock of the server. Raises AccessRefused."""
        token = self.access.get(access_token)
        if token is None:
            raise AccessRefused("token_invalidated")
        if token.revoked_as is not None:
            raise AccessRefused(token.revoked_as)
        if token.expires_at <= self.clock.now():
            raise AccessRefused("token_expired")
        return token.session.identity

    def owner(self, token: str) -> str | None:
        """The email a token was minted for, good or not."""
        known = self.access.get(token) or self.refresh.get(token)
        return known.session.identity.email if known else self.api_keys.get(token)

    def revoke_session(self, session: Session, body: str = "token_revoked") -> None:
        session.refresh_revoked = True
        for token in self.access.values():
            if token.session is session and token.revoked_as is None:
                token.revoked_as = body

    def revoke_token(self, value: str) -> None:
        """RFC 7009 2.1: with the refresh token goes the whole grant; an access token goes alone. Unknown ones are no error."""
        if value in self.refresh:
            self.revoke_session(self.refresh[value].session)
        elif value in self.access:
            self.access[value].revoked_as = "token_revoked"

    def revoke_of(self, what: str, email: str | None, body: str) -> int:
        """Revoke what an email (None: everyone) holds at this moment; how many access tokens and sessions that hit."""
        hit = 0
        for access in self.access.values():
            if what in ("access", "all") and email in (None, access.session.identity.email) and not access.revoked_as:
                access.revoked_as = body
                hit += 1
        for refresh in self.refresh.values():
            session = refresh.session
            if what in ("refresh", "all") and email in (None, session.identity.email) and not session.refresh_revoked:
                session.refresh_revoked = True
                hit += 1
        return hit

    def current(self, email: str) -> Tokens | None:
        """The newest tokens of an email: of its last session to get any."""
        newest = [t.session for t in self.refresh.values() if t.session.identity.email == email]
        return newest[-1].tokens if newest else None

    def mint_api_key(self, email: str | None) -> str:
        key = f"sk-test-{self.sentinel}-{next(self._numbers)}-{secrets.token_hex(8)}"
        return self.register_api_key(key, email)

    def register_api_key(self, key: str, email: str | None) -> str:
        self.api_keys[key] = email
        return self.remember("api_key", key)

    def _mint(self, session: Session, lifetime: float | None, issued_at: float) -> Tokens:
        lifetime = self.settings.access_lifetime if lifetime is None else lifetime
        expires_at = float(int(issued_at + lifetime))  # `exp` counts whole seconds
        tokens = Tokens(
            id_token=self._jwt("id", session.identity, issued_at, issued_at + 3600, {"aud": [CLIENT_ID]}),
            access_token=self._jwt(
                "access",
                session.identity,
                issued_at,
                expires_at,
                {
                    "aud": ["https://api.openai.com/v1"],
                    "client_id": CLIENT_ID,
                    "scp": ["openid", "profile", "email", "offline_access"],
                },
            ),
            refresh_token=self.opaque("refresh", "rt"),
            expires_in=round(lifetime),
        )
        self.access[tokens.access_token] = AccessToken(session, expires_at)
        self.refresh[tokens.refresh_token] = RefreshToken(session, issued_at + self.settings.refresh_lifetime)
        session.tokens = tokens
        return tokens

    def _jwt(self, kind: SecretKind, who: Identity, issued_at: float, expires_at: float, more: dict[str, Any]) -> str:
        claims = {
            "iss": self.issuer_url,
            "sub": f"auth0|{who.user_id}",
            "jti": f"{self.sentinel}-{next(self._numbers)}",
            "iat": int(issued_at),
            "nbf": int(issued_at),
            "exp": int(expires_at),
            "email": who.email,
            **who.claims(),
            **more,
        }
        return self.remember(kind, jwt.encode(claims, SIGNING_KEY, algorithm="HS256", headers={"kid": self.sentinel}))


def auth_document(session: Session, issuer_url: str, last_refresh: float) -> dict[str, Any]:
    """The auth.json that Codex CLI 0.169 would have written after this sign-in."""
    # Nine digits, as Rust's chrono writes them: more than datetime.fromisoformat keeps, so readers must cope.
    stamp = datetime.fromtimestamp(last_refresh, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
    return {
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": None,
        "tokens": {
            "id_token": session.tokens.id_token,
            "access_token": session.tokens.access_token,
            "refresh_token": session.tokens.refresh_token,
            "oauth_provenance": {"issuer": issuer_url, "client_id": CLIENT_ID},
            "login_owner_id": base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode(),
            "account_id": session.identity.account_id,
        },
        "last_refresh": stamp,
    }
