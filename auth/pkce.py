"""Sign-in with a browser: RFC 6749 4.1 with PKCE (RFC 7636), as the Codex CLI's registration allows it.

    entropy -> make_verifier, make_state -> authorize_url -> (browser) -> parse_callback -> Code, to be exchanged
               with the verifier and with the same redirect_uri

The issuer compares redirect_uri as a string, so one constant says which host is in it.
"""

import base64
import hmac
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import parse_qs, urlencode

VERIFIER_ENTROPY = 64  # bytes; 86 characters, of the 43 to 128 that RFC 7636 4.1 allows
STATE_ENTROPY = 32

# What CLI 0.169 sends. In June 2026 the issuer took only "localhost"; if it refuses this one again, that is the way back.
REDIRECT_HOST = "127.0.0.1"
FALLBACK_REDIRECT_HOST = "localhost"
REDIRECT_PORTS = (1455, 1457)  # the only ones registered, in the order in which they are tried
CALLBACK_PATH = "/auth/callback"

SCOPE = "openid profile email offline_access api.connectors.read api.connectors.invoke"
# The issuer appends this to the state after some users' first sign-in (codex-rs, login/src/server.rs).
STATE_SUFFIX = ".onboarding_entrypoint=life_sciences"


@dataclass(frozen=True, slots=True)
class Code:
    """Consent was given."""

    code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Denied:
    """The issuer's own words, for the user."""

    error: str
    description: str


@dataclass(frozen=True, slots=True)
class WrongState:
    """Not the answer to our question: an old browser tab, or somebody else's code (RFC 6749 10.12)."""


@dataclass(frozen=True, slots=True)
class Missing:
    """The right state, and neither a code nor an error."""


type Callback = Code | Denied | WrongState | Missing


def make_verifier(entropy: bytes) -> str:
    """From VERIFIER_ENTROPY random bytes. It is kept until the exchange, and only its challenge is shown before."""
    return _base64url(entropy)


def make_state(entropy: bytes) -> str:
    """From STATE_ENTROPY random bytes."""
    return _base64url(entropy)


def challenge(verifier: str) -> str:
    """RFC 7636 4.2, method S256."""
    return _base64url(sha256(verifier.encode()).digest())


def redirect_uri(port: int, host: str = REDIRECT_HOST) -> str:
    return f"http://{host}:{port}{CALLBACK_PATH}"


def authorize_url(issuer: str, *, client_id: str, redirect: str, verifier: str, state: str, originator: str) -> str:
    """What the browser opens. Order and encoding (a space is +) are the CLI's."""
    parameters = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect,
        "code_challenge": challenge(verifier),
        "code_challenge_method": "S256",
        "state": state,
        "scope": SCOPE,
        "id_token_add_organizations": "true",
        "codex_cli_simplified_flow": "true",
        "originator": originator,
    }
    return f"{issuer}/oauth/authorize?{urlencode(parameters)}"


def parse_callback(query: str, state: str) -> Callback:
    """What the browser brought back. The state comes first: nothing else in the query counts until it is right."""
    received = parse_qs(query)
    if not _is_state(_first(received, "state"), state):
        return WrongState()
    if error := _first(received, "error"):
        return Denied(_plain(error), _plain(_first(received, "error_description")))
    code = _first(received, "code")
    return Code(code) if code else Missing()


def parse_pasted(text: str, state: str) -> Callback:
    """What a user copied from the browser's address bar, on a machine that the redirect could not reach."""
    address = text.strip().strip("'\"<>").partition("#")[0]
    return parse_callback(address.partition("?")[2] or address, state)


def _is_state(received: str, state: str) -> bool:
    offered = received.removesuffix(STATE_SUFFIX).encode("utf-8", "replace")
    return hmac.compare_digest(offered, state.encode())


def _plain(text: str) -> str:
    """One line that a terminal can show: it came in through a URL."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:300].strip()


def _first(received: dict[str, list[str]], name: str) -> str:
    return received.get(name, [""])[0]


def _base64url(raw: bytes) -> str:
    """Without padding, RFC 7636 appendix A."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
