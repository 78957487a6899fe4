"""What is counted of each call that is over. All numbers are since the start; a reload of the script begins anew, as a restart.

The label sets are few (labels.py).
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from mitmproxy import http

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


class Spread:
    """How often what was observed lay between which two bounds, and how much it was together."""

    __slots__ = ("bounds", "numbers", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.numbers = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.numbers[bisect_left(self.bounds, value)] += 1
        self.total += value


class CallCounts:
    """`known_models` are those of the accounts' own lists.

    The client library's own counters take a lock, and four calls of Python, each time that one is added to; a call adds to eight.
    Here the numbers are added up as they are, and become metrics when somebody asks (counted.py).
    """

    def __init__(self, known_models: Callable[[], Collection[str]]) -> None:
        self.known_models = known_models
        self.models, self.accounts, self.keys = Names(MAX_MODELS), Names(MAX_ACCOUNTS), Names(MAX_KEYS)
        self.became: defaultdict[tuple[str, ...], int] = defaultdict(int)
        self.took: defaultdict[tuple[str, ...], Spread] = defaultdict(partial(Spread, DURATIONS))
        self.began: defaultdict[tuple[str, ...], Spread] = defaultdict(partial(Spread, FIRST_TOKENS))
        self.waited: Mapping[tuple[str, ...], Spread] = {(): Spread(WAITS)}
        self.spent: defaultdict[tuple[str, ...], list[int]] = defaultdict(lambda: [0] * len(KINDS))
        """Of each of the kinds."""
        self.tried: defaultdict[tuple[str, ...], int] = defaultdict(int)

    def ended(self, flow: http.HTTPFlow, call: Exchange) -> None:
        told = self._labels(call)
        endpoint, model, *_, account, key = told
        self.became[told] += 1
        if call.outcome != "refused":
            self.took[endpoint, model].observe(call.ended)
        if call.first_token is not None:
            self.began[endpoint, model].observe(call.first_token)
        if call.queued is not None:
            self.waited[()].observe(call.queued)
        if call.tokens:
            spent = self.spent[model, account, key]
            for kind, tokens in enumerate(by_kind(call.tokens)):
                spent[kind] += tokens
        for attempt in call.attempts:
            self.tried[self.accounts.label(attempt.account, vouched=True), result(attempt)] += 1

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
    return [0 if number < 0 else MOST_TOKENS if number > MOST_TOKENS else number for number in told]
