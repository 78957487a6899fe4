"""What is known of a call that is over, put together: from its flow, from what was heard of it, from what was planned for it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from mitmproxy import http

from addons import engine
from addons.accounts import ACCOUNT, ACCOUNT_WHY
from addons.edits import EDITS, MODEL
from addons.guard import FAULT, is_ours
from addons.incoming import Incoming
from addons.keys import KEY
from addons.parallel import QUEUED
from addons.retry import ATTEMPTS
from addons.route import UPSTREAM
from addons.streams import StreamChain
from addons.traffic.exchange import Attempt, Bodies, Body, Client, Exchange, Failure, Outcome, QuotaWindow
from addons.traffic.headers import NO_HEADERS, Headers
from addons.traffic.passing import Passing
from addons.traffic.tee import BODY_LIMIT, Tee
from addons.traffic.untranslated import CHAT_CHUNK, EventStream, Untranslated
from addons.translate import Answer
from addons.wire import encoding, errors, failures, quota_reports
from addons.wire.errors import OpenAIError, json_object
from addons.wire.events import FATES
from addons.wire.plan import Answering, Edit
from addons.wire.quota import merge

# An answer that ended with one of these ended in the middle: nobody said that it failed.
CUT: tuple[str | None, ...] = (failures.CUT_OFF.code, "upstream_timeout", engine.PROXY_STOPPED.code)

# Seconds. Pauses shorter than this are the time that deciding takes.
A_PAUSE = 0.02

# Of the plan's own limit.
WINDOWS = ("x-codex-primary-", "x-codex-secondary-")
# What the names of known events begin with.
NAMESPACES = tuple(filter(None, FATES))


@dataclass(slots=True, eq=False)
class Call:
    """One that is under way. Moments are `incoming.since`."""

    incoming: Incoming
    with_bodies: bool
    asked: float = 0.0
    """When the present attempt began, and for how long was waited before it."""
    waited: float = 0.0
    failed: list[Attempt] = field(default_factory=list)
    first_byte: float | None = None
    passing: Passing | None = None
    overheard: Untranslated | None = None
    said: Tee | None = None
    """What the client says on a WebSocket."""

    def begin_attempt(self) -> None:
        self.first_byte = self.passing = self.overheard = None

    def end_attempt(self, attempt: Attempt, pause: float) -> None:
        """It failed, and another one begins now."""
        self.failed.append(attempt)
        self.asked, self.waited = self.incoming.since(), pause if pause >= A_PAUSE else 0.0


def exchange_of(
    flow: http.HTTPFlow, call: Call, answering: Answering | None, answer: Answer | None, now: float, *, stopped: bool = False
) -> Exchange:
    """`now` is unix time. `stopped`: the call is not over, the proxy is."""
    incoming, response, passing = call.incoming, flow.response, call.passing
    outcome, failure = ("cut", told_of(engine.PROXY_STOPPED)) if stopped else how_it_ended(flow, call, answer)
    tokens = answer.stage.usage if answer else call.overheard.usage if call.overheard else None
    model, stream = (answering.model, answering.stream) if answering else asked_for(flow.request)
    told, was_sent = flow.metadata, engine.was_sent(flow)
    answered = Headers.of(response.headers.fields) if response else NO_HEADERS
    return Exchange(
        id=response.headers.get("x-request-id") or f"req_{flow.id}" if response else f"req_{flow.id}",
        started=incoming.started,
        ended=incoming.since(),
        method=incoming.method,
        endpoint=incoming.path,
        outcome=outcome,
        client=Client(told.get(KEY, ""), incoming.client.agent, incoming.client.address),
        queued=told.get(QUEUED),
        first_byte=call.first_byte,
        first_token=passing.first_token if passing else None,
        longest_gap=passing.longest_gap if passing else None,
        dialect=incoming.dialect,
        stream=stream,
        model_asked=model,
        model_used=(tokens.model if tokens else "") or told.get(MODEL, "") or (call.overheard.model if call.overheard else ""),
        account=told.get(ACCOUNT, ""),
        account_why=told.get(ACCOUNT_WHY, ""),
        upstream=told.get(UPSTREAM, "") if is_ours(flow) else flow.request.host,
        attempts=tuple(attempts(flow, call)),
        edits=tuple([Edit(*edit) for edit in told.get(EDITS, ())]),
        status=response.status_code if response and not (flow.error and not call.first_byte) else None,
        error=failure,
        tokens=tokens,
        quota=quota_of(answered, passing, answer, now) if response and was_sent else (),
        client_headers=incoming.headers,
        upstream_request_headers=Headers.of(flow.request.headers.fields) if was_sent else NO_HEADERS,
        upstream_headers=incoming.upstream_headers,
        answer_headers=answered,
        events=passing.names.counts if passing else {},
        event_fields=passing.names.fields if passing else frozenset(),
        unknown=unknown_of(passing.names.counts) if passing and answer else frozenset(),
        bodies=bodies_of(flow, call) if call.with_bodies else Bodies(),
    )


# --- how it ended -----------------------------------------------------------------------------------------------------


def how_it_ended(flow: http.HTTPFlow, call: Call, answer: Answer | None) -> tuple[Outcome, Failure | None]:
    response = flow.response
    if flow.error:
        begun = response is not None and engine.client_has_its_head(flow)
        if engine.was_ended(flow):
            return "cut" if begun else "failed", told_of(engine.PROXY_STOPPED)
        if not flow.client_conn.connected:
            return "client_left", None
        return "cut" if begun else "failed", Failure("", "upstream_error", flow.error.msg)
    if response and response.status_code >= 400:
        refusal = refusal_of(response, flow.request.host)
        return "failed" if engine.was_sent(flow) else "refused", told_of(refusal)
    if not response or not isinstance(response.stream, StreamChain):
        return _as_a_whole(call, answer)
    if response.stream.failed and not response.stream.last_words:
        return "failed", told_of(FAULT)
    if answer:
        return _as_translated(answer)
    return _as_overheard(call.overheard, call.passing, response.stream.last_words)


def _as_a_whole(call: Call, answer: Answer | None) -> tuple[Outcome, Failure | None]:
    if call.overheard and call.overheard.failure:  # of a WebSocket
        return "failed", told_of(call.overheard.failure)
    if answer and answer.stage.response.get("status") == "incomplete":
        return "incomplete", None
    return "complete", None


def _as_translated(answer: Answer) -> tuple[Outcome, Failure | None]:
    if error := answer.stage.failure:
        return "cut" if error.code in CUT else "failed", told_of(error)
    return "incomplete" if answer.stage.response.get("status") == "incomplete" else "complete", None


def _as_overheard(
    overheard: Untranslated | None, passing: Passing | None, last_words: OpenAIError | None
) -> tuple[Outcome, Failure | None]:
    if overheard and overheard.outcome:
        return overheard.outcome, told_of(overheard.failure) if overheard.failure else None
    if last_words:
        return "cut", told_of(last_words)
    ends_with_a_word = passing and any(kind.startswith("response.") or kind == CHAT_CHUNK for kind in passing.names.counts)
    if isinstance(overheard, EventStream) and ends_with_a_word:
        return "cut", told_of(failures.CUT_OFF)
    return "complete", None


def refusal_of(response: http.Response, host: str) -> OpenAIError:
    body, content_type = response.get_content(strict=False) or b"", response.headers.get("content-type", "")
    found = errors.from_upstream(response.status_code, content_type, body, host, None)
    return found or errors.completed(response.status_code, body)


def told_of(error: OpenAIError) -> Failure:
    kind, code = errors.kind_of(error.status)
    return Failure(error.type or kind, error.code or code or "", error.message)


# --- attempts ---------------------------------------------------------------------------------------------------------


def attempts(flow: http.HTTPFlow, call: Call) -> list[Attempt]:
    """All of them, the last one included. Where the proxy only passes on there is nothing to tell."""
    if not engine.was_sent(flow) or not is_ours(flow):
        return call.failed
    refused = flow.metadata.get(ATTEMPTS, ())[len(call.failed) :]
    cause = engine.failure_of(flow)
    status = flow.response.status_code if flow.response and not cause else None
    outcome = refused[-1][3] if refused else "answered" if status else ""
    if refused and not cause:
        status = refused[-1][2]
    return [*call.failed, Attempt(flow.metadata.get(ACCOUNT, ""), call.asked, status, cause or "", outcome, call.waited)]


def failed_attempt(flow: http.HTTPFlow, call: Call) -> tuple[Attempt, float]:
    """The one because of which the request is sent again just now, and when that was known."""
    account, ended, status, reason = flow.metadata[ATTEMPTS][-1]
    now_on, cause = flow.metadata[ACCOUNT], engine.failure_of(flow)
    outcome = f"{reason}; sent again" if now_on == account else f"{reason}; on to account {now_on}"
    return Attempt(account, call.asked, None if cause else status, cause or "", outcome, call.waited), ended


# --- the rest ---------------------------------------------------------------------------------------------------------


def asked_for(request: http.Request) -> tuple[str, bool]:
    """The model, and whether the answer shall stream, of a request that is as its client wrote it."""
    body: dict[str, Any] = json_object(request.raw_content or b"") if request.method == "POST" else {}
    model = body.get("model")
    return model if isinstance(model, str) else "", body.get("stream") is True


def quota_of(head: Headers, passing: Passing | None, answer: Answer | None, now: float) -> tuple[QuotaWindow, ...]:
    """What upstream told of the plan, in the answer's head and in its stream."""
    told = {name: value for name, value in head.kept if name.startswith(WINDOWS)}
    quota = quota_reports.of_headers(told, now) if told else None
    later = answer.quotas(now) if answer else quota_reports.of_events([passing.limits] if passing else [], now)
    if later:
        quota = merge(quota, later[-1])
    windows = quota.windows.values() if quota else ()
    return tuple([QuotaWindow(window.minutes, window.used_percent, window.resets_at) for window in windows])


