"""`GET /metrics`, for Prometheus: what was counted of calls (telemetry/counts.py) and what is so now (telemetry/gauges.py).

In the classic text or as OpenMetrics, as the scraper asks for it. Where clients need a key, a scraper needs one too.
"""

import asyncio
import time
from typing import TYPE_CHECKING

from mitmproxy import http, version

from addons import probes
from addons.accounts import CodexAccounts
from addons.guard import guarded, is_open
from addons.names import VERSION
from addons.parallel import CodexParallel
from addons.record import CodexTraffic
from addons.telemetry.counts import CallCounts
from addons.telemetry.snapshot import Snapshot
from addons.traffic.writer import Health

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from addons.telemetry.gauges import Gauges

NOT_RECORDING = Health(0, 0, "")


class CodexMetrics:
    """After `CodexGate`, and before whoever wants an account or a slot."""

    def __init__(self, counts: CallCounts, accounts: CodexAccounts, parallel: CodexParallel, traffic: CodexTraffic) -> None:
        self.accounts = accounts
        self.parallel = parallel
        self.traffic = traffic
        self.counts = counts
        self.told: tuple[CollectorRegistry, Gauges] | None = None
        """When somebody has asked. No property: mitmproxy reads all of an addon when it looks for commands."""

    @guarded
    async def request(self, flow: http.HTTPFlow) -> None:
        if probes.is_probe(flow) and is_open(flow) and probes.bare(flow.request.path) == probes.METRICS:
            from prometheus_client.exposition import choose_encoder

            registry, gauges = self.told = self.told or self._made()
            gauges.latest = self._snapshot()
            encode, content_type = choose_encoder(flow.request.headers.get("accept", ""))
            # A few thousand lines take tens of milliseconds, for which no stream has to stand still.
            body = await asyncio.to_thread(encode, registry)
            flow.response = http.Response.make(200, body, {"content-type": content_type, "cache-control": "no-store"})

    def _made(self) -> "tuple[CollectorRegistry, Gauges]":
        # The client library is 10 ms of a start, and most proxies are never asked.
        from prometheus_client import ProcessCollector

        from addons.telemetry.counted import registry_of
        from addons.telemetry.gauges import Gauges

        registry, gauges = registry_of(self.counts), Gauges()
        registry.register(gauges)
        ProcessCollector(registry=registry)
        return registry, gauges

    def _snapshot(self) -> Snapshot:
        issuer, recorder, slots = self.accounts.issuer, self.traffic.recorder, self.parallel.slots
        health = recorder.health() if recorder else NOT_RECORDING
        return Snapshot(
            at=time.time(),
            in_flight=len(slots.taken),
            slots=slots.limit,
            queued=len(slots.waiting),
            standings=self.accounts.standings(),
            refreshes=dict(issuer.refreshes) if issuer else {},
            unrecorded=health.not_recorded,
            unwritten=health.waiting,
            versions={"version": VERSION, "mitmproxy": version.VERSION},
        )
