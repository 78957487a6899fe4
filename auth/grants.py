"""The token endpoint's language: what we ask for, and what its answers mean.

An answer is one of three things, and the difference decides whether a user has to sign in again:

    TokenGrant   keep it; for a refresh every member may be absent, and what is absent stays as it was
    Refused      this refresh token or code will never work again
    Unclear      anything else: an outage, a page from a firewall, half an answer; the same request may work later

Refresh tokens are single use, so Unclear must never be taken for Refused: the token may be unspent.
Answers are described by their keys and their error code, never by a value: values are secrets.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlencode

CLIENT_ID = "app_EMoamEEZ73f0CkXaXp7hrann"

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"

# codex-rs, login/src/auth/manager.rs: these three codes, `invalid_grant` with 400, and any 401 are final.
DEAD_CODES = frozenset({"refresh_token_expired", "refresh_token_reused", "refresh_token_invalidated"})


@dataclass(frozen=True, slots=True)
class TokenGrant:
    """Tokens as the issuer returned them."""

    id_token: str | None = field(default=None, repr=False)
    access_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)


class Refused(NamedTuple):
    code: str


class Unclear(NamedTuple):
    why: str


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """The body of a POST, with the content type that says how it is encoded."""

    content_type: str
    body: bytes = field(repr=False)


def code_request(client_id: str, code: str, redirect_uri: str, verifier: str) -> TokenRequest:
    return _form(
        grant_type="authorization_code",
        client_id=client_id,
        code=code,
        redirect_uri=redirect_uri,
        code_verifier=verifier,
    )


def api_key_request(client_id: str, id_token: str) -> TokenRequest:
    """RFC 8693 token exchange, with OpenAI's own `requested_token`."""
    return _form(
        grant_type="urn:ietf:params:oauth:grant-type:token-exchange",
        client_id=client_id,
        requested_token="openai-api-key",
        subject_token=id_token,
        subject_token_type="urn:ietf:params:oauth:token-type:id_token",
    )


def refresh_request(client_id: str, refresh_token: str, reason: str) -> TokenRequest:
    """JSON, unlike every other grant. `reason` is new in CLI 0.169: proactive_expiry or unauthorized_recovery."""
    return _json(client_id=client_id, grant_type="refresh_token", refresh_token=refresh_token, refresh_reason=reason)


def revoke_request(client_id: str, token: str, hint: str) -> TokenRequest:
    """`hint` is refresh_token or access_token; the CLI names the client only for the former."""
    if hint == "refresh_token":
        return _json(token=token, token_type_hint=hint, client_id=client_id)
    return _json(token=token, token_type_hint=hint)


def parse_refresh(status: int, body: bytes) -> TokenGrant | Refused | Unclear:
    grant = _parse_grant(status, body)
    if grant == TokenGrant():
        return Unclear("the issuer answered 200 without any token")
    return grant


def parse_code(status: int, body: bytes) -> TokenGrant | Refused | Unclear:
    """A code buys a whole login: an answer with a token missing is of no use."""
    grant = _parse_grant(status, body)
    if not isinstance(grant, TokenGrant):
        return grant
    missing = [name for name in TokenGrant.__dataclass_fields__ if getattr(grant, name) is None]
    return Unclear(f"the issuer's answer lacks {', '.join(missing)}") if missing else grant


def parse_api_key(status: int, body: bytes) -> str | None:
    grant = _parse_grant(status, body)
    return grant.access_token if isinstance(grant, TokenGrant) else None


def error_code(body: bytes) -> str:
    """`error.code`, `error` or `code`, in the order in which the CLI looks; empty if there is none that reads like a code."""
    answer = _parse_object(body) or {}
    error = answer.get("error")
    code = error.get("code") if isinstance(error, dict) else error or answer.get("code")
    return code if isinstance(code, str) and re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", code) else ""


def is_bearer(value: object) -> bool:
    """RFC 6750 wants b64token; anything visible goes, but a line break would end the header it is put in."""
    return isinstance(value, str) and re.fullmatch(r"[\x21-\x7e]+", value) is not None


def _parse_grant(status: int, body: bytes) -> TokenGrant | Refused | Unclear:
    if status != 200:
        return _classify(status, error_code(body))
    answer = _parse_object(body)
    if answer is None:
        return Unclear("the issuer answered 200 with something that is not a JSON object")
    if answer.get("error"):
        # Unorthodox servers do (golang/oauth2 knows some). With a 200 it is not a verdict on the token.
        return Unclear(f"the issuer answered 200 with an error, {error_code(body) or 'without a code'}")
    return _read_grant(answer)


def _read_grant(answer: Mapping[str, object]) -> TokenGrant | Unclear:
    found = {name: answer[name] for name in TokenGrant.__dataclass_fields__ if answer.get(name) is not None}
    odd = [name for name, value in found.items() if not is_bearer(value)]
    if odd:
        return Unclear(f"the issuer's answer has no usable {', '.join(odd)}")
    return TokenGrant(**{name: str(value) for name, value in found.items()})


def _classify(status: int, code: str) -> Refused | Unclear:
    if code in DEAD_CODES or status == 401 or (status == 400 and code == "invalid_grant"):
        return Refused(code or f"http_{status}")
    return Unclear(f"the issuer answered {status}, {code or 'without an error code'}")


def _parse_object(body: bytes) -> dict[str, object] | None:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _form(**fields: str) -> TokenRequest:
    return TokenRequest(FORM, urlencode(fields).encode())


def _json(**fields: str) -> TokenRequest:
    return TokenRequest(JSON, json.dumps(fields).encode())
