"""Clients of both of OpenAI's dialects on the Codex backend, which has a dialect of its own: bodies in, streams out.

What was changed is noted on the flow (edits.py): what was added, dropped, forced, mapped or emulated, and why. A Codex CLI is
left alone, and so is every request to the platform.
"""

import gc
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader

from addons import engine, heads
from addons.catalog import CodexCatalog
from addons.continuity import CodexContinuity, refused
from addons.edits import MODEL, in_a_header, note
from addons.guard import FAULT, Refused, guarded, guarded_head, is_open
from addons.policy import CodexPolicy
from addons.redact import CLIENT
from addons.route import DIALECT, UPSTREAM
from addons.streams import StreamChain, chain_of, in_band
from addons.upstream_errors import KEPT_PREFIXES
from addons.wire import chat_request, quota_reports, responses_request
from addons.wire.chat_stream import ChatStage
from addons.wire.continuity import Expanded, as_the_client_counts
from addons.wire.conversation import conversation_key
from addons.wire.errors import OpenAIError
from addons.wire.events import Event
from addons.wire.fold import ChatFold, Fold, ResponsesFold
from addons.wire.models import Catalog, Names, Resolved, model_name
from addons.wire.passage import as_json, in_full
from addons.wire.plan import Answering, BadRequest, Dialect, Edit, Plan
from addons.wire.quota import Quota
from addons.wire.responses_stream import ResponsesStage
from addons.wire.stage import Stage

_LENGTH = heads.in_bytes(("content-length",))
# nginx and others that stand before us would collect the stream without the last two.
_OF_A_STREAM = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", "x-accel-buffering": "no"}


class CodexTranslate:
    """After `CodexRoute`, which says what there is to translate; its answers' side is the first stage of the stream."""

    def __init__(self, catalog: CodexCatalog, policy: CodexPolicy, continuity: CodexContinuity) -> None:
        self.catalog = catalog
        self.policy = policy
        self.continuity = continuity
        self.names = Names()
        self.answerings: engine.OnFlow[Answering] = engine.OnFlow("answering")
        self.answers: engine.OnFlow[Answer] = engine.OnFlow("answer")
        """Of the present attempt."""

    def load(self, loader: Loader) -> None:
        loader.add_option(
            "codex_strict",
            bool,
            False,
            "Refuse a request with a parameter that the Codex backend does not take, instead of dropping it and saying so.",
        )

    @guarded
    async def request(self, flow: http.HTTPFlow) -> None:
        if not is_open(flow) or flow.metadata.get(UPSTREAM) != "codex" or flow.request.method != "POST":
            return
        body = parsed_object(flow.request.raw_content or b"")
        dialect: Dialect | None = flow.metadata.get(DIALECT)
        if dialect is None:
            return
        catalog = await self.catalog.current(flow)
        if dialect == "responses":
            await self.continuity.recall(flow, body)
        undisturbed(lambda: self._translate(flow, dialect, body, catalog))

    def _translate(self, flow: http.HTTPFlow, dialect: Dialect, body: dict[str, Any], catalog: Catalog) -> None:
        expanded = self.continuity.expand(flow, body) if dialect == "responses" else Expanded(body)
        plan = keyed(self._plan(dialect, expanded, catalog), flow.metadata.get(CLIENT, ""))
        request, headers, answering = flow.request, flow.request.headers, plan.answering
        if not reads_annotations(headers):
            answering = answering._replace(show_annotations=False)
        request.content = dumped(plan.body)
        heads.put(headers, {"content-type": "application/json", "accept": "text/event-stream", **plan.headers})
        self.answerings[flow] = answering
        flow.metadata[MODEL] = plan.body["model"]
        note(flow, plan.edits)
        if dialect == "responses":
            self.continuity.begin(flow, expanded)

    def _plan(self, dialect: Dialect, expanded: Expanded, catalog: Catalog) -> Plan:
        try:
            rules = self.policy.policy  # looked for just now, when the account was lent
            model = self.names.resolve(model_name(expanded.body), rules.aliases, catalog)
            plan = PLANNERS[dialect](expanded, model, ctx.options.codex_strict, rules.show_reasoning)
        except BadRequest as e:
            raise refused(as_the_client_counts(e, expanded.ahead)) from e
        return plan._replace(edits=(*expanded.edits, *plan.edits)) if expanded.edits else plan

    @guarded_head
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        answering = self.answerings.get(flow)
        if answering is None or not flow.response:
            return
        if not isinstance(flow.response.stream, StreamChain):
            return  # a refusal, which is not translated but brought into OpenAI's shape
        heads.take_off(flow.response.headers, _LENGTH)
        heads.put(flow.response.headers, _OF_A_STREAM)
        answer = Answer(flow, answering, lambda response: self.continuity.keep(flow, answering, response))
        self.answers[flow], chain = answer, chain_of(flow)
        engine.hold_head(flow, (lambda: chain.let_go(answer.stage.release())) if answering.stream else None)
        chain.stages.append(answer)
        chain.voice = answer


def undisturbed(work: Callable[[], None]) -> None:
    """Without a look for garbage: 4000 messages that make no passage become 12,000 objects that are all gone when the work is done,
    and to look at them eight times over took 1 ms of the 12 that such a call costs."""
    looks = gc.isenabled()
    gc.disable()
    try:
        work()
    finally:
        if looks:
            gc.enable()


