"""What is counted of each call that is over. All numbers are since the start; a reload of the script begins anew, as a restart.

The label sets are few (labels.py), and their series are looked up once: counting a call takes some ten microseconds.
"""

from collections.abc import Callable, Collection

import prometheus_client
from mitmproxy import http
from prometheus_client import CollectorRegistry, Counter, Histogram

from addons.telemetry.labels import NONE, OTHER, Names, endpoint_of, status_class
from addons.traffic.exchange import Attempt, Exchange
from addons.wire.usage import Usage

# A plan has a dozen models, and a policy file may have a thousand keys.
MAX_MODELS, MAX_ACCOUNTS, MAX_KEYS = 100, 100, 200
# Of the labels of a request together. What would be more is counted without its model and its key.
MAX_SERIES = 2000

# Seconds. From a cached refusal to what `codex_total_timeout` allows, and from a small model's first word to a long thought.
DURATIONS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800)
FIRST_TOKENS = (0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 20, 30, 60, 120)
WAITS = (0.01, 0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60)

# Upstream can write any number. A counter takes none below zero, and of a larger one nothing is left to add to.
MOST_TOKENS = 1 << 40

REQUEST = ("endpoint", "model", "status", "outcome", "account", "key")
KINDS = ("input", "cached", "output", "reasoning")


class Series[Found](dict[tuple[str, ...], Found]):
    """By labels. To find one by its labels takes the client library longer than to add to it."""

    def __init__(self, find: Callable[[tuple[str, ...]], Found]) -> None:
        self._find = find

    def __missing__(self, labels: tuple[str, ...]) -> Found:
        found = self[labels] = self._find(labels)
        return found


class CallCounts:
    """`known_models` are those of the accounts' own lists."""

    def __init__(self, known_models: Callable[[], Collection[str]]) -> None:
        self.known_models = known_models
        # Not the one of the process: after a reload of the script everything would be in that already.
        self.registry = CollectorRegistry()
        # Else there is one series more for each, with the time since when it is counted.
        prometheus_client.disable_created_metrics()
        self.models, self.accounts, self.keys = Names(MAX_MODELS), Names(MAX_ACCOUNTS), Names(MAX_KEYS)
        self.requests = Counter(
            "codex_mitm_requests",
            "Calls that are over, by what became of them; a 200 that broke off later has the outcome cut.",
            REQUEST,
            registry=self.registry,
        )
        self.durations = Histogram(
            "codex_mitm_request_duration_seconds",
            "From the head of the request to the end of the answer; not of calls that the proxy refused.",
            ("endpoint", "model"),
            buckets=DURATIONS,
            registry=self.registry,
        )
        self.first_tokens = Histogram(
            "codex_mitm_first_token_seconds",
            "From the head of the request to the first word of the answer, as upstream said it.",
            ("endpoint", "model"),
            buckets=FIRST_TOKENS,
            registry=self.registry,
        )
        self.waits = Histogram(
            "codex_mitm_queue_wait_seconds",
            "How long the requests waited that had to wait for a slot.",
            buckets=WAITS,
            registry=self.registry,
        )
        self.tokens = Counter(
            "codex_mitm_tokens",
            "Tokens as upstream counted them; cached are among input, reasoning are among output.",
            ("kind", "model", "account", "key"),
            registry=self.registry,
        )
        self.attempts = Counter(
            "codex_mitm_upstream_attempts",
            "Requests that were sent upstream, by the status of the answer or by why there was none. A call has one or more.",
            ("account", "result"),
            registry=self.registry,
        )
        self.became = Series(lambda labels: self.requests.labels(*labels).inc)
        self.took = Series(lambda labels: self.durations.labels(*labels).observe)
        self.began = Series(lambda labels: self.first_tokens.labels(*labels).observe)
        self.spent = Series(lambda labels: [self.tokens.labels(kind, *labels).inc for kind in KINDS])
        self.tried = Series(lambda labels: self.attempts.labels(*labels).inc)

    def ended(self, flow: http.HTTPFlow, call: Exchange) -> None:
        told = self._labels(call)
        endpoint, model, *_, account, key = told
        self.became[told](1)
        if call.outcome != "refused":
            self.took[endpoint, model](call.ended)
        if call.first_token is not None:
            self.began[endpoint, model](call.first_token)
        if call.queued is not None:
            self.waits.observe(call.queued)
        if call.tokens:
            for add, tokens in zip(self.spent[model, account, key], by_kind(call.tokens), strict=True):
                add(tokens)
        for attempt in call.attempts:
            self.tried[self.accounts.label(attempt.account, vouched=True), result(attempt)](1)

    def _labels(self, call: Exchange) -> tuple[str, ...]:
        told = (
            endpoint_of(call.endpoint),
            self._model(call),
            status_class(call.status),
            call.outcome,
            self.accounts.label(call.account, vouched=True),
            self.keys.label(call.client.label, vouched=True),
        )
        if told in self.became or len(self.became) < MAX_SERIES:
            return told
        return told[0], OTHER, *told[2:5], OTHER

    def _model(self, call: Exchange) -> str:
        name = call.model_used or call.model_asked
        label = self.models.label(name, vouched=call.outcome in ("complete", "incomplete"))
        return self.models.label(name, vouched=name in self.known_models()) if label == OTHER else label


def result(attempt: Attempt) -> str:
    """A refusal's own status, which says what to do about it; `refused`, `idle` and so on where there was no answer."""
    if attempt.status is None:
        return attempt.failure or NONE
    return str(attempt.status) if 400 <= attempt.status <= 599 else status_class(attempt.status)


def by_kind(tokens: Usage) -> list[int]:
    told = (tokens.input_tokens, tokens.cached_tokens, tokens.output_tokens, tokens.reasoning_tokens)
    return [max(0, min(number, MOST_TOKENS)) for number in told]
