"""The Grafana dashboard against what `GET /metrics` says: a panel that asks for what is not there stays empty and says nothing."""

import json
import re
from typing import Any

import pytest
from mitmproxy.test import tflow
from prometheus_client import ProcessCollector

from addons.pool import Standing
from addons.telemetry.counted import registry_of
from addons.telemetry.counts import CallCounts
from addons.telemetry.gauges import Gauges, Snapshot
from addons.wire.quota import Quota, Window
from tests.addons.traffic.calls import NOON, call
from tests.pages import MANUAL
from tests.proxy import ROOT

DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/codex-mitm.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
QUERIES += [variable["definition"] for variable in DASHBOARD["templating"]["list"] if "definition" in variable]

# Prometheus itself puts these on what it reads; a histogram's buckets have `le`.
OF_PROMETHEUS = {"instance", "job", "le"}


@pytest.fixture(scope="module")
def exposed() -> dict[str, set[str]]:
    """The names of the samples, with those of their labels."""
    counts, gauges = CallCounts(lambda: ()), Gauges()
    registry = registry_of(counts)
    registry.register(gauges)
    ProcessCollector(registry=registry)
    counts.ended(tflow.tflow(), call(queued=1.0))
    quota = Quota(NOON, {"5h": Window(300, 40.0, NOON + 60, NOON)})
    standing = Standing("ada", "serving", "", None, 0, None, quota)
    gauges.latest = Snapshot(at=NOON, standings=[standing], refreshes={"renewed": 1}, versions={"version": "1"})
    return {sample.name: set(sample.labels) for family in registry.collect() for sample in family.samples}


def names_in(query: str) -> set[str]:
    return set(re.findall(r"\b(?:codex_mitm|process)_\w+", query))


def labels_in(query: str) -> set[str]:
    grouped = re.findall(r"\b(?:by|on) \(([^)]*)\)", query)
    selected = re.findall(r"(\w+)(?:=~|!=|!~|=)\"", query)
    asked = re.findall(r"label_values\(\w+, (\w+)\)", query)
    return {name.strip() for names in grouped for name in names.split(",")} | set(selected) | set(asked)


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_asks_for_what_is_there(query: str, exposed: dict[str, set[str]]) -> None:
    names = names_in(query)
    assert names and names <= exposed.keys()
    assert labels_in(query) <= OF_PROMETHEUS.union(*(exposed[name] for name in names))


def test_all_that_is_told_of_calls_and_accounts_is_shown(exposed: dict[str, set[str]]) -> None:
    shown = set().union(*map(names_in, QUERIES))
    ours = {re.sub(r"_(bucket|count|sum)$", "_bucket", name) for name in exposed if name.startswith("codex_mitm_")}
    assert ours == {name for name in shown if name.startswith("codex_mitm_")}


def test_every_metric_stands_in_the_manual(exposed: dict[str, set[str]]) -> None:
    ours = {re.sub(r"_(bucket|count|sum)$", "", name) for name in exposed if name.startswith("codex_mitm_")}
    assert [name for name in sorted(ours) if f"`{name}" not in MANUAL] == []


def test_it_goes_with_any_grafana() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}
    assert not re.search(r"https?://", json.dumps(DASHBOARD))


def test_no_panel_lies_upon_another() -> None:
    taken = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(taken) == len(set(taken)) and max(x for x, _ in taken) < 24
