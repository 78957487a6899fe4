"""Spans on their way to a real collector on loopback, as OpenTelemetry's own library sends them."""

import logging
from collections.abc import Iterator

import pytest

from addons.telemetry.attributes import Server
from addons.telemetry.exporting import Spans, place
from addons.traffic.exchange import Attempt
from addons.wire.usage import Usage
from tests.addons.traffic.calls import NOON, call, refused
from tests.collector import Collector, plain, running_collector

HERE = Server("chatgpt.com", 443)
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
# So that it is sent when the test says so, and not meanwhile.
NEVER = "3600000"
# Much longer than anything here takes.
PATIENCE = 20.0


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with running_collector() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", NEVER)
        yield found


def spans(collector: Collector, env: dict[str, str] | None = None) -> Spans:
    return Spans(collector.url, env or {}, None)


def test_one_span_for_a_call(collector: Collector) -> None:
    going = spans(collector)
    going.note(call(), HERE, {})
    going.close(PATIENCE)
    (span,) = collector.spans
    assert collector.paths == ["/v1/traces"]
    assert (span.name, span.kind, span.status.code, span.parent_span_id) == ("chat gpt-6-luna", 3, 0, b"")
    assert span.start_time_unix_nano == int((NOON + 1) * 1e9)
    assert span.end_time_unix_nano - span.start_time_unix_nano == pytest.approx(1.42e9, abs=1e3)
    assert plain(span.attributes)["gen_ai.usage.input_tokens"] == 812
    assert collector.resource["service.name"] == "codex-mitm"


def test_the_trace_of_the_client_goes_on(collector: Collector) -> None:
    going = spans(collector)
    going.note(call(), HERE, {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "a=b"})
    going.note(call(), HERE, {"traceparent": f"00-{TRACE}-{PARENT}-00", "tracestate": ""})
    going.note(call(), HERE, {"traceparent": "nonsense", "tracestate": ""})
    going.close(PATIENCE)
    first, other = collector.spans
    assert (first.trace_id.hex(), first.parent_span_id.hex(), first.trace_state) == (TRACE, PARENT, "a=b")
    assert other.trace_id.hex() != TRACE and other.parent_span_id == b"", "and what the client does not want sampled is not there"


def test_several_attempts_are_spans_below_it(collector: Collector) -> None:
    tried = Attempt("ada", 0.1, 429), Attempt("bob", 0.9, 200, outcome="answered", waited=0.5)
    going = spans(collector)
    going.note(call(attempts=tried), HERE, {})
    going.close(PATIENCE)
    *attempts, whole = sorted(collector.spans, key=lambda span: span.name)
    assert [(one.name, one.status.code, one.parent_span_id) for one in attempts] == [
        ("attempt 1", 2, whole.span_id),
        ("attempt 2", 0, whole.span_id),
    ]
    first, second = attempts
    assert second.start_time_unix_nano - first.end_time_unix_nano == pytest.approx(0.5e9, abs=1e3)
    assert second.end_time_unix_nano == whole.end_time_unix_nano


def test_a_failure_is_marked(collector: Collector) -> None:
    going = spans(collector)
    going.note(refused(), None, {})
    going.close(PATIENCE)
    (span,) = collector.spans
    assert span.status.code == 2 and not span.status.message


def test_no_call_keeps_the_others_from_being_sent(collector: Collector) -> None:
    going = spans(collector)
    going.note(call(model_used="half a character: \ud800", tokens=Usage(10**30, -(10**30))), HERE, {})
    going.note(call(id="req_good"), HERE, {})
    going.close(PATIENCE)
    assert "req_good" in {plain(span.attributes)["codex_mitm.request.id"] for span in collector.spans}


def test_the_names_that_the_environment_gives_count(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "our-gateway")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    going = spans(collector)
    going.note(call(), HERE, {})
    going.close(PATIENCE)
    assert collector.resource["service.name"] == "our-gateway" and collector.resource["deployment.environment.name"] == "test"


def test_a_collector_that_is_away_is_told_of_once(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    collector.statuses = [400] * 5
    with caplog.at_level(logging.DEBUG):
        going = Spans(collector.url.replace("//", "//user:CANARY@"), {}, None)
        for number in range(5):
            going.note(call(number), HERE, {})
        going.close(PATIENCE)
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    host = collector.url.removeprefix("http://")
    assert said == [f"{host} does not take spans: they are lost until it does, calls go on"]
    assert len(collector.paths) == 5 and "CANARY" not in caplog.text


def test_it_says_when_the_collector_is_back(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    collector.statuses = [400, 400]
    with caplog.at_level(logging.INFO):
        going = spans(collector)
        for number in range(3):
            going.note(call(number), HERE, {})
        going.close(PATIENCE)
    assert caplog.messages[-1] == f"{collector.url.removeprefix('http://')} takes spans again; 2 were lost"


def test_one_that_does_not_answer_is_not_waited_for(collector: Collector) -> None:
    collector.answers.clear()
    going = spans(collector)
    going.note(call(), HERE, {})
    going.close(0.2)
    assert collector.asked.is_set() and not collector.bodies, "it was sent, and nobody has waited for the answer"


def test_where_a_collector_is_said_to_be() -> None:
    assert place("https://user:CANARY@otel.example.com:4318/CANARY?key=CANARY") == "otel.example.com:4318"
    assert place("nonsense") == "the collector"