def unknown_of(kinds: Iterable[str]) -> frozenset[str]:
    """Events of a namespace that nobody here knows are passed over."""
    return frozenset([kind for kind in kinds if not kind.startswith(NAMESPACES)])


def bodies_of(flow: http.HTTPFlow, call: Call) -> Bodies:
    incoming, passing = call.incoming, call.passing
    streamed = flow.response is not None and bool(flow.response.stream)
    events = passing.upstream.body() if passing and passing.upstream else None
    if not (events and events.size):
        events = whole(incoming.answer, call.first_byte)
    answer = passing.client.body() if streamed and passing and passing.client else None
    if not streamed and flow.response:
        answer = whole(flow.response.raw_content, incoming.since())
    return Bodies(
        client_request=call.said.body() if call.said else whole(decoded(incoming.body, incoming.headers.get("content-encoding"))),
        upstream_request=whole(flow.request.raw_content, call.asked) if engine.was_sent(flow) else None,
        upstream_events=events,
        client_answer=answer,
    )


def whole(data: bytes | None, at: float | None = None) -> Body | None:
    return Body.whole(data, at or 0.0) if data else None


def decoded(body: bytes | None, content_encoding: str) -> bytes | None:
    """Readable, if the client compressed it and it is of a size that would be kept."""
    try:
        return encoding.decode(content_encoding, body, BODY_LIMIT) if body and content_encoding else body
    except (encoding.TooLarge, encoding.Undecodable):
        return body
