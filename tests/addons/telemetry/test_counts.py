"""What calls add to the numbers; read as Prometheus reads them, from the text."""

from typing import Any

import pytest
from mitmproxy.test import tflow
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from addons.telemetry import counts
from addons.telemetry.counted import registry_of
from addons.telemetry.counts import CallCounts, result
from addons.traffic.exchange import Attempt, Client, Exchange
from addons.wire.usage import Usage
from tests.addons.traffic.calls import call, refused


def counted(*calls: Exchange, known: tuple[str, ...] = ()) -> CallCounts:
    numbers = CallCounts(lambda: known)
    for one in calls:
        numbers.ended(tflow.tflow(), one)
    return numbers


def samples(numbers: CallCounts, name: str) -> dict[tuple[str, ...], float]:
    """By the values of the labels, in the order of their names."""
    text = generate_latest(registry_of(numbers)).decode()
    found = [sample for family in text_string_to_metric_families(text) for sample in family.samples if sample.name == name]
    return {tuple(value for _, value in sorted(sample.labels.items())): sample.value for sample in found}


def test_a_call_that_went_well() -> None:
    numbers = counted(call(client=Client("laptop", "x/1", "127.0.0.1"), queued=0.7))
    # account, endpoint, key, model, outcome, status
    assert samples(numbers, "codex_mitm_requests_total") == {
        ("ada", "/v1/chat/completions", "laptop", "gpt-6-luna", "complete", "2xx"): 1
    }
    assert samples(numbers, "codex_mitm_tokens_total") == {
        ("ada", "laptop", "input", "gpt-6-luna"): 812,
        ("ada", "laptop", "cached", "gpt-6-luna"): 640,
        ("ada", "laptop", "output", "gpt-6-luna"): 344,
        ("ada", "laptop", "reasoning", "gpt-6-luna"): 120,
    }
    assert samples(numbers, "codex_mitm_request_duration_seconds_sum") == {("/v1/chat/completions", "gpt-6-luna"): 1.42}
    assert samples(numbers, "codex_mitm_first_token_seconds_sum") == {("/v1/chat/completions", "gpt-6-luna"): 0.92}
    assert samples(numbers, "codex_mitm_queue_wait_seconds_sum") == {(): 0.7}
    assert samples(numbers, "codex_mitm_upstream_attempts_total") == {("ada", "2xx"): 1}


def test_a_duration_counts_in_each_bucket_that_it_fits_in() -> None:
    numbers = counted(*(call(ended=seconds) for seconds in (0.05, 0.1, 0.2, 5000.0)))
    found = samples(numbers, "codex_mitm_request_duration_seconds_bucket")
    buckets = {le: number for (_, le, _), number in found.items()}
    assert (buckets["0.1"], buckets["0.25"], buckets["1800.0"], buckets["+Inf"]) == (2, 3, 3, 4)
    assert len(buckets) == len(counts.DURATIONS) + 1


def test_a_refusal_has_no_duration_and_no_tokens() -> None:
    numbers = counted(refused(account="", model_used="", model_asked="", endpoint="/CANARY", attempts=()))
    assert samples(numbers, "codex_mitm_requests_total") == {("none", "other", "none", "none", "refused", "4xx"): 1}
    assert not samples(numbers, "codex_mitm_request_duration_seconds_count") and not samples(numbers, "codex_mitm_tokens_total")


def test_each_attempt_counts_by_what_came_of_it() -> None:
    tried = Attempt("ada", 0.0, None, "refused"), Attempt("ada", 0.1, 429), Attempt("bob", 0.2, 200, outcome="answered")
    numbers = counted(call(attempts=tried, account="bob"))
    assert samples(numbers, "codex_mitm_upstream_attempts_total") == {("ada", "refused"): 1, ("ada", "429"): 1, ("bob", "2xx"): 1}


RESULTS: dict[str, tuple[Attempt, str]] = {
    "a web socket": (Attempt("a", 0, 101), "1xx"),
    "no word": (Attempt("a", 0), "none"),
    "a number that is no status": (Attempt("a", 0, 999), "9xx"),
}


@pytest.mark.parametrize(("attempt", "label"), RESULTS.values(), ids=RESULTS)
def test_results_are_few(attempt: Attempt, label: str) -> None:
    assert result(attempt) == label


def models(numbers: CallCounts) -> set[str]:
    return {model for _, _, _, model, _, _ in samples(numbers, "codex_mitm_requests_total")}


def test_a_client_cannot_make_series_up() -> None:
    invented = [refused(number, model_used="", model_asked=f"CANARY-{number}") for number in range(300)]
    assert models(counted(*invented)) == {"other"}


def test_a_model_that_an_account_has_is_known_before_it_has_answered() -> None:
    assert models(counted(refused(model_used="gpt-6-luna"), known=("gpt-6-luna",))) == {"gpt-6-luna"}


def test_models_that_answered_are_bounded_too() -> None:
    numbers = counted(*(call(number, model_used=f"model-{number}") for number in range(counts.MAX_MODELS + 50)))
    assert len(models(numbers)) == counts.MAX_MODELS + 1


def test_all_labels_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "MAX_SERIES", 20)
    calls = [
        call(number, model_used=f"model-{number % 9}", client=Client(f"key-{number}", "", ""), account=f"account-{number % 2}")
        for number in range(100)
    ]
    numbers = counted(*calls)
    found = samples(numbers, "codex_mitm_requests_total")
    assert sum(found.values()) == 100, "nothing is lost"
    assert len(found) == 22 and found["account-0", "/v1/chat/completions", "other", "other", "complete", "2xx"] > 30


ODD: dict[str, dict[str, Any]] = {
    "negative tokens": {"tokens": Usage(-5, 1)},
    "more tokens than a float holds": {"tokens": Usage(10**400, 1)},
    "half a character": {"model_used": "\ud800", "account": "\udc80"},
    "a person": {"account": "ada@example.com", "client": Client("ada@example.com", "", "")},
    "nothing at all": {
        "tokens": None,
        "status": None,
        "first_token": None,
        "attempts": (),
        "model_used": "",
        "outcome": "client_left",
    },
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_whatever_upstream_says_the_numbers_can_be_read(odd: dict[str, Any]) -> None:
    """One that raised would keep the call's slot; one that cannot be written would be the end of all numbers."""
    numbers = counted(call(**odd), call(2))
    assert sum(samples(numbers, "codex_mitm_requests_total").values()) == 2
    assert b"example.com" not in generate_latest(registry_of(numbers))


def test_a_reload_of_the_script_begins_anew() -> None:
    assert samples(counted(call()), "codex_mitm_requests_total") == samples(counted(call()), "codex_mitm_requests_total")
