"""Which requests come in at all, before an account is asked for: refused here is what no account could help."""

from mitmproxy import ctx, http

from addons import engine
from addons.guard import Refused, guarded, is_open
from addons.wire.errors import OpenAIError

# 426 makes the Codex CLI go on over POST at once and in silence; a 401 costs it seven token refreshes, a 404 six seconds.
WEBSOCKET_REFUSED = OpenAIError(
    426,
    "WebSocket is not relayed by this proxy; send the request with POST",
    code="websocket_not_supported",
    headers={"upgrade": "HTTP/1.1"},
)


class CodexGate:
    @guarded
    def request(self, flow: http.HTTPFlow) -> None:
        if not is_open(flow):
            return
        if engine.body_was_too_large(flow):
            raise Refused(OpenAIError(413, f"the request body is over {ctx.options.body_size_limit} (option body_size_limit)"))
        if flow.request.headers.get("upgrade", "").lower() == "websocket":
            raise Refused(WEBSOCKET_REFUSED)
