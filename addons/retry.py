"""A 401 from upstream: reload or refresh the token once, send the request again, and let the second answer stream."""

import logging
import re

from mitmproxy import http

from addons import engine
from addons.accounts import CodexAccounts
from addons.guard import Refused, guarded
from addons.inject import CodexInject
from addons.route import UPSTREAM
from addons.wire.errors import OpenAIError

logger = logging.getLogger(__name__)

RENEWED = "codex.renewed"

# "You have insufficient permissions for this operation. Missing scopes: api.responses.write. Check that ..."
_MISSING_SCOPES = re.compile(rb"Missing scopes:\s*([a-z._, ]+[a-z])")


def missing_scopes(flow: http.HTTPFlow) -> str | None:
    """api.openai.com's way to say that a ChatGPT login's token is the wrong kind of key for it. A refresh never widens it."""
    assert flow.response
    if flow.response.status_code not in (401, 403) or flow.metadata.get(UPSTREAM) != "platform":
        return None
    found = _MISSING_SCOPES.search(flow.response.get_content(strict=False) or b"")
    return found[1].decode() if found else None


def wrong_upstream(scopes: str) -> OpenAIError:
    return OpenAIError(
        403,
        f"api.openai.com does not serve this account's ChatGPT login (missing scopes: {scopes}); signing in again would not change "
        "that. Set codex_upstream to auto so that the Codex backend serves it, or use an account with an API key "
        "(`make login ARGS=--api-key-stdin`)",
        code="missing_scope",
    )


STILL_REFUSED = OpenAIError(
    502,
    "upstream refuses this account's token although it was just renewed; `python -m auth status` shows the account, "
    "`make login` signs in anew",
    code="upstream_auth_error",
    headers={"x-should-retry": "false"},
)
KEY_REFUSED = OpenAIError(
    502,
    "upstream refuses this account's API key; `python -m auth status` shows the account",
    code="upstream_auth_error",
    headers={"x-should-retry": "false"},
)


class CodexRetry:
    def __init__(self, accounts: CodexAccounts, inject: CodexInject) -> None:
        self.accounts = accounts
        self.inject = inject

    @guarded
    async def response(self, flow: http.HTTPFlow) -> None:
        if UPSTREAM not in flow.metadata or not flow.response or not flow.live:
            return
        if scopes := missing_scopes(flow):
            raise Refused(wrong_upstream(scopes))
        if flow.response.status_code != 401:
            return
        if self.accounts.lent_to(flow).kind == "api_key":
            raise Refused(KEY_REFUSED)
        if flow.metadata.get(RENEWED):
            raise Refused(STILL_REFUSED)
        flow.metadata[RENEWED] = True
        self.inject.put_credential(flow, await self.accounts.renew(flow))
        engine.resend(flow)
        logger.info("token refused upstream, renewed; sending the request again")
