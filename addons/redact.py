"""What never stays on a flow, in either direction: the client's credentials, everybody's cookies, the account's identity.

The bearer itself is no matter of redaction: it is put on the wire and never on the flow (`engine.put_on_the_wire`). With
`codex_mode=forward` the same is done with what a client and its upstream say to each other: it reaches them, and nobody else.
"""

import secrets
from collections.abc import Mapping
from hashlib import blake2b
from typing import NamedTuple
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from mitmproxy import ctx, http

from addons import engine, heads
from addons.guard import guarded_head, is_ours
from addons.keys import digest_of

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


# Of these, what an upstream says to its client and to nobody else. In forward mode the client gets it.
FOR_THE_CLIENT = ("set-cookie", "openai-organization", "openai-project", "chatgpt-account-id")

PASSED_ON = "[passed on by codex-mitm]"

CLIENT, OWNER = "codex.client", "codex.owner"

# Where a client's key can stand; the first that is there is the one that counts.
CREDENTIALS = ("authorization", "x-api-key", "api-key", "x-goog-api-key", "x-litellm-api-key")

# What is read of a head before it is taken off, and what is.
_READ = heads.in_bytes((*CREDENTIALS, "user-agent", "chatgpt-account-id"))
_OFF_REQUESTS, _OFF_ANSWERS = heads.in_bytes(FROM_REQUESTS), heads.in_bytes(FROM_ANSWERS)

# What a Codex CLI says that its own account is: on no flow, and repeated to nobody but itself.
_account_said: WeakKeyDictionary[http.HTTPFlow, str] = WeakKeyDictionary()


class Brought(NamedTuple):
    """What a request has at its head for the gate, and for nobody after it."""

    digests: tuple[bytes, ...] = ()
    """Of the keys, wherever they stand."""
    authority: str = ""
    """Of an absolute target, without a user and a password."""


_NOTHING = Brought()
_brought: WeakKeyDictionary[http.HTTPFlow, Brought] = WeakKeyDictionary()

# New with each start: the key of a client may be short or guessable, and what is made of it stands on the flow.
_SALT = secrets.token_bytes(16)


def client_of(peer: str, headers: Mapping[str, str], salt: bytes = _SALT) -> str:
    """Tells one client from another as long as the salt is the same, and tells nothing about it."""
    signs = [peer, *[headers.get(name, "") for name in ("authorization", "x-api-key", "api-key", "user-agent")]]
    return blake2b("\n".join(signs).encode("utf-8", "surrogateescape"), digest_size=8, key=salt).hexdigest()


def owner_of(headers: Mapping[str, str], salt: bytes = _SALT) -> str:
    """Whose key it is, wherever it stands and whichever program on whichever machine sends it. Without a key all are the same."""
    given = [value for name in CREDENTIALS if (value := headers.get(name))]
    credential = bare_key(given[0]) if given else ""
    return blake2b(credential.encode("utf-8", "surrogateescape"), digest_size=16, key=salt).hexdigest()


def bare_key(given: str) -> str:
    scheme, _, key = given.partition(" ")
    return key if scheme.lower() == "bearer" else given


def brought(flow: http.HTTPFlow) -> Brought:
    """Once: it is forgotten here."""
    return _brought.pop(flow, _NOTHING)


def account_said(flow: http.HTTPFlow) -> str | None:
    """The account id that the client gave, if it gave one."""
    return _account_said.get(flow)


def pass_on(message: http.Message, names: tuple[str, ...]) -> None:
    """These headers reach whom they are meant for; whoever looks at the flow sees that they were there, and no more."""
    secret = {name: message.headers.get_all(name) for name in names if name in message.headers}
    engine.hand_over(message, secret)
    message.headers.update(dict.fromkeys(secret, PASSED_ON))


def is_sign_in(request: http.Request) -> bool:
    """Bodies to and from there are tokens, codes and not much else."""
    return request.pretty_host == urlsplit(ctx.options.codex_issuer_url).hostname


def is_passing(flow: http.HTTPFlow) -> bool:
    """Between a client that has this proxy as its HTTPS_PROXY and wherever it goes."""
    return not is_ours(flow) and bool(ctx.options.codex_mode == "forward")


def is_event_stream(response: http.Response) -> bool:
    return response.headers.get("content-type", "").startswith("text/event-stream")


class CodexRedact:
    """First in the list: `requestheaders` is the first moment at which anything (mitmweb's view included) sees the request."""

    def __init__(self, salt: bytes = _SALT) -> None:
        """Proxies that share what belongs to clients have one salt, and know a client of the others."""
        self.salt = salt

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if not is_ours(flow):
            if is_passing(flow):
                flow.request.headers.pop("proxy-authorization", None)  # it was for this proxy
                pass_on(flow.request, FROM_REQUESTS)
                flow.request.stream = is_sign_in(flow.request)  # what streams is not kept
            return
        request, peer = flow.request, flow.client_conn.peername
        told = heads.told(request.headers, _READ)
        flow.metadata[CLIENT] = client_of(peer[0] if peer else "", told, self.salt)
        flow.metadata[OWNER] = owner_of(told, self.salt)
        if account := told.get("chatgpt-account-id"):
            _account_said[flow] = account
        keys = [bare_key(told[name]).strip() for name in CREDENTIALS if name in told]
        authority = ""
        if request.data.authority and (request.is_http11 or request.is_http10):
            authority = request.authority.rpartition("@")[2]
            request.authority = ""  # the absolute form's; it can carry user:password@
        _brought[flow] = Brought(tuple([digest_of(key) for key in keys if key]), authority)
        heads.take_off(request.headers, _OFF_REQUESTS)

    def request(self, flow: http.HTTPFlow) -> None:
        if is_passing(flow) and is_sign_in(flow.request):
            flow.request.data.content = None  # with `store_streamed_bodies` it was kept

    @guarded_head
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if flow.response and is_ours(flow):
            heads.take_off(flow.response.headers, _OFF_ANSWERS)
        elif flow.response and is_passing(flow):
            pass_on(flow.response, FOR_THE_CLIENT)
            flow.response.stream = is_sign_in(flow.request) or is_event_stream(flow.response)

    def response(self, flow: http.HTTPFlow) -> None:
        if flow.response and is_passing(flow) and is_sign_in(flow.request):
            flow.response.data.content = None
