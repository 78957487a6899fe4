"""Requests as the issuer insists on them, and the authorization codes it hands out.

Two error shapes are in use on purpose, since clients meet both: OAuth's flat one (RFC 6749 5.2) on forms, OpenAI's nested one
on JSON.
"""

import base64
import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NoReturn

from .errors import refuse
from .http import Refused, Request, json_response
from .identity import Identity, Session, Vault

# RFC 7636 4.1: 43 to 128 unreserved characters. 4.2: the challenge is a SHA-256 digest in base64url without padding.
VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
CODE_LIFETIME = 600.0  # RFC 6749 4.1.2: ten minutes at most


def refuse_oauth(code: str, description: str, status: int = 400) -> NoReturn:
    raise Refused(json_response(status, {"error": code, "error_description": description}))


def challenge_of(verifier: str) -> str:
    """RFC 7636 4.2: BASE64URL-ENCODE(SHA256(ASCII(code_verifier)))."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def read_json(request: Request, required: Collection[str], optional: Collection[str] = ()) -> dict[str, str]:
    """The body, an object of strings with all of `required` and nothing beyond `optional`."""
    if request.media_type != "application/json":
        refuse(400, "invalid_request", f"content-type must be application/json, not {request.media_type or 'missing'}")
    document = request.json
    if not isinstance(document, dict):
        refuse(400, "invalid_request", "the body must be a JSON object")
    if missing := [name for name in required if name not in document]:
        refuse(400, "invalid_request", f"missing: {', '.join(missing)}")
    if extra := [name for name in document if name not in required and name not in optional]:
        refuse(400, "invalid_request", f"not known here: {', '.join(extra)}")
    if wrong := [name for name, value in document.items() if not isinstance(value, str)]:
        refuse(400, "invalid_request", f"must be a string: {', '.join(wrong)}")
    return document


def read_form(request: Request, fields: Sequence[str]) -> dict[str, str]:
    """The body, a form of exactly these fields in exactly this order, each with a value."""
    pairs = request.form or []
    names = [name for name, _ in pairs]
    if names != list(fields):
        refuse_oauth("invalid_request", f"form fields must be {', '.join(fields)}, not {', '.join(names)}")
    if empty := [name for name, value in pairs if not value]:
        refuse_oauth("invalid_request", f"empty: {', '.join(empty)}")
    return dict(pairs)


@dataclass
class AuthorizationCode:
    identity: Identity
    redirect_uri: str
    challenge: str
    expires_at: float
    session: Session | None = None


class Codes:
    """Authorization codes: bound to a challenge and a redirect_uri, short-lived, good once."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._codes: dict[str, AuthorizationCode] = {}

    def issue(self, identity: Identity, redirect_uri: str, challenge: str) -> str:
        code = self._vault.opaque("code", "ac")
        self._codes[code] = AuthorizationCode(identity, redirect_uri, challenge, expires_at=self._vault.clock.now() + CODE_LIFETIME)
        return code

    def redeem(self, code: str, redirect_uri: str, verifier: str) -> Session:
        """The session that the code stands for; refuses with the reason in `error_description`."""
        known = self._codes.get(code)
        if known is None:
            refuse_oauth("invalid_grant", "unknown authorization code")
        if known.session is not None:
            # RFC 6749 4.1.2: "MUST deny the request and SHOULD revoke (when possible) all tokens previously issued".
            self._vault.revoke_session(known.session)
            refuse_oauth("invalid_grant", "the authorization code has already been used")
        if known.expires_at <= self._vault.clock.now():
            refuse_oauth("invalid_grant", "the authorization code has expired")
        if known.redirect_uri != redirect_uri:
            refuse_oauth("invalid_grant", f"redirect_uri must be the one of the authorization, {known.redirect_uri}")
        if not VERIFIER.fullmatch(verifier):
            refuse_oauth("invalid_request", "code_verifier must be 43 to 128 unreserved characters (RFC 7636 4.1)")
        if challenge_of(verifier) != known.challenge:
            refuse_oauth("invalid_grant", "code_verifier does not match the code_challenge")
        self._vault.remember("code_verifier", verifier)
        known.session = self._vault.sign_in(known.identity)
        return known.session
