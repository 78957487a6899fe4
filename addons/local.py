"""What the proxy answers by itself: the models, in OpenAI's shape, from the account's own list."""

from collections.abc import Awaitable

import orjson
from mitmproxy import ctx, http

from addons import engine
from addons.accounts import ACCOUNT_KIND
from addons.catalog import CodexCatalog
from addons.guard import Refused, guarded, is_open
from addons.policy import CodexPolicy
from addons.route import is_codex_cli
from addons.upstreams import bare_path, choose
from addons.wire import models
from addons.wire.errors import OpenAIError


class CodexLocal:
    def __init__(self, catalog: CodexCatalog, policy: CodexPolicy) -> None:
        self.catalog = catalog
        self.policy = policy

    @guarded
    def request(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        if flow.request.method != "GET" or not is_open(flow) or is_codex_cli(flow.request.headers):
            return None
        path = bare_path(flow.request.path)
        if path != "/models" and not path.startswith("/models/"):
            return None
        if choose(ctx.options.codex_upstream, flow.metadata[ACCOUNT_KIND]) != "codex":
            return None
        return self._answer(flow, path)

    async def _answer(self, flow: http.HTTPFlow, path: str) -> None:
        document = self._document(path, await self.catalog.current(flow))
        flow.response = engine.json_response(200, orjson.dumps(document))

    def _document(self, path: str, catalog: models.Catalog) -> dict[str, object]:
        if path == "/models":
            return models.list_document(catalog)
        name = path.removeprefix("/models/")
        document = models.model_document(name, self.policy.current().aliases, catalog)
        if document is None:
            raise Refused(
                OpenAIError(404, f"The model '{name}' does not exist or this account may not use it", code="model_not_found")
            )
        return document
