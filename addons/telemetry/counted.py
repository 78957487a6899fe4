"""What was counted of calls (counts.py), as metrics of Prometheus: made when somebody asks, in any thread, while calls go on."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from addons.telemetry.counts import KINDS, REQUEST, CallCounts, Spread


def registry_of(counts: CallCounts) -> CollectorRegistry:
    """Not the one of the process: after a reload of the script everything would be in that already."""
    registry = CollectorRegistry()
    registry.register(Counted(counts))
    return registry


class Counted(Collector):
    def __init__(self, counts: CallCounts) -> None:
        self.counts = counts

    def collect(self) -> Iterator[Metric]:
        counts = self.counts
        yield _counter(
            "codex_mitm_requests",
            "Calls that are over, by what became of them; a 200 that broke off later has the outcome cut.",
            REQUEST,
            counts.became,
        )
        yield _histogram(
            "codex_mitm_request_duration_seconds",
            "From the head of the request to the end of the answer; not of calls that the proxy refused.",
            ("endpoint", "model"),
            counts.took,
        )
        yield _histogram(
            "codex_mitm_first_token_seconds",
            "From the head of the request to the first word of the answer, as upstream said it.",
            ("endpoint", "model"),
            counts.began,
        )
        yield _histogram(
            "codex_mitm_queue_wait_seconds", "How long the requests waited that had to wait for a slot.", (), counts.waited
        )
        yield _counter(
            "codex_mitm_tokens",
            "Tokens as upstream counted them; cached are among input, reasoning are among output.",
            ("kind", "model", "account", "key"),
            {
                (kind, *labels): tokens
                for labels, kinds in list(counts.spent.items())
                for kind, tokens in zip(KINDS, kinds, strict=True)
            },
        )
        yield _counter(
            "codex_mitm_upstream_attempts",
            "Requests that were sent upstream, by the status of the answer or by why there was none. A call has one or more.",
            ("account", "result"),
            counts.tried,
        )


def _counter(name: str, text: str, labels: Sequence[str], numbers: Mapping[tuple[str, ...], int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, number in list(numbers.items()):  # at once, as calls go on meanwhile
        family.add_metric(values, number)
    return family


def _histogram(name: str, text: str, labels: Sequence[str], spreads: Mapping[tuple[str, ...], Spread]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, spread in list(spreads.items()):
        family.add_metric(values, _buckets(spread), spread.total)
    return family


def _buckets(spread: Spread) -> list[tuple[str, float]]:
    """As Prometheus counts: in each are also those of the ones before it."""
    return list(zip(map(floatToGoString, (*spread.bounds, math.inf)), accumulate(spread.numbers), strict=True))
