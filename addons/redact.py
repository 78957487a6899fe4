"""What never stays on a flow, in either direction: the client's credentials, everybody's cookies, the account's identity.

The bearer itself is no matter of redaction: it is put on the wire and never on the flow (`engine.put_on_the_wire`).
"""

import secrets
from hashlib import blake2b

from mitmproxy import http

from addons.guard import is_ours

# Credentials in all the places where OpenAI clients and gateways put them (OpenAI, Azure, Anthropic, Google, LiteLLM), what a
# Codex CLI says about its own login, and what would tell upstream about the machines in front of this proxy.
FROM_REQUESTS = (
    "authorization",
    "proxy-authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "x-litellm-api-key",
    "openai-organization",
    "openai-project",
    "chatgpt-account-id",
    "cookie",
    "x-openai-fedramp",
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
)

# Upstream's cookies belong to upstream and this proxy; its organisation names the account; the rest is its edge talking.
FROM_ANSWERS = (
    "set-cookie",
    "openai-organization",
    "openai-project",
    "chatgpt-account-id",
    "alt-svc",
    "nel",
    "report-to",
    "cf-cache-status",
    "strict-transport-security",
)


CLIENT = "codex.client"

# New with each start: the key of a client may be short or guessable, and what is made of it stands on the flow.
_SALT = secrets.token_bytes(16)


def client_of(flow: http.HTTPFlow) -> str:
    """Tells one client from another as long as this process runs, and tells nothing about it."""
    peer = flow.client_conn.peername[0] if flow.client_conn.peername else ""
    signs = [peer, *(flow.request.headers.get(name, "") for name in ("authorization", "x-api-key", "api-key", "user-agent"))]
    return blake2b("\n".join(signs).encode("utf-8", "surrogateescape"), digest_size=8, key=_SALT).hexdigest()


def take_off(headers: http.Headers, names: tuple[str, ...]) -> None:
    for name in names:
        headers.pop(name, None)


class CodexRedact:
    """First in the list: `requestheaders` is the first moment at which anything (mitmweb's view included) sees the request."""

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if not is_ours(flow):
            return
        flow.metadata[CLIENT] = client_of(flow)
        take_off(flow.request.headers, FROM_REQUESTS)
        if flow.request.is_http11 or flow.request.is_http10:
            flow.request.authority = ""  # the absolute form's; it can carry user:password@

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if is_ours(flow) and flow.response:
            take_off(flow.response.headers, FROM_ANSWERS)
