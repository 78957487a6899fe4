"""What is so at the moment somebody asks (snapshot.py), as metrics of Prometheus: written in any thread."""

from collections.abc import Iterator, Mapping
from typing import get_args

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from addons.pool.health import State
from addons.telemetry.labels import Names
from addons.telemetry.snapshot import Snapshot

MAX_ACCOUNTS = 100


class Gauges(Collector):
    def __init__(self) -> None:
        self.latest = Snapshot()
        self.names = Names(MAX_ACCOUNTS)

    def collect(self) -> Iterator[Metric]:
        now = self.latest
        yield GaugeMetricFamily("codex_mitm_requests_in_flight", "Requests that have a slot.", now.in_flight)
        yield GaugeMetricFamily("codex_mitm_slots", "Requests that may have a slot at once.", now.slots)
        yield GaugeMetricFamily("codex_mitm_queue_length", "Requests that wait for a slot.", now.queued)
        yield self._accounts(now)
        yield from self._quotas(now)
        yield _counted("codex_mitm_token_refreshes", "Tokens that were to be renewed, by what came of it.", "result", now.refreshes)
        yield CounterMetricFamily("codex_mitm_unrecorded_calls", "Calls that are not in the record.", now.unrecorded)
        yield GaugeMetricFamily("codex_mitm_unwritten_calls", "Calls that wait to be recorded.", now.unwritten)
        yield InfoMetricFamily("codex_mitm_build", "Which versions run.", dict(now.versions))

    def _accounts(self, now: Snapshot) -> Metric:
        """All states, also those that no account is in: what is missing could not be told from what is zero."""
        text = "Accounts by state; those that are serving or avoided can be used, those that are resting or out cannot."
        family = GaugeMetricFamily("codex_mitm_accounts", text, labels=["state"])
        for state in get_args(State):
            family.add_metric([state], sum(standing.state == state for standing in now.standings))
        return family

    def _quotas(self, now: Snapshot) -> Iterator[Metric]:
        labels = ["account", "window"]
        left = GaugeMetricFamily("codex_mitm_quota_left_ratio", "What is left of a plan, from 0 to 1.", labels=labels)
        resets = GaugeMetricFamily("codex_mitm_quota_reset_timestamp_seconds", "When a plan's window begins anew.", labels=labels)
        for standing in now.standings:
            account = self.names.label(standing.name, vouched=True)
            for kind, window in standing.quota.windows.items() if standing.quota else ():
                left.add_metric([account, kind], window.left(now.at) / 100)
                if window.resets_at is not None and window.resets_at > now.at:
                    resets.add_metric([account, kind], window.resets_at)
        yield from (left, resets)


def _counted(name: str, text: str, label: str, numbers: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, number in numbers.items():
        family.add_metric([value], number)
    return family
