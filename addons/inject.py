"""The bearer. Last in the list, so that a bug in any addon before it leaves the request without a credential."""

from collections.abc import Callable, Mapping

from mitmproxy import ctx, http

from addons import engine, heads
from addons.accounts import CodexAccounts
from addons.edits import note
from addons.guard import FAULT, Refused, guarded, is_open
from addons.names import user_agent
from addons.route import UPSTREAM, is_codex_cli
from addons.upstreams import BaseUrl, Upstream
from addons.wire.errors import OpenAIError
from addons.wire.plan import Edit
from auth.source import Credential

_WHY = "the proxy speaks for itself, under its own name"
_INTRODUCED = (Edit("forced", "header user-agent", _WHY), Edit("added", "header originator", _WHY))


def secret_headers(credential: Credential, upstream: Upstream) -> dict[str, str] | OpenAIError:
    """The headers that prove the account to this upstream, or why it has none for it."""
    if upstream == "platform":
        return {"authorization": f"Bearer {credential.api_key or credential.bearer}"}
    if credential.kind == "api_key":
        return OpenAIError(
            400,
            f"account {credential.account} has an API key, which the Codex backend does not take: "
            "set codex_upstream to auto, or sign in with ChatGPT (`make login`)",
            code="wrong_account_kind",
        )
    headers = {"authorization": f"Bearer {credential.bearer}"}
    if credential.account_id:
        headers["chatgpt-account-id"] = credential.account_id
    if credential.fedramp:
        headers["x-openai-fedramp"] = "true"
    return headers


def shown(headers: Mapping[str, str], account: str) -> dict[str, str]:
    """What the flow shows in place of the secrets: that they were sent, and whose they were."""
    return {name: f"[put on the wire by codex-mitm: account {account}]" for name in headers}


class CodexInject:
    def __init__(self, accounts: CodexAccounts, bases: Callable[[], Mapping[Upstream, BaseUrl]]) -> None:
        self.accounts = accounts
        self.bases = bases
        self.own_name: dict[str, str] = {}

    def configure(self, updated: set[str]) -> None:
        if "codex_originator" in updated:
            originator = ctx.options.codex_originator
            self.own_name = {"originator": originator, "user-agent": user_agent(originator)}

    @guarded
    def request(self, flow: http.HTTPFlow) -> None:
        if not is_open(flow) or UPSTREAM not in flow.metadata:
            return
        own_name: Mapping[str, str] = {}
        if flow.metadata[UPSTREAM] == "codex" and not is_codex_cli(flow.request.headers):
            note(flow, _INTRODUCED)
            own_name = self.own_name  # a Codex CLI speaks for itself
        self.put_credential(flow, self.accounts.lent_to(flow), own_name)

    def put_credential(self, flow: http.HTTPFlow, credential: Credential, own_name: Mapping[str, str] = {}) -> None:
        upstream: Upstream = flow.metadata[UPSTREAM]
        base, request = self.bases()[upstream], flow.request
        if (request.scheme, request.host, request.port) != base[:3]:
            # Something between route and here pointed the request elsewhere. No bearer for strangers.
            raise Refused(FAULT)
        headers = secret_headers(credential, upstream)
        if isinstance(headers, OpenAIError):
            raise Refused(headers)
        engine.put_on_the_wire(flow, headers)
        heads.put(request.headers, {**own_name, **shown(headers, credential.account)})
