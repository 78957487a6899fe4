"""WebSocket upgrades: refused, or relayed between a Codex CLI and the Codex backend.

mitmproxy relays a WebSocket by itself once upstream's 101 has passed, and shows its messages on the flow. The handshake goes the
way of every request: the bearer is on the wire only, and a 401 is answered with a renewed token.
"""

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader

from addons import engine
from addons.guard import Refused, guarded, is_open, is_ours
from addons.keys import TURNED_AWAY
from addons.route import UPSTREAM, is_codex_cli, is_upgrade
from addons.upstreams import bare_path
from addons.wire.errors import OpenAIError

SETTINGS = ("refuse", "relay")

# 426 makes the Codex CLI go on over POST at once and in silence; a 401 costs it seven token refreshes, a 404 six seconds.
WEBSOCKET_REFUSED = OpenAIError(
    426,
    "WebSocket is not relayed by this proxy; send the request with POST",
    code="websocket_not_supported",
    headers={"upgrade": "HTTP/1.1"},
)


def is_relayed(request: http.Request) -> bool:
    """Only a Codex CLI speaks what the backend expects on a WebSocket, and it does so at one place."""
    wanted: bool = ctx.options.codex_websocket == "relay"
    return wanted and is_codex_cli(request.headers) and bare_path(request.path) == "/responses"


class CodexWebsocket:
    """After everything that may refuse an upgrade or retry it, before the bearer."""

    def load(self, loader: Loader) -> None:
        loader.add_option(
            "codex_websocket",
            str,
            "refuse",
            "What a Codex CLI's WebSocket upgrade gets: refuse answers 426, on which it goes on over POST; relay passes it to the "
            "Codex backend.",
            choices=SETTINGS,
        )

    def configure(self, updated: set[str]) -> None:
        if ctx.options.codex_websocket not in SETTINGS:  # mitmproxy shows choices, and takes anything
            raise exceptions.OptionsError(f"codex_websocket: {ctx.options.codex_websocket} is not one of {', '.join(SETTINGS)}")

    @guarded
    def request(self, flow: http.HTTPFlow) -> None:
        if flow.metadata.get(UPSTREAM) != "codex" and is_open(flow) and is_upgrade(flow.request):
            raise Refused(WEBSOCKET_REFUSED)

    @guarded
    def response(self, flow: http.HTTPFlow) -> None:
        """Whatever refused the upgrade, the client hears it over POST, where it understands it. Strangers are not sent there."""
        if not is_ours(flow) or not is_upgrade(flow.request) or engine.is_resending(flow) or TURNED_AWAY in flow.metadata:
            return
        if flow.response and flow.response.status_code not in (101, WEBSOCKET_REFUSED.status):
            raise Refused(WEBSOCKET_REFUSED)
