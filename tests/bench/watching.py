"""What telling of a call costs the proxy, in microseconds a call: `python -m tests.bench.watching`. The goal for the counts: 30."""

import io
import logging
import os
import statistics
import time
from collections.abc import Callable

from mitmproxy.addons.termlog import TermLogHandler
from mitmproxy.test import tflow
from prometheus_client import generate_latest

from addons.call_log import CodexCallLog
from addons.telemetry.attributes import Server
from addons.telemetry.counts import CallCounts
from addons.telemetry.exporting import Spans
from addons.telemetry.json_lines import JsonLines
from addons.traffic.exchange import Exchange
from tests.addons.traffic.calls import call
from tests.collector import running_collector

CALLS, ROUNDS = 1000, 15
CALL = call()
FLOW = tflow.tflow()


def microseconds(tell: Callable[[Exchange], None]) -> float:
    found = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(CALLS):
            tell(CALL)
        found.append((time.process_time() - began) / CALLS * 1e6)
    return statistics.median(found)


def main() -> None:
    counts, log, terminal = CallCounts(lambda: ()), CodexCallLog(), TermLogHandler(io.StringIO())
    print(f"counts        {microseconds(lambda call: counts.ended(FLOW, call)):8.1f}")
    logging.getLogger().addHandler(terminal)
    print(f"line, text    {microseconds(lambda call: log.ended(FLOW, call)):8.1f}")
    terminal.setFormatter(JsonLines())
    log.format = "json"
    print(f"line, JSON    {microseconds(lambda call: log.ended(FLOW, call)):8.1f}")
    logging.getLogger().removeHandler(terminal)
    with running_collector() as collector:
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url
        spans, server = Spans(collector.url, {}, None), Server("chatgpt.com", 443)
        # With what the batch thread does meanwhile, and the collector of this bench.
        print(f"span          {microseconds(lambda call: spans.note(call, server, {})):8.1f}")
        spans.close(20.0)
    print(f"GET /metrics  {microseconds_of_a_scrape(counts):8.1f} of another thread, {len(counts.became)} sets of labels")


def microseconds_of_a_scrape(counts: CallCounts) -> float:
    for number in range(200):
        counts.ended(FLOW, call(model_used=f"model-{number % 20}", account=f"account-{number % 10}"))
    began = time.process_time()
    generate_latest(counts.registry)
    return (time.process_time() - began) * 1e6


if __name__ == "__main__":
    main()
