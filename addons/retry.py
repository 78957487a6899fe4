"""A request that upstream refused, or did not answer: once more, with another token or on another account, or the truth.

What a refusal means is verdict.py's table, whether and when to go on is patience.py's decision. This addon is asked in the
`response` hook about every attempt that ended before the client was told anything, however it ended (engine), and acts.
"""

import asyncio
import logging
import random
import re
import time
from collections.abc import Mapping
from weakref import WeakKeyDictionary

from mitmproxy import http

from addons import engine, heads
from addons.accounts import CodexAccounts, NotRenewed
from addons.guard import OURS, Refused, guarded, is_ours
from addons.inject import CodexInject
from addons.patience import STALE, Again, Attempt, Stop, client_retries, decide, retry_headers
from addons.route import UPSTREAM, is_codex_cli
from addons.streams import StreamChain
from addons.translate import CodexTranslate
from addons.upstreams import bare_path
from addons.wire import quota_reports
from addons.wire.errors import OpenAIError, json_object
from addons.wire.verdict import SIGN_IN_DEAD, Broken, Verdict, of_answer, of_connection, of_error

logger = logging.getLogger(__name__)

# For the record: one entry for each attempt that failed.
ATTEMPTS = "codex.attempts"

_RETRIES = heads.in_bytes(("x-stainless-retry-count",))

# The deadlines, as verdicts know them.
LAPSES: Mapping[engine.Cause, Broken] = {"first_byte": "first_byte_timeout", "idle": "idle_timeout", "total": "total_timeout"}

# On the platform everything is served, and much of it is no question that may be asked twice (uploads, batches, fine-tuning).
REPEATABLE = ("/responses", "/chat/completions", "/embeddings", "/completions", "/moderations")

STILL_REFUSED = OpenAIError(
    502,
    "upstream refuses this account's token although it was just renewed; `python -m auth status` shows the account, "
    "`make login` signs in anew",
    code="upstream_auth_error",
    headers={"x-should-retry": "false"},
)
NOT_RENEWED = OpenAIError(
    503,
    "upstream refused this account's token, and what had failed before left no attempt for a new one; the next request renews it",
    code="auth_unavailable",
)
KEY_REFUSED = OpenAIError(
    502,
    "upstream refuses this account's API key; `python -m auth status` shows the account",
    code="upstream_auth_error",
    headers={"x-should-retry": "false"},
)
# "You have insufficient permissions for this operation. Missing scopes: api.responses.write. Check that ..."
_MISSING_SCOPES = re.compile(rb"Missing scopes:\s*([a-z._, ]+[a-z])")


def missing_scopes(status: int, body: bytes) -> str | None:
    """api.openai.com's way to say that a ChatGPT login's token is the wrong kind of key for it. A refresh never widens it."""
    found = _MISSING_SCOPES.search(body) if status in (401, 403) else None
    return found[1].decode() if found else None


def wrong_upstream(scopes: str) -> OpenAIError:
    return OpenAIError(
        403,
        f"api.openai.com does not serve this account's ChatGPT login (missing scopes: {scopes}); signing in again would not change "
        "that. Set codex_upstream to auto so that the Codex backend serves it, or use an account with an API key "
        "(`make login ARGS=--api-key-stdin`)",
        code="missing_scope",
    )


