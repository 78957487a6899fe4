"""The models of the account, from the backend's own list: fetched when asked for, kept for a while, stale when it is away."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import httpx
import orjson
from mitmproxy import ctx, http

from addons.accounts import CodexAccounts, Credential, NotRenewed
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


@dataclass(slots=True)
class Shelf:
    """One account's list."""

    catalog: Catalog = field(default_factory=Catalog)
    etag: str = ""
    due_at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # one fetch at a time


class CodexCatalog:
    """A list for each account: what a plan has differs. `current()` never raises: without a list, names go upstream as they are."""

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
        self.shelves: dict[tuple[str, str | None], Shelf] = {}

    async def current(self, flow: http.HTTPFlow) -> Catalog:
        """For the account that was lent to this flow."""
        credential = self.accounts.lent_to(flow)
        shelf = self._shelf(credential.account, credential.account_id)
        if self.clock() < shelf.due_at and not shelf.lock.locked():
            return shelf.catalog
        async with shelf.lock:
            if self.clock() >= shelf.due_at and await self._fetch(shelf, credential) == 401:
                try:
                    await self._fetch(shelf, await self.accounts.renew(flow))
                except NotRenewed:
                    pass  # told to the request that goes upstream
        return shelf.catalog

    def known_models(self) -> set[str]:
        """By the lists of all accounts, as far as somebody has asked for them."""
        return {model.slug for shelf in self.shelves.values() for model in shelf.catalog.models}

    def _shelf(self, name: str, account_id: str | None) -> Shelf:
        """A name may be another account's after a new sign-in: its list is forgotten then."""
        key = name, account_id
        if key not in self.shelves:
            self.shelves = {known: shelf for known, shelf in self.shelves.items() if known[0] != name} | {key: Shelf()}
        return self.shelves[key]

    async def _fetch(self, shelf: Shelf, credential: Credential) -> int | None:
        """The status of the answer, if there was one."""
        headers = secret_headers(credential, "codex")
        if isinstance(headers, OpenAIError):
            return None
        base = self.bases()["codex"]
        shelf.due_at = self.clock() + RETRY_AFTER
        headers["originator"] = ctx.options.codex_originator
        if shelf.etag:
            headers["if-none-match"] = shelf.etag
        try:
            async with self.make_client(user_agent(ctx.options.codex_originator)) as client, asyncio.timeout(TIMEOUT):
                url = f"{base.origin}{base.path}/models"
                answer = await client.get(url, params={"client_version": CLIENT_VERSION}, headers=headers)
        except (httpx.HTTPError, TimeoutError) as e:
            logger.warning("the list of models could not be read (%s); the one from before stays", type(e).__name__)
            return None
        self._take(shelf, answer)
        return answer.status_code

    def _take(self, shelf: Shelf, answer: httpx.Response) -> None:
        try:
            if answer.status_code == 200:
                shelf.catalog, shelf.etag = parse_catalog(orjson.loads(answer.content)), answer.headers.get("etag", "")
            elif answer.status_code != 304:
                raise ValueError(f"HTTP {answer.status_code}")
        except ValueError as e:
            logger.warning("the list of models could not be read (%s); the one from before stays", e)
        else:
            shelf.due_at = self.clock() + FRESH_FOR
