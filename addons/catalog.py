"""The models of the account, from the backend's own list: fetched when asked for, kept for a while, stale when it is away."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

import httpx
import orjson
from mitmproxy import ctx, http

from addons.accounts import CodexAccounts
from addons.inject import secret_headers
from addons.names import user_agent
from addons.upstreams import BaseUrl, Upstream
from addons.wire.errors import OpenAIError
from addons.wire.models import Catalog, parse_catalog

logger = logging.getLogger(__name__)

# The list depends on it; the version that this suite was written beside.
CLIENT_VERSION = "0.169.0"
# As long as the Codex CLI keeps it, and how long it waits for it.
FRESH_FOR = 300.0
TIMEOUT = 5.0
# A list that cannot be had is asked for again after this, not on every request.
RETRY_AFTER = 15.0


class CodexCatalog:
    """One list for the account in use. `current()` never raises: without a list, model names go upstream as they are."""

    def __init__(
        self,
        accounts: CodexAccounts,
        bases: Callable[[], Mapping[Upstream, BaseUrl]],
        client: Callable[[str], httpx.AsyncClient],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.accounts = accounts
        self.bases = bases
        self.make_client = client
        self.clock = clock
        self.catalog = Catalog()
        self.account: str | None = None
        self.etag = ""
        self.due_at = 0.0
        self.lock = asyncio.Lock()  # one fetch at a time

    async def current(self, flow: http.HTTPFlow) -> Catalog:
        """For the account that was lent to this flow."""
        async with self.lock:
            credential = self.accounts.lent_to(flow)
            if credential.account != self.account:
                self.catalog, self.account, self.etag, self.due_at = Catalog(), credential.account, "", 0.0
            if self.clock() >= self.due_at:
                headers = secret_headers(credential, "codex")
                if not isinstance(headers, OpenAIError):
                    await self._fetch(headers)
        return self.catalog

    async def _fetch(self, headers: dict[str, str]) -> None:
        base = self.bases()["codex"]
        self.due_at = self.clock() + RETRY_AFTER
        try:
            async with self.make_client(user_agent(ctx.options.codex_originator)) as client, asyncio.timeout(TIMEOUT):
                url = f"{base.origin}{base.path}/models"
                answer = await client.get(url, params={"client_version": CLIENT_VERSION}, headers=headers | self._named())
        except (httpx.HTTPError, TimeoutError) as e:
            logger.warning("the list of models could not be read (%s); the one from before stays", type(e).__name__)
            return
        self._take(answer)

    def _named(self) -> dict[str, str]:
        ours = {"originator": ctx.options.codex_originator}
        return ours | ({"if-none-match": self.etag} if self.etag else {})

    def _take(self, answer: httpx.Response) -> None:
        try:
            if answer.status_code == 200:
                self.catalog, self.etag = parse_catalog(orjson.loads(answer.content)), answer.headers.get("etag", "")
            elif answer.status_code != 304:
                raise ValueError(f"HTTP {answer.status_code}")
        except ValueError as e:
            logger.warning("the list of models could not be read (%s); the one from before stays", e)
        else:
            self.due_at = self.clock() + FRESH_FOR
