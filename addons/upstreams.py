"""Where requests may go: the two upstreams, what each serves, and how a client's path maps to it. Pure."""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from addons.wire.errors import OpenAIError, invalid_url
from addons.wire.plan import Dialect

Upstream = Literal["codex", "platform"]


class CodexPath(NamedTuple):
    method: str
    path: str
    """Behind the backend's base URL."""
    dialect: Dialect | None = None
    """What a client speaks there, if it has to be translated."""
    is_beside: bool = False
    """Beside the base URL, rather: where the backend tells about the account."""


ACCOUNTS_CHECK = "/backend-api/wham/accounts/check"

# By the client's path without `/v1`. Below /backend-api is what a Codex CLI asks its `chatgpt_base_url`.
CODEX_PATHS: Mapping[str, CodexPath] = {
    "/responses": CodexPath("POST", "/responses", "responses"),
    "/chat/completions": CodexPath("POST", "/responses", "chat"),
    "/responses/compact": CodexPath("POST", "/responses/compact"),
    "/models": CodexPath("GET", "/models"),
    ACCOUNTS_CHECK: CodexPath("GET", "/wham/accounts/check", is_beside=True),
    "/backend-api/wham/settings/user": CodexPath("GET", "/wham/settings/user", is_beside=True),
    "/backend-api/wham/usage": CodexPath("GET", "/wham/usage", is_beside=True),
    "/backend-api/wham/rate-limit-reset-credits": CodexPath("GET", "/wham/rate-limit-reset-credits", is_beside=True),
}

# Headers that reach the Codex backend: what the Codex CLI sends (0.169) and what describes the body. A name that ends in `*`
# is a prefix. Everything else that SDKs and gateways add is theirs and stays here.
CODEX_HEADERS = (
    "host",
    "accept",
    "accept-language",
    "content-type",
    "content-length",
    "transfer-encoding",
    "connection",
    "user-agent",
    "originator",
    "version",
    "session-id",
    "thread-id",
    "x-client-request-id",
    "traceparent",
    "tracestate",
    "openai-beta",
    "x-codex-*",
    "x-openai-*",
    "x-oai-*",
)
# And these with a WebSocket's handshake, which is a request to nobody else.
WEBSOCKET_HEADERS = ("upgrade", "sec-websocket-*")


class HeaderRules:
    """Names, and beginnings of names."""

    def __init__(self, *rules: str) -> None:
        self.names = frozenset(rule for rule in rules if not rule.endswith("*"))
        self.beginnings = tuple(rule[:-1] for rule in rules if rule.endswith("*"))

    def cover(self, name: str) -> bool:
        return name in self.names or name.startswith(self.beginnings)


_PASS = HeaderRules(*CODEX_HEADERS)
_PASS_WITH_UPGRADE = HeaderRules(*CODEX_HEADERS, *WEBSOCKET_HEADERS)


class BaseUrl(NamedTuple):
    """An upstream's base URL, taken apart. `path` has no slash at its end."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


def parse_base_url(value: str) -> BaseUrl:
    """Raises ValueError with the reason. `http` is for loopback only: a bearer goes out on it."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"not an http(s) URL: {value}")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("a base URL has no credentials, query or fragment")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError(f"must be https: {value} (http is for loopback hosts only)")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return BaseUrl(parts.scheme, parts.hostname, port, parts.path.rstrip("/"))


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def choose(setting: str, account_kind: str) -> Upstream:
    """`auto` goes by the kind of account: only the Codex backend takes a ChatGPT login's token, only the platform an API key."""
    if setting == "auto":
        return "platform" if account_kind == "api_key" else "codex"
    return "platform" if setting == "platform" else "codex"


def target(upstream: Upstream, base: BaseUrl, method: str, path: str) -> str | OpenAIError:
    """The path to ask `upstream` for, query included, or the refusal. Clients may leave `/v1` away or end in a slash."""
    bare, question_mark, query = path.partition("?")
    rest = bare_path(bare)
    if not rest.startswith("/") or "//" in rest or {".", ".."} & set(rest.split("/")):
        return invalid_url(method, bare)
    if upstream == "platform":
        return f"{base.path}/v1{rest}{question_mark}{query}"
    served = CODEX_PATHS.get(rest)
    if served is None:
        return _not_on_codex(method, bare)
    if method != served.method:
        return OpenAIError(405, f"Not allowed to {method} on {bare}", headers={"allow": served.method})
    root = base.path.rpartition("/")[0] if served.is_beside else base.path
    return f"{root}{served.path}{question_mark}{query}"


def bare_path(path: str) -> str:
    """What a path asks for: without the query, `/v1` and a slash at the end."""
    return path.partition("?")[0].rstrip("/").removeprefix("/v1")


# Paths of api.openai.com that clients ask for and the Codex backend does not have.
_PLATFORM_ONLY = (
    "assistants audio batches chat completions containers conversations embeddings evals files fine_tuning images moderations "
    "organization realtime responses threads uploads vector_stores videos"
).split()


def _not_on_codex(method: str, path: str) -> OpenAIError:
    first = path.removeprefix("/v1").strip("/").partition("/")[0]
    if first not in _PLATFORM_ONLY:
        return invalid_url(method, path)
    return OpenAIError(
        404,
        f"{method} {path} is not served on a ChatGPT login, which reaches /v1/responses and /v1/chat/completions only; "
        "an account with an API key serves it (sign in with `make login ARGS=--api-key-stdin`)",
        code="not_supported",
    )


def passes_to_codex(header: str, *, upgrade: bool = False) -> bool:
    return (_PASS_WITH_UPGRADE if upgrade else _PASS).cover(header.lower())


# Not worth a word to the client: they are about one connection, or say in which form it reads an answer.
OF_THE_CONNECTION = ("accept-encoding", "keep-alive", "te", "trailer", "proxy-connection", "expect", "priority")
# Families of which the SDKs send eight and more at once.
FAMILIES = ("x-stainless-", "x-forwarded-", "sec-", "cf-")


def told_of(dropped: Iterable[str]) -> list[str]:
    """Headers that stay here, as a client is told of them: each once, a family as one."""
    names = [name.lower() for name in dropped]
    family = {name: next((f"{family}*" for family in FAMILIES if name.startswith(family)), name) for name in names}
    return list(dict.fromkeys(family[name] for name in names if name not in OF_THE_CONNECTION))
