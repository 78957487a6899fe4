"""Which requests come in at all, before an account is asked for: refused here is what no account could help."""

from mitmproxy import ctx, http

from addons import engine
from addons.guard import Refused, guarded, is_open
from addons.websocket import WEBSOCKET_REFUSED, is_relayed, is_upgrade
from addons.wire.errors import OpenAIError


class CodexGate:
    @guarded
    def request(self, flow: http.HTTPFlow) -> None:
        if engine.body_was_too_large(flow) and flow.live and not flow.response:
            # In every mode: the body is gone, and without it the request would be another one.
            raise Refused(OpenAIError(413, f"the request body is over {ctx.options.body_size_limit} (option body_size_limit)"))
        if is_open(flow) and is_upgrade(flow.request) and not is_relayed(flow.request):
            raise Refused(WEBSOCKET_REFUSED)
