"""Bodies that the fake takes as they are, for a test to spoil, and what comes back."""

import hashlib
from base64 import urlsafe_b64encode
from typing import Any
from urllib.parse import urlencode

import httpx
import orjson

from tests.fakes.identity import CLIENT_ID

VERIFIER = "v" * 43
CHALLENGE = urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()

LITE_HEADER = {"x-openai-internal-codex-responses-lite": "true"}
LOOKUP = {"type": "function", "name": "lookup", "parameters": {"type": "object", "properties": {}}, "strict": False}


def user(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def plain(text: str = "hello", /, **changes: Any) -> dict[str, Any]:
    """A body for the one model that is not lite."""
    return {"model": "gpt-5.5", "instructions": "", "input": [user(text)], "stream": True, "store": False, **changes}


def lite(text: str = "hello", /, tools: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    """A body as CLI 0.169 sends it for a lite model: no instructions, no top-level tools."""
    additional = {"type": "additional_tools", "role": "developer", "tools": tools or [LOOKUP]}
    developer = {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "be brief"}]}
    return {
        "model": "gpt-6.1-sol",
        "input": [additional, developer, user(text)],
        "stream": True,
        "store": False,
        "reasoning": {"effort": "low", "context": "all_turns"},
        "parallel_tool_calls": False,
        **changes,
    }


def without(body: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in keys}


def refresh(token: str, **changes: Any) -> dict[str, Any]:
    return {
        "client_id": CLIENT_ID,
        "grant_type": "refresh_token",
        "refresh_token": token,
        "refresh_reason": "proactive_expiry",
        **changes,
    }


def authorize_url(issuer_url: str, **changes: str | None) -> str:
    """The URL that CLI 0.169 opens; a change to None leaves a parameter out."""
    parameters: dict[str, str | None] = {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": "http://127.0.0.1:1455/auth/callback",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "state": "a-state-of-some-length",
        "scope": "openid profile email offline_access api.connectors.read api.connectors.invoke",
        "id_token_add_organizations": "true",
        "codex_cli_simplified_flow": "true",
        "originator": "codex_cli_rs",
        **changes,
    }
    return f"{issuer_url}/oauth/authorize?" + urlencode({k: v for k, v in parameters.items() if v is not None})


def code_form(code: str, redirect_uri: str = "http://127.0.0.1:1455/auth/callback", verifier: str = VERIFIER) -> dict[str, str]:
    return {
        "grant_type": "authorization_code",
        "client_id": CLIENT_ID,
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
    }


def events_of(answer: httpx.Response) -> list[dict[str, Any]]:
    """The events of a stream, each of which carries its own type as the event's name."""
    events = []
    for frame in answer.content.split(b"\n\n")[:-1]:
        name, data = frame.split(b"\n")
        event = orjson.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        events.append(event)
    return events


def text_of(answer: httpx.Response) -> str:
    return "".join(e["delta"] for e in events_of(answer) if e["type"] == "response.output_text.delta")