class CodexRetry:
    """Before `CodexUpstreamErrors`, which brings what is left of a refusal into the client's shape."""

    def __init__(self, accounts: CodexAccounts, translate: CodexTranslate, inject: CodexInject) -> None:
        self.accounts = accounts
        self.translate = translate
        self.inject = inject
        self.attempts: WeakKeyDictionary[http.HTTPFlow, list[Attempt]] = WeakKeyDictionary()
        self.retries_of_the_client: WeakKeyDictionary[http.HTTPFlow, int] = WeakKeyDictionary()

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """`CodexRoute` takes the header off. A Codex CLI repeats by itself up to 30 times and does not say which time it is."""
        if is_ours(flow):
            retries = client_retries(heads.told(flow.request.headers, _RETRIES))
            if retries or is_codex_cli(flow.request.headers):
                self.retries_of_the_client[flow] = max(retries, 1)

    @guarded
    async def response(self, flow: http.HTTPFlow) -> None:
        try:
            ours = OURS in flow.metadata or not engine.was_sent(flow) or engine.was_ended(flow)
            if UPSTREAM in flow.metadata and flow.response and flow.live and not ours:
                if flow.response.status_code < 400:
                    self._learn(flow, time.time())
                else:
                    await self._judge(flow, flow.response)
        finally:
            if not engine.is_resending(flow):
                self.accounts.give_back(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        self.accounts.give_back(flow)

    async def _judge(self, flow: http.HTTPFlow, answer: http.Response) -> None:
        now = time.time()
        body = answer.get_content(strict=False) or b""
        if flow.metadata[UPSTREAM] == "platform" and (scopes := missing_scopes(answer.status_code, body)):
            raise Refused(wrong_upstream(scopes))
        verdict = self._verdict(flow, answer, body, now)
        self.accounts.heard(flow, quota_reports.of_refusal(json_object(body), now))
        self._note(flow, verdict, answer.status_code, now)
        decision = self._decide(flow)
        stop = await self._go_on(flow, decision) if isinstance(decision, Again) else decision
        if stop:
            logger.info("not sent again: %s", stop.why)
            if verdict.blame == "sign_in":  # upstream's words would sound as if the client's key were wrong
                raise Refused(self._token_refused(flow, verdict))
            for name, value in retry_headers(verdict, now).items():
                answer.headers.setdefault(name, value)

    def _learn(self, flow: http.HTTPFlow, now: float) -> None:
        """From an answer that has come to its end: what it said of the plan, and a failure that came too late to be repeated."""
        told = self.translate.answers.get(flow)
        stage = told.stage if told else None
        for quota in told.quotas(now) if told else ():
            self.accounts.heard(flow, quota)
        chain = flow.response.stream if flow.response else None
        ended_here = isinstance(chain, StreamChain) and chain.last_words is not None  # a deadline, the fault drill
        if stage and stage.failure and not ended_here:
            self.accounts.failed(flow, of_error(stage.failure, now))
        else:
            self.accounts.served(flow)

    def _verdict(self, flow: http.HTTPFlow, answer: http.Response, body: bytes, now: float) -> Verdict:
        cause = engine.failure_of(flow)
        if cause:
            return of_connection(LAPSES.get(cause, cause))  # type: ignore[arg-type]  # what is no lapse is a Broken
        verdict = of_answer(answer.status_code, answer.headers, body, now)
        is_key = self.accounts.lent_to(flow).kind == "api_key"
        return SIGN_IN_DEAD if verdict.blame == "sign_in" and is_key else verdict

    def _token_refused(self, flow: http.HTTPFlow, verdict: Verdict) -> OpenAIError:
        lent = self.accounts.lent_to(flow)
        if lent.kind == "api_key":
            return KEY_REFUSED
        is_renewable = not verdict.elsewhere and self._refusals_of_token(flow, lent.account) == 1
        return NOT_RENEWED if is_renewable else STILL_REFUSED

    def _refusals_of_token(self, flow: http.HTTPFlow, account: str) -> int:
        return sum(made.account == account and made.verdict.blame == "sign_in" for made in self.attempts.get(flow, ()))

    def _note(self, flow: http.HTTPFlow, verdict: Verdict, status: int, now: float) -> None:
        account = self.accounts.lent_to(flow).account
        again = verdict.blame == "sign_in" and self._refusals_of_token(flow, account) > 0
        made = self.attempts.setdefault(flow, [])
        made.append(Attempt(account, verdict, now))
        flow.metadata.setdefault(ATTEMPTS, []).append([account, now, status, verdict.reason])
        # A token that is refused may only have to be renewed, and a dead connection was not the account's.
        if verdict != STALE and (verdict.blame != "sign_in" or verdict.elsewhere or again):
            self.accounts.failed(flow, verdict)

    def _decide(self, flow: http.HTTPFlow) -> Again | Stop:
        # A request whose token is refused was not looked at.
        if self.attempts[flow][-1].verdict.blame != "sign_in" and not self._is_repeatable(flow.request):
            return Stop("this request is not one to be made twice")
        return decide(
            self.attempts[flow],
            accounts_left=self.accounts.others_left(flow),
            started=flow.request.timestamp_end or flow.request.timestamp_start,
            now=time.time(),
            jitter=random.random(),
            client_retries=self.retries_of_the_client.get(flow, 0),
            first_byte_sent=engine.client_has_its_head(flow),
        )

    def _is_repeatable(self, request: http.Request) -> bool:
        return request.method == "GET" or bare_path(request.path).endswith(REPEATABLE)

    async def _go_on(self, flow: http.HTTPFlow, decision: Again) -> Stop | None:
        last = self.attempts[flow][-1]
        await asyncio.sleep(decision.after)
        try:
            if decision.elsewhere:
                credential = await self.accounts.lend_another(flow)
            elif last.verdict.blame == "sign_in":
                credential = await self.accounts.renew(flow)
            else:
                credential = self.accounts.lent_to(flow)
        except Refused as e:
            return Stop(e.error.message)
        except NotRenewed as e:
            return await self._without_a_token(flow, e)
        self.inject.put_credential(flow, credential)
        engine.resend(flow)
        logger.info("%s; sending the request again, on account %s", last.verdict.reason, credential.account)
        return None

    async def _without_a_token(self, flow: http.HTTPFlow, reason: NotRenewed) -> Stop | None:
        """The account has no good token. Another one has, if there is another one."""
        dead = SIGN_IN_DEAD._replace(reason=str(reason))
        self.attempts[flow][-1] = self.attempts[flow][-1]._replace(verdict=dead)
        decision = self._decide(flow)
        if isinstance(decision, Stop) or not decision.elsewhere:
            raise reason.refused
        return await self._go_on(flow, decision)
