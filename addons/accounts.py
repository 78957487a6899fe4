"""The signed-in accounts as the addons see them: found, kept fresh in the background, lent to a flow, renewed after a 401.

The only addon that talks to `auth`. What `auth` raises becomes the answer that the client gets, by one table.
"""

import asyncio
import logging
import math
import os
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader
from mitmproxy.utils import asyncio_utils

from addons.guard import Refused, guarded, is_open
from addons.names import user_agent
from addons.wire.errors import OpenAIError
from auth.errors import AccountFileError, AuthError, BadSetting, LoginRequired, NotSignedIn, TokenRejected, TryAgainLater
from auth.issuer import Issuer
from auth.outbound import Outbound
from auth.source import Credential, TokenSource
from auth.store import find_accounts

logger = logging.getLogger(__name__)

ACCOUNT, ACCOUNT_KIND = "codex.account", "codex.account_kind"

# Seconds between two looks for accounts that were added or removed.
SEARCH_EVERY = 5.0

# What the client is told, by what it (or its user) can do. The SDKs retry 5xx by themselves unless told not to.
# A dead sign-in is a 401: nothing the client repeats will help, and no SDK retries it.
ANSWERS: dict[type[AuthError], tuple[int, str, bool]] = {
    NotSignedIn: (401, "login_required", False),
    LoginRequired: (401, "login_required", False),
    AccountFileError: (503, "account_unusable", False),
    TryAgainLater: (503, "auth_unavailable", True),
    TokenRejected: (502, "upstream_auth_error", False),
}


def refusal(error: AuthError) -> Refused:
    status, code, retry = ANSWERS.get(type(error), (500, "server_error", False))
    headers = {} if retry else {"x-should-retry": "false"}
    if retry and isinstance(error, TryAgainLater) and error.retry_after:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))  # a second too early would be refused again
    return Refused(OpenAIError(status, str(error), code=code, headers=headers))


class CodexAccounts:
    """Before every addon that has to know the account. Tags the flow with the account's name and kind."""

    def __init__(self, outbound: Outbound) -> None:
        self.outbound = outbound
        self.issuer: Issuer | None = None
        self.sources: dict[str, TokenSource] = {}
        self.lent: WeakKeyDictionary[http.HTTPFlow, tuple[TokenSource, Credential]] = WeakKeyDictionary()
        self.background: asyncio.Task[None] | None = None

    def load(self, loader: Loader) -> None:
        loader.add_option(
            "codex_accounts",
            Sequence[str],
            [],
            "Account files (auth.json as the Codex CLI writes it) or folders that hold them. Unset: the accounts of `make login`, "
            "and if there are none, the Codex CLI's own file, which is then used in place.",
        )
        loader.add_option(
            "codex_issuer_url",
            str,
            "https://auth.openai.com",
            "Base URL of the sign-in service that refreshes tokens. http is accepted for loopback hosts only.",
        )
        loader.add_option(
            "codex_originator",
            str,
            "codex_mitm",
            "How the proxy names itself upstream (originator and user-agent headers). A Codex CLI behind the proxy keeps its own.",
        )

    def configure(self, updated: set[str]) -> None:
        if updated & {"codex_accounts", "codex_issuer_url", "codex_originator"}:
            originator = ctx.options.codex_originator
            try:
                self.issuer = Issuer(ctx.options.codex_issuer_url, self.outbound, user_agent(originator), originator=originator)
            except BadSetting as e:
                raise exceptions.OptionsError(str(e)) from e
            self.sources = {}

    def running(self) -> None:
        self.background = asyncio_utils.create_task(self._watch(), name="codex token refresh", keep_ref=False)

    def done(self) -> "asyncio.Task[None]":
        """Returns a task: mitmproxy waits for it at shutdown, where a refresh under way must get its answer onto the disk.
        A reload of the script calls it too, and cannot wait; a coroutine function would be refused there.
        """
        if self.background:
            self.background.cancel()
        return asyncio_utils.create_task(self._close(), name="codex accounts close", keep_ref=True)

    @guarded
    async def request(self, flow: http.HTTPFlow) -> None:
        if not is_open(flow):
            return
        try:
            source = self.source()
            credential = await source.get()
        except AuthError as e:
            raise refusal(e) from e
        self._lend(flow, source, credential)

    async def renew(self, flow: http.HTTPFlow) -> Credential:
        """Another credential than the one that was lent to this flow and is refused upstream. Raises Refused."""
        source, rejected = self.lent[flow]
        try:
            credential = await source.renew(rejected)
        except AuthError as e:
            raise refusal(e) from e
        self._lend(flow, source, credential)
        return credential

    def lent_to(self, flow: http.HTTPFlow) -> Credential:
        return self.lent[flow][1]

    def _lend(self, flow: http.HTTPFlow, source: TokenSource, credential: Credential) -> None:
        self.lent[flow] = source, credential
        flow.metadata[ACCOUNT] = credential.account
        flow.metadata[ACCOUNT_KIND] = credential.kind

    def source(self) -> TokenSource:
        """The account in use: the first one found. Raises NotSignedIn or AccountFileError."""
        if not self.sources:
            self._find()
        if not self.sources:
            raise NotSignedIn()
        return next(iter(self.sources.values()))

    def _find(self) -> None:
        """Looks for accounts; those that are known keep their source, with what it holds in memory."""
        assert self.issuer
        found = find_accounts(ctx.options.codex_accounts, os.environ)
        self.sources = {file.where: self.sources.get(file.where) or TokenSource(file, self.issuer) for file in found}

    async def _watch(self) -> None:
        """Says who is signed in, refreshes ahead of time, and notices accounts that come and go: a sign-in needs no restart."""
        try:
            credential = await self.source().get()
        except AuthError as e:
            logger.warning("%s", e)
        else:
            logger.info("account %s (%s)", credential.account, credential.kind)
        while True:
            try:
                self._find()
            except AuthError as e:
                logger.debug("accounts not searched: %s", e)
            naps = [await source.refresh_ahead() for source in self.sources.values()]
            await asyncio.sleep(min([*naps, SEARCH_EVERY]))

    async def _close(self) -> None:
        for source in self.sources.values():
            await source.aclose()
        if self.issuer:
            await self.issuer.aclose()
