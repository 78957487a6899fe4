"""What the real proxy tells those who watch it: probes, Prometheus, a collector of spans, whoever reads the log."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as classic

from tests.collector import Collector, plain, running_collector
from tests.e2e.client import ask, error, post, said
from tests.e2e.conftest import options_for, write_account
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.proxy import ENTRY, RunningProxy, running_proxy

INSIDE = Path(__file__).with_name("inside.py")
KEY = "CANARY-key-of-this-proxy"
HOLDER = {"authorization": f"Bearer {KEY}"}
EVIL = "sk-" + "CANARY0pasted0by0mistake0123456789"
WORDS = "CANARY what was said"
ADA, BOB = "ada@example.com", "bob@example.com"
USED_UP = {"error": {"type": "usage_limit_reached", "message": "The usage limit has been reached", "resets_in_seconds": 9000}}
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with running_collector() as found:
        yield found


@pytest.fixture(scope="module")
def shared_proxy(openai: FakeOpenAI, home: Path, collector: Collector) -> Iterator[RunningProxy]:
    # So late that what the collector has was sent when the proxy ended.
    env = {"PROXY_API_KEY": KEY, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "3600000"}
    with running_proxy(home, options_for(openai, codex_log="json"), scripts=(INSIDE, ENTRY), env=env) as proxy:
        yield proxy


def get(proxy: RunningProxy, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    return httpx.request(method, proxy.origin + path, headers=headers, timeout=30, trust_env=False)


def call(proxy: RunningProxy, body: Any = None, **headers: str) -> httpx.Response:
    return post(proxy.url, body or ask(WORDS), headers=HOLDER | headers)


def lines(proxy: RunningProxy, event: str) -> list[dict[str, Any]]:
    """Of the log, without the one that mitmproxy writes before it has loaded us."""
    first, *others = proxy.log().splitlines()
    assert "Loading script" in first
    return [told for told in map(json.loads, (line for line in others if "Loading script" not in line)) if told["event"] == event]


def line_of(proxy: RunningProxy, answer: httpx.Response) -> dict[str, Any]:
    proxy.wait_for_log(answer.headers["x-request-id"])
    (found,) = [told for told in lines(proxy, "call") if told["id"] == answer.headers["x-request-id"]]
    return found


def numbers(proxy: RunningProxy) -> dict[tuple[str, ...], float]:
    """By name and the values of the labels."""
    text = get(proxy, "/metrics", **HOLDER).text
    found = [sample for family in classic(text) for sample in family.samples]
    return {(sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value for sample in found}


def test_it_is_alive_whoever_asks_and_whoever_is_signed_in(shared_proxy: RunningProxy, control: Control) -> None:
    answer = get(shared_proxy, "/healthz")
    assert (answer.status_code, answer.json(), answer.headers["cache-control"]) == (200, {"status": "alive"}, "no-store")
    assert (get(shared_proxy, "/healthz", "HEAD").status_code, get(shared_proxy, "/healthz", "HEAD").content) == (200, b"")
    assert get(shared_proxy, "/healthz", host="evil.example.com").status_code == 421
    assert control.seen() == []


def test_it_is_ready_when_an_account_can_serve(shared_proxy: RunningProxy, account: Path, control: Control) -> None:
    nobody = get(shared_proxy, "/readyz")
    assert (nobody.status_code, error(nobody)["code"]) == (503, "login_required")
    assert get(shared_proxy, "/readyz", "HEAD").status_code == 503
    write_account(account, control.login(ADA))
    said(call(shared_proxy))  # which finds it at once
    assert get(shared_proxy, "/readyz").json() == {"status": "ready"}

    control.fault("responses", {"status": 429, "body": USED_UP})
    assert call(shared_proxy).status_code == 429
    used_up = get(shared_proxy, "/readyz")
    told = error(used_up)
    assert (used_up.status_code, told["code"]) == (503, "usage_limit_reached")
    assert "back in 2 h" in told["message"] and told["until"].endswith("Z") and 8000 < int(used_up.headers["retry-after"]) <= 9000

    write_account(account, control.login(BOB))
    assert get(shared_proxy, "/readyz").status_code == 200, "somebody else has signed in"
    control.revoke("all")
    assert call(shared_proxy).status_code in (401, 502)
    dead = get(shared_proxy, "/readyz")
    assert (dead.status_code, error(dead)["code"]) == (503, "login_required")
    shown = [answer.text for answer in (nobody, used_up, dead)]
    assert not [word for word in (ADA, BOB, "default", *control.tokens()) for text in shown if word in text]


def test_it_is_not_ready_on_a_token_that_was_refused_until_there_is_another(proxy: RunningProxy, control: Control) -> None:
    control.revoke("access")
    control.fault("token", reset="before_headers", times=None)
    assert error(call(proxy))["code"] == "auth_unavailable"
    unready = get(proxy, "/readyz")
    assert (unready.status_code, error(unready)["code"]) == (503, "auth_unavailable")
    control.clear_faults()
    deadline = time.monotonic() + 60  # the sign-in service is spared for a while
    while get(proxy, "/readyz").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    said(call(proxy))
    assert control.counts().reuses == 0


def test_numbers_want_a_key_where_clients_do(proxy: RunningProxy) -> None:
    assert error(get(proxy, "/metrics"))["code"] == "invalid_api_key"
    answer = get(proxy, "/metrics", **HOLDER)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert get(proxy, "/metrics", "HEAD", **HOLDER).content == b""


def test_numbers_in_the_newer_format_too(proxy: RunningProxy) -> None:
    said(call(proxy))
    answer = get(proxy, "/metrics", accept="application/openmetrics-text; version=1.0.0", **HOLDER)
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert "codex_mitm_requests" in {family.name for family in openmetrics(answer.text)}


def test_what_is_counted_of_a_call(proxy: RunningProxy) -> None:
    call_labels = "default", "/v1/responses", "default", "gpt-5.5", "complete", "2xx"
    before = numbers(proxy)
    said(call(proxy))
    after = numbers(proxy)
    grown = {name for name in after if after[name] > before.get(name, 0.0)}
    assert {
        ("codex_mitm_requests_total", *call_labels),
        ("codex_mitm_tokens_total", "default", "default", "input", "gpt-5.5"),
        ("codex_mitm_tokens_total", "default", "default", "output", "gpt-5.5"),
        ("codex_mitm_upstream_attempts_total", "default", "2xx"),
        ("codex_mitm_request_duration_seconds_count", "/v1/responses", "gpt-5.5"),
        ("codex_mitm_first_token_seconds_count", "/v1/responses", "gpt-5.5"),
    } <= grown
    assert after["codex_mitm_requests_total", *call_labels] - before.get(("codex_mitm_requests_total", *call_labels), 0) == 1
    assert after["codex_mitm_accounts", "serving"] == 1 and after["codex_mitm_slots",] == 64
    assert 0 < after["codex_mitm_quota_left_ratio", "default", "5h"] <= 1


def test_what_is_under_way_and_a_refresh(proxy: RunningProxy, control: Control) -> None:
    said(call(proxy))  # the list of models is asked for then, and not with the token that is revoked
    control.settings(delta_delay=0.2)
    before = numbers(proxy)
    control.revoke("access")
    headers = HOLDER | {"content-type": "application/json"}
    with httpx.stream("POST", f"{proxy.url}/responses", json=ask("one two three"), headers=headers, trust_env=False) as answer:
        pieces = answer.iter_raw()
        next(pieces)
        during = numbers(proxy)
        assert b"response.completed" in b"".join(pieces)
    assert during["codex_mitm_requests_in_flight",] == 1
    refreshed = "codex_mitm_token_refreshes_total", "renewed"
    assert during[refreshed] - before[refreshed] == 1
    after = numbers(proxy)
    assert after["codex_mitm_requests_in_flight",] == 0
    attempts = "codex_mitm_upstream_attempts_total", "default", "401"
    assert after[attempts] - before.get(attempts, 0) == 1


def test_a_client_that_makes_names_up_makes_no_series(proxy: RunningProxy) -> None:
    for number in range(5):
        call(proxy, ask(WORDS, model=f"CANARY-{number}"))
        get(proxy, f"/v1/CANARY-{number}", **HOLDER)
    assert "CANARY" not in get(proxy, "/metrics", **HOLDER).text


def test_probes_are_no_calls(proxy: RunningProxy, home: Path) -> None:
    before = len(lines(proxy, "call"))
    counted = sum(value for name, value in numbers(proxy).items() if name[0] == "codex_mitm_requests_total")
    for path in ("/healthz", "/readyz", "/metrics"):
        get(proxy, path)
        get(proxy, path, **HOLDER)
    answer = call(proxy)
    line_of(proxy, answer)
    assert len(lines(proxy, "call")) == before + 1
    assert sum(value for name, value in numbers(proxy).items() if name[0] == "codex_mitm_requests_total") == counted + 1
    deadline = time.monotonic() + 10
    while True:
        written = b"".join(file.read_bytes() for file in home.glob(".codex-mitm/traffic.db*"))
        if answer.headers["x-request-id"].encode() in written:
            break
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not [path for path in (b"/healthz", b"/readyz", b"/metrics") if path in written]


def test_every_line_of_the_log_is_json_and_each_call_has_one(proxy: RunningProxy, control: Control) -> None:
    good = line_of(proxy, call(proxy))
    assert {"level": "info", "status": 200, "outcome": "complete", "model": "gpt-5.5", "key": "default"}.items() <= good.items()
    assert good["tokens_out"] > 0 and 0 < good["first_token"] <= good["duration"]
    control.fault("responses", {"status": 400, "body": {"detail": "Instructions are not valid"}})
    bad = line_of(proxy, call(proxy))
    assert (bad["level"], bad["status"], bad["error_message"]) == ("warning", 400, "Instructions are not valid")
    assert [told["message"] for told in lines(proxy, "log") if "client connect" in told["message"]] == []


def test_a_log_cannot_be_written_by_clients(proxy: RunningProxy) -> None:
    told = line_of(proxy, call(proxy, ask(WORDS, model=f'x"\n{{"event": "call"}}\x1b[31m{EVIL}')))
    assert told["status"] == 400 and told["model_asked"].startswith('x"\n{"event"')
    assert "\x1b" not in proxy.log()
    for secret in (KEY, EVIL, WORDS):
        assert secret not in proxy.log()


def test_the_log_for_people(proxy: RunningProxy) -> None:
    httpx.post(f"{proxy.origin}/inside", json={"codex_log": "text"}, headers=HOLDER, trust_env=False).raise_for_status()
    answer = call(proxy)
    short = answer.headers["x-request-id"].removeprefix("req_")[:8]
    proxy.wait_for_log(f"] {short} default 200 ")
    (line,) = [line for line in proxy.log().splitlines() if f"] {short} " in line]
    assert " · gpt-5.5 · " in line and " tok · first token " in line and line.endswith(" · default")
    told = httpx.post(f"{proxy.origin}/inside", json={"codex_log": "xml"}, headers=HOLDER, trust_env=False)
    assert told.status_code == 400 and told.text == "codex_log: xml is not one of text, json"
    httpx.post(f"{proxy.origin}/inside", json={"codex_log": "json"}, headers=HOLDER, trust_env=False).raise_for_status()


def test_spans_of_all_that_was_asked(proxy: RunningProxy, collector: Collector, control: Control) -> None:
    said(call(proxy))
    control.revoke("access")
    traced = call(proxy, traceparent=f"00-{TRACE}-{PARENT}-01")
    evil = call(proxy, ask(WORDS, model=EVIL))
    assert (proxy.stop(signal.SIGTERM), collector.paths) == (0, ["/v1/traces"]), "what is left is sent at the end"
    by_id = {plain(span.attributes).get("codex_mitm.request.id"): span for span in collector.spans}
    span = by_id[traced.headers["x-request-id"]]
    assert (span.name, span.trace_id.hex(), span.parent_span_id.hex()) == ("chat gpt-5.5", TRACE, PARENT)
    told = plain(span.attributes)
    assert (told["gen_ai.operation.name"], told["gen_ai.provider.name"], told["server.address"]) == ("chat", "openai", "127.0.0.1")
    assert told["gen_ai.usage.output_tokens"] > 0 and told["codex_mitm.attempts"] == 2
    attempts = [plain(other.attributes) for other in collector.spans if other.parent_span_id == span.span_id]
    assert [one["http.response.status_code"] for one in attempts] == [401, 200]
    assert plain(by_id[evil.headers["x-request-id"]].attributes)["error.type"] == "model_not_found"
    sent = b"".join(collector.bodies)
    assert not [secret for secret in (KEY, EVIL, WORDS, *control.tokens()) if secret.encode() in sent]
    assert "Traceback" not in proxy.log()
