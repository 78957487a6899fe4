"""How much of each plan is left: heard with every answer, asked for where nothing was heard, told at `GET /codex/usage`."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

import httpx
import orjson
from mitmproxy import ctx, http
from mitmproxy.utils import asyncio_utils

from addons import engine, heads
from addons.accounts import CodexAccounts
from addons.guard import guarded, guarded_head, is_open
from addons.inject import secret_headers
from addons.names import user_agent
from addons.pool import Standing
from addons.route import UPSTREAM
from addons.streams import StreamChain
from addons.upstreams import BaseUrl, Upstream
from addons.wire import quota_reports
from addons.wire.errors import OpenAIError
from addons.wire.quota import moment

logger = logging.getLogger(__name__)

PATH = "/codex/usage"
# Seconds. What was heard within them is news enough for whoever asks.
FRESH_FOR = 30.0
TIMEOUT = 5.0
# Seconds between two looks at accounts whose plan is used up: a reset ahead of time is to be noticed within a minute.
LOOK_EVERY, QUIET = 5.0, 45.0


class CodexUsage:
    """After `CodexStreams`, whose chain tells of the first byte; before `CodexAccounts`, as no account has to serve for this."""

    def __init__(
        self,
        accounts: CodexAccounts,
        bases: Callable[[], Mapping[Upstream, BaseUrl]],
        client: Callable[[str], httpx.AsyncClient],
    ) -> None:
        self.accounts = accounts
        self.bases = bases
        self.make_client = client
        self.background: asyncio.Task[None] | None = None

    def running(self) -> None:
        if ctx.options.codex_mode != "forward":
            self.background = asyncio_utils.create_task(self._watch(), name="codex plans", keep_ref=False)

    def done(self) -> None:
        if self.background:
            self.background.cancel()

    @guarded
    def request(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        asked = flow.request.method == "GET" and flow.request.path.partition("?")[0] == PATH
        return self._answer(flow) if asked and is_open(flow) else None

    async def _answer(self, flow: http.HTTPFlow) -> None:
        flow.response = engine.json_response(200, orjson.dumps(await self.document()))

    @guarded_head
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if not flow.response or flow.metadata.get(UPSTREAM) != "codex":
            return
        if told := heads.family(flow.response.headers, b"x-"):
            self.accounts.heard(flow, quota_reports.of_headers(told, time.time()))
        if isinstance(flow.response.stream, StreamChain):
            flow.response.stream.on_first_byte = lambda: self.accounts.served(flow)

    async def document(self) -> dict[str, object]:
        """Of every account, as fresh as can be had."""
        await self.accounts.look_again()
        now = time.time()
        await asyncio.gather(
            *(self._ask(standing.name) for standing in self.accounts.standings() if is_due(standing, now, FRESH_FOR))
        )
        return {
            "object": "codex.usage",
            "at": moment(now),
            "accounts": [standing.document(now) for standing in self.accounts.standings()],
        }

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            now = time.time()
            for standing in self.accounts.standings():
                if standing.state in ("avoided", "resting") and is_due(standing, now, QUIET):
                    await self._ask(standing.name)

    async def _ask(self, name: str) -> None:
        """Never raises: what is not known is told as it was known last."""
        credential = await self.accounts.credential_of(name)
        headers = secret_headers(credential, "codex") if credential else None
        if headers is None or isinstance(headers, OpenAIError):
            return  # an API key has no plan
        headers["originator"] = ctx.options.codex_originator
        asked_at, base = time.time(), self.bases()["codex"]
        url = f"{base.origin}{base.path.rpartition('/')[0]}/wham/usage"
        try:
            async with self.make_client(user_agent(ctx.options.codex_originator)) as client, asyncio.timeout(TIMEOUT):
                answer = await client.get(url, headers=headers)
            heard = quota_reports.of_usage(orjson.loads(answer.content), asked_at) if answer.status_code == 200 else None
        except (httpx.HTTPError, TimeoutError, ValueError) as e:
            logger.debug("the plan of account %s could not be asked for (%s)", name, type(e).__name__)
            return
        if heard:
            self.accounts.roster.pool.heard(name, heard, time.time(), asked_at)


def is_due(standing: Standing, now: float, quiet: float) -> bool:
    return standing.quota is None or now - standing.quota.heard_at > quiet
