"""What a Codex CLI with a ChatGPT login asks its `chatgpt_base_url`, if that is this proxy: which workspace it is in, which host
serves it, how much of the plan is left. All of it goes to the backend as the proxy's own account; one answer is rewritten.

The CLI (0.169) sends no question before `accounts/check` has named the account of its own login with an https origin. A model
base URL of another origin than `chatgpt_base_url` is then left alone; one of the same origin would be moved to that origin, past
this proxy. So the two have to be told apart: http://127.0.0.1:9090 and http://localhost:9090.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from mitmproxy import ctx, http

from addons import engine
from addons.accounts import ACCOUNT_KIND, CodexAccounts
from addons.guard import Refused, guarded, guarded_head, is_open
from addons.redact import account_said
from addons.route import UPSTREAM, is_codex_cli
from addons.streams import chain_of
from addons.upstreams import ACCOUNTS_CHECK, CODEX_PATHS, bare_path, choose
from addons.wire.errors import invalid_url

ORIGIN = "https://chatgpt.com"

# Of the proxy's account; the requests that the CLI sends for it are the proxy's. `account_routing_override` becomes a header there.
OF_THE_ACCOUNT: Mapping[str, str] = {"structure": "personal", "account_routing_override": "NO_CONSTRAINT"}


def workspace(document: Any, ours: str | None, theirs: str | None) -> dict[str, Any]:
    """The backend's answer about account `ours`, as one about `theirs`, whose owner goes through this proxy."""
    known = document.get("accounts") if isinstance(document, dict) else None
    entries = [entry for entry in known if isinstance(entry, dict)] if isinstance(known, list) else []
    found: dict[str, Any] = next((entry for entry in entries if entry.get("id") == ours), {})
    account = {
        "id": theirs or ours,
        "name": None,
        "workspace_backend_origin": ORIGIN,
        **{name: found.get(name, otherwise) for name, otherwise in OF_THE_ACCOUNT.items()},
    }
    return {"accounts": [account], "account_ordering": [account["id"]], "default_account_id": account["id"]}


class Rewritten:
    """A stage that turns one JSON answer into another. What is not JSON counts as an answer that says nothing."""

    def __init__(self, ours: str | None, theirs: str | None) -> None:
        self.ours = ours
        self.theirs = theirs
        self.body = bytearray()

    def __call__(self, data: bytes) -> list[bytes]:
        if data:
            self.body += data
            return []
        try:
            document = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            document = None
        return [orjson.dumps(workspace(document, self.ours, self.theirs))]


class CodexDiscovery:
    """Between the account and the route, and after `CodexStreams`. An API key's account knows nothing of workspaces."""

    def __init__(self, accounts: CodexAccounts) -> None:
        self.accounts = accounts

    @guarded
    def request(self, flow: http.HTTPFlow) -> None:
        if flow.request.method != "GET" or not is_open(flow):
            return
        if choose(ctx.options.codex_upstream, flow.metadata[ACCOUNT_KIND]) == "codex":
            return
        path = bare_path(flow.request.path)
        if path == ACCOUNTS_CHECK:
            flow.response = engine.json_response(200, orjson.dumps(workspace(None, None, account_said(flow))))
        elif path == "/models" and is_codex_cli(flow.request.headers):
            # The platform's list has a form that the CLI cannot read; without one it takes the list that it was built with.
            flow.response = engine.json_response(200, b'{"models":[]}')
        elif path.startswith("/backend-api/"):
            raise Refused(invalid_url("GET", path))

    @guarded_head
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Rewritten as it streams by, so that no account's id comes to stand on the flow."""
        if flow.response and flow.response.status_code == 200 and flow.metadata.get(UPSTREAM) == "codex":
            if flow.request.path.partition("?")[0].endswith(CODEX_PATHS[ACCOUNTS_CHECK].path):
                flow.response.headers.pop("content-length", None)
                ours = self.accounts.lent_to(flow).account_id
                chain_of(flow).stages.append(Rewritten(ours, account_said(flow)))
