"""An upstream's refusal reaches the client as an OpenAI error, whatever it looked like: FastAPI's `detail`, a challenge page,
a gateway's HTML, a redirect. OpenAI's own envelope passes; for a client of OpenAI's APIs it is made whole, and rid of what upstream
tells about the account."""

from urllib.parse import urlsplit

from mitmproxy import http

from addons import engine
from addons.guard import Refused, guarded
from addons.route import DIALECT, UPSTREAM
from addons.wire import errors
from addons.wire.errors import OpenAIError

# Of upstream's answer, what still holds when its body is replaced: when to come back, what is left of the plan, what to quote
# in a bug report.
KEPT_PREFIXES = ("retry-after", "x-should-retry", "x-ratelimit-", "x-codex-", "x-request-id", "x-oai-request-id")


class CodexUpstreamErrors:
    @guarded
    def response(self, flow: http.HTTPFlow) -> None:
        answer = flow.response
        if UPSTREAM not in flow.metadata or not answer or not flow.live or engine.is_resending(flow):
            return
        if answer.status_code in (301, 302, 303, 307, 308):
            where = urlsplit(answer.headers.get("location", "")).hostname or "nowhere"
            raise Refused(OpenAIError(502, f"{flow.request.host} redirected to {where}, which is not followed"))
        if answer.status_code < 400:
            return
        content_type, body = answer.headers.get("content-type", ""), answer.get_content(strict=False) or b""
        dialect = flow.metadata.get(DIALECT)
        error = errors.from_upstream(answer.status_code, content_type, body, flow.request.host, dialect)
        if not error and dialect:
            error = errors.completed(answer.status_code, body)
        if error:
            flow.response = engine.error_response(error)
            for name, value in answer.headers.items(multi=True):
                if name.lower().startswith(KEPT_PREFIXES):
                    flow.response.headers[name] = value
