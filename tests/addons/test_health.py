"""Why a proxy could not serve now, in words for whoever watches it; the rest is in tests/e2e/test_watching.py."""

from pathlib import Path
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow, tutils

from addons.accounts import CodexAccounts
from addons.health import CodexHealth, Idle, not_ready
from addons.policy import AccountRules
from addons.probes import is_probe
from auth.outbound import Outbound
from tests.addons.hooks import over

NOW = 1_763_726_400.0  # 2025-11-21 12:00 UTC

REASONS: dict[str, tuple[list[Idle], str, str]] = {
    "nobody": ([], "login_required", "not ready: nobody is signed in; run `make login`"),
    "dead": ([Idle("out"), Idle("out")], "login_required", "not ready: every sign-in has ended; run `make login`"),
    "used up": (
        [Idle("resting", "plan", NOW + 7200)],
        "usage_limit_reached",
        "not ready: the plan of every account is used up; back in 2 h",
    ),
    "blocked": (
        [Idle("resting", "blocked", NOW + 60)],
        "upstream_blocked",
        "not ready: upstream blocks the network that this proxy is in; back in 1 min",
    ),
    "the one that is back first": (
        [Idle("out"), Idle("resting", "plan", NOW + 7200), Idle("resting", "pace", NOW + 9.5)],
        "rate_limit_exceeded",
        "not ready: upstream wants to be left alone for a while; back in 10 s",
    ),
    "no token": (
        [Idle("resting", "plan", NOW + 9), Idle("serving")],
        "auth_unavailable",
        "not ready: no account has a token that is good, and none can be had at the moment; the log says why",
    ),
}


@pytest.mark.parametrize(("idle", "code", "message"), REASONS.values(), ids=REASONS)
def test_why(idle: list[Idle], code: str, message: str) -> None:
    told = not_ready(idle, NOW)
    assert (told.status, told.code, told.message) == (503, code, message)


def test_until_when() -> None:
    told = not_ready([Idle("resting", "plan", NOW + 7200.5)], NOW)
    assert told.headers["retry-after"] == "7201" and told.more == {"until": "2025-11-21T14:00:00Z"}
    assert "retry-after" not in not_ready([], NOW).headers


def asked(method: str, path: str, mode: str = "reverse:https://example.com", **more: Any) -> http.HTTPFlow:
    flow = tflow.tflow(req=tutils.treq(method=method.encode(), path=path.encode()), **more)
    flow.client_conn.proxy_mode = ProxyMode.parse(mode)
    return flow


ASKED = {
    ("GET", "/healthz"): True,
    ("HEAD", "/readyz"): True,
    ("GET", "/metrics?verbose"): True,
    ("POST", "/healthz"): False,
    ("GET", "/healthz/"): False,
    ("GET", "/v1/healthz"): False,
    ("GET", "/v1/models"): False,
}


@pytest.mark.parametrize(("request_line", "probe"), ASKED.items())
def test_what_is_a_probe(request_line: tuple[str, str], probe: bool) -> None:
    assert is_probe(asked(*request_line)) is probe


def test_what_passes_to_somebody_elses_metrics_is_no_probe() -> None:
    assert not is_probe(asked("GET", "/metrics", "regular"))


async def test_one_that_ends_is_alive_and_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEX_MITM_HOME", str(tmp_path))
    health = CodexHealth(CodexAccounts(Outbound.from_env({}), AccountRules))
    health.draining = "the proxy is shutting down"
    alive, ready = asked("GET", "/healthz"), asked("GET", "/readyz")
    await over(health.request(alive))
    await over(health.request(ready))
    assert alive.response and ready.response and (alive.response.status_code, ready.response.status_code) == (200, 503)
    told = ready.response.json()["error"]
    assert (told["code"], told["message"]) == ("proxy_stopped", "not ready: the proxy is shutting down")