def reads_annotations(headers: http.Headers) -> bool:
    """nanobot (Go, no name of its own in the user agent) takes only strings there: a citation would cost it the whole answer."""
    return not headers.get("user-agent", "").startswith("Go-http-client/")


def keyed(plan: Plan, client: str) -> Plan:
    """With the key under which the backend caches, and the header that goes with it: without them each turn pays for all before."""
    key = plan.body.get("prompt_cache_key")
    if isinstance(key, str) and key:
        return Plan(plan.body, plan.edits, plan.answering, {**plan.headers, "session-id": in_a_header(key)})
    key = conversation_key(client, plan.body)
    added = Edit("added", "prompt_cache_key", "the plan's cache is kept under it")
    body, headers = {**plan.body, "prompt_cache_key": key}, {**plan.headers, "session-id": key}
    return Plan(body, (*plan.edits, added), plan.answering, headers)


class Answer:
    """One flow's answer: the machine that translates it, and what is to become of the head and the end of the body."""

    def __init__(self, flow: http.HTTPFlow, answering: Answering, keep: Callable[[Event], None]) -> None:
        """`keep` gets the response object of an answer that has come to its end."""
        self.flow = flow
        self.keep = keep
        self.dialect = answering.dialect
        make, prefix = STAGES[answering.dialect, answering.stream]
        self.stage: Stage = make(answering, f"{prefix}{os.urandom(16).hex()}", int(time.time()))
        self.ended = False
        self._quotas: list[Quota] | None = None

    def __call__(self, data: bytes) -> list[bytes]:
        out = self.stage(data)
        if not self.stage.finished or self.ended:
            return out
        self.ended = True
        if not self.stage.failure:
            self.keep(self.stage.response)
        if self.stage.refusal:
            self._answer_instead(engine.error_response(self.stage.refusal))
            return []
        if isinstance(self.stage, Fold):
            self._answer_instead(engine.json_response(200, b"".join(out)), at_once=self.stage.wants_cancel)
            return []
        engine.end_answer(self.flow, at_once=self.stage.wants_cancel)
        return out

    def quotas(self, now: float) -> list[Quota]:
        """What upstream has said of the account's plan in the stream; for several who ask when the answer is over."""
        if self._quotas is None:
            self._quotas = quota_reports.of_events(self.stage.side_events, now)
        return self._quotas

    def say_alive(self) -> list[bytes]:
        return self.stage.say_alive()

    def end_with(self, error: OpenAIError) -> list[bytes]:
        self.ended = True
        return self.stage.give_up(error)

    def on_fault(self) -> list[bytes]:
        """The machine itself may be what is broken, so it is not asked."""
        if engine.head_is_held(self.flow):
            self._answer_instead(engine.error_response(FAULT))
            return []
        engine.end_answer(self.flow, at_once=True)
        return [in_band(FAULT, self.dialect)]

    def _answer_instead(self, response: http.Response, *, at_once: bool = True) -> None:
        """What upstream's head said of the answer and the account still holds."""
        assert self.flow.response
        for name, value in self.flow.response.headers.items(multi=True):
            if name.lower().startswith(KEPT_PREFIXES):
                response.headers[name] = value
        engine.answer_instead(self.flow, response, at_once=at_once)


# What makes the answer, and the ids that OpenAI's have in that dialect.
STAGES: Mapping[tuple[Dialect, bool], tuple[Callable[[Answering, str, int], Stage], str]] = {
    ("responses", True): (ResponsesStage, "resp_"),
    ("responses", False): (ResponsesFold, "resp_"),
    ("chat", True): (ChatStage, "chatcmpl-"),
    ("chat", False): (ChatFold, "chatcmpl-"),
}

PLANNERS: Mapping[Dialect, Callable[[Expanded, Resolved, bool, bool], Plan]] = {
    "responses": lambda asked, model, strict, _: responses_request.plan(
        asked.body, model=model, strict=strict, previous_response_id=asked.previous_response_id
    ),
    "chat": lambda asked, model, strict, show: chat_request.plan(asked.body, model=model, strict=strict, show_reasoning=show),
}


def parsed_object(body: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as e:
        parsed = _with_lone_surrogates(body, e)
    if not isinstance(parsed, dict):
        raise Refused(OpenAIError(400, f"the request body is a JSON {_json_type(parsed)}, not an object", code="invalid_type"))
    return parsed


def _with_lone_surrogates(body: bytes, reason: orjson.JSONDecodeError) -> Any:
    """JavaScript cuts strings between the halves of an emoji, and JSON lets it say so; orjson does not."""
    if b"\\ud" in body.lower():
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            pass
    raise Refused(OpenAIError(400, f"the request body is not valid JSON: {reason}", code="invalid_json")) from reason


def dumped(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body, default=as_json)
    except TypeError:  # a lone surrogate has no UTF-8; escaped it goes as it came
        full = {**body, "input": in_full(body["input"])} if "input" in body else body
        return json.dumps(full).encode()


def _json_type(value: object) -> str:
    return {list: "array", str: "string", int: "number", float: "number", bool: "boolean"}.get(type(value), "null")
