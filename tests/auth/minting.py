"""Tokens and documents for tests that need no issuer."""

import json
from pathlib import Path
from typing import Any

import jwt

from auth.authjson import AuthDocument

ROOT = Path(__file__).parents[2]  # where other processes find `auth` and `tests`
KEY = b"a test key that signs nothing of value"
OPENAI_AUTH = "https://api.openai.com/auth"
ISO_NOON = "2026-11-21T12:00:00Z"
NOON = 1795262400.0


def mint_jwt(**claims: Any) -> str:
    return jwt.encode(claims, KEY, algorithm="HS256")


def chatgpt_fields(*, access: str | None = None, refresh: str | None = "rt_SENTINEL_1", **more: Any) -> dict[str, Any]:
    """The members of an auth.json, in the CLI's order."""
    return {
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": None,
        "tokens": {
            "id_token": mint_jwt(email="user@example.com", **{OPENAI_AUTH: {"chatgpt_account_id": "acc_from_jwt"}}),
            "access_token": access or mint_jwt(iat=NOON, exp=NOON + 864000, jti="SENTINEL"),
            "refresh_token": refresh,
            "account_id": "acc_SENTINEL",
        },
        "last_refresh": ISO_NOON,
        **more,
    }


def document(fields: dict[str, Any]) -> AuthDocument:
    return AuthDocument.parse(json.dumps(fields).encode())
