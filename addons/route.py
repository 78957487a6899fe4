"""Which upstream a request goes to, and with which path. Tags the flow with the upstream, and with the dialect to be translated."""

from collections.abc import Callable, Mapping

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader
from mitmproxy.net import server_spec
from mitmproxy.utils import human

from addons import heads
from addons.accounts import ACCOUNT_KIND
from addons.edits import note
from addons.engine.headers import Places, places_in
from addons.guard import Refused, guarded, is_open
from addons.upstreams import CODEX_PATHS, BaseUrl, Upstream, bare_path, choose, parse_base_url, passes_to_codex, target, told_of
from addons.wire import encoding
from addons.wire.errors import OpenAIError
from addons.wire.plan import Edit

UPSTREAM, DIALECT = "codex.upstream", "codex.dialect"
SETTINGS = ("auto", "codex", "platform")

# What of a head decides where a request goes, and how.
_READ = heads.in_bytes(("content-encoding", "upgrade"))
_UPGRADE = heads.in_bytes(("upgrade",))


class CodexRoute:
    """After the account is chosen, because its kind decides. `proxy_for` names the HTTP proxy for a URL, if there is one."""

    def __init__(self, proxy_for: Callable[[str], str | None]) -> None:
        self.proxy_for = proxy_for
        self.setting = SETTINGS[0]
        self.bases: dict[Upstream, BaseUrl] = {}
        self.via: dict[Upstream, server_spec.ServerSpec | None] = {}

    def load(self, loader: Loader) -> None:
        loader.add_option(
            "codex_upstream",
            str,
            "auto",
            "Where requests go: auto decides by the kind of the account (a ChatGPT login is served by the Codex backend, an API "
            "key by the platform), codex and platform force one.",
            choices=SETTINGS,
        )
        loader.add_option(
            "codex_backend_url",
            str,
            "https://chatgpt.com/backend-api/codex",
            "Base URL of the Codex backend; /responses and /models are below it. http is accepted for loopback hosts only.",
        )
        loader.add_option(
            "codex_platform_url",
            str,
            "https://api.openai.com",
            "Base URL of OpenAI's platform; /v1 is below it. http is accepted for loopback hosts only.",
        )

    def configure(self, updated: set[str]) -> None:
        if ctx.options.codex_upstream not in SETTINGS:  # mitmproxy shows choices, and takes anything
            raise exceptions.OptionsError(f"codex_upstream: {ctx.options.codex_upstream} is not one of {', '.join(SETTINGS)}")
        self.setting = ctx.options.codex_upstream
        options: dict[Upstream, str] = {"codex": "codex_backend_url", "platform": "codex_platform_url"}
        for upstream, option in options.items():
            if option in updated:
                try:
                    base = parse_base_url(getattr(ctx.options, option))
                except ValueError as e:
                    raise exceptions.OptionsError(f"{option}: {e}") from e
                self.bases[upstream] = base
                self.via[upstream] = self._via(base)

    def _via(self, base: BaseUrl) -> server_spec.ServerSpec | None:
        """The HTTP proxy that the environment names for this upstream, as mitmproxy wants it."""
        proxy = self.proxy_for(base.origin)
        try:
            return server_spec.parse(proxy, "http") if proxy else None
        except ValueError:  # neither quoted nor chained: a proxy URL may carry a password
            raise exceptions.OptionsError(
                f"the proxy that the environment sets for {base.origin} is not of the form http://host:port"
            ) from None

    @guarded
    def request(self, flow: http.HTTPFlow) -> None:
        if not is_open(flow) or ACCOUNT_KIND not in flow.metadata:
            return
        upstream = choose(self.setting, flow.metadata[ACCOUNT_KIND])
        told, asked = heads.told(flow.request.headers, _READ), flow.request.path
        # A WebSocket asks with GET for what is a POST otherwise.
        method = "POST" if asks_for_websocket(told) else flow.request.method
        path = target(upstream, self.bases[upstream], method, asked)
        if isinstance(path, OpenAIError):
            raise Refused(path)
        if upstream == "codex":
            self._tidy_for_codex(flow, told)
            if not is_codex_cli(flow.request.headers):
                flow.metadata[DIALECT] = CODEX_PATHS[bare_path(asked)].dialect
        self._send_to(flow, upstream, path)
        flow.metadata[UPSTREAM] = upstream

    def _send_to(self, flow: http.HTTPFlow, upstream: Upstream, path: str) -> None:
        request, base = flow.request, self.bases[upstream]
        request.scheme, request.path = base.scheme, path
        request.data.host, request.data.port = base.host, base.port  # mitmproxy's setters would write a Host each
        default_port = 443 if base.scheme == "https" else 80
        host = base.host if base.port == default_port else f"{base.host}:{base.port}"
        heads.put(request.headers, {"Host": host})
        if request.data.authority:
            request.authority = host
        flow.server_conn.via = self.via[upstream]
        flow.server_conn.sni = base.host  # else, with `keep_host_header`, the name under which a client's TLS knows this proxy

    def _tidy_for_codex(self, flow: http.HTTPFlow, told: Mapping[str, str]) -> None:
        """The backend surely understands a body without a content-encoding, and gets no header that it has no use for."""
        request, upgrade = flow.request, asks_for_websocket(told)
        if "content-encoding" in told and request.method == "POST":
            limit = human.parse_size(ctx.options.body_size_limit) or 2**63
            del request.headers["content-encoding"]
            request.content = plain_body(told["content-encoding"], request.raw_content or b"", limit)
        places = places_in(request.headers)
        if (found := places.found.get((_for_codex, upgrade))) is None:  # the heads of one client are alike from call to call
            found = places.found[_for_codex, upgrade] = _for_codex(places, upgrade)
        kept, edits = found
        fields = request.headers.fields
        # Whatever the client could read compressed: answers are read here, and errors are written into the stream.
        request.headers.fields = (*[fields[place] for place in kept], (b"accept-encoding", b"identity"))
        note(flow, edits)


def _for_codex(places: Places, upgrade: bool) -> tuple[list[int], list[Edit]]:
    """The fields that the backend gets, and what is told of the others."""
    passing = {name for name in places.by_text if passes_to_codex(name, upgrade=upgrade)}
    kept = sorted(place for name in passing for place in places.by_text[name])
    dropped = told_of(name for name in places.by_text if name not in passing)
    return kept, [Edit("dropped", f"header {name}", "the Codex backend has no use for it") for name in dropped]


def is_codex_cli(headers: http.Headers) -> bool:
    """It speaks the backend's own language, and wants to hear it: nothing of what it says or gets is translated."""
    return heads.has(headers, b"originator")


def is_upgrade(request: http.Request) -> bool:
    """To a WebSocket. Those that `CodexGate` lets in are to be relayed."""
    return heads.has(request.headers, b"upgrade") and asks_for_websocket(heads.told(request.headers, _UPGRADE))


def asks_for_websocket(told: Mapping[str, str]) -> bool:
    return told.get("upgrade", "").lower() == "websocket"


def plain_body(content_encoding: str, body: bytes, limit: int) -> bytes:
    try:
        return encoding.decode(content_encoding, body, limit) if content_encoding else body
    except encoding.TooLarge:
        raise Refused(OpenAIError(413, f"decoded, the request body is over {limit} bytes (option body_size_limit)")) from None
    except encoding.Undecodable as e:
        raise Refused(OpenAIError(400, f"the request body cannot be decoded: {e}", code="invalid_encoding")) from e
