from typing import Any

import pytest

from addons.wire.errors import MAX_MESSAGE
from addons.wire.failures import of_error_event, of_response

NO_RETRY = {"x-should-retry": "false"}


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("rate_limit_exceeded", 429),
        ("slow_down", 429),
        ("usage_limit_reached", 429),
        ("insufficient_quota", 429),
        ("invalid_prompt", 400),
        ("context_length_exceeded", 400),
        ("image_too_large", 400),
        ("invalid_image_format", 400),
        ("cyber_policy", 403),
        ("bio_policy", 403),
        ("server_error", 500),
        ("server_is_overloaded", 503),
        ("never_heard_of", 502),
        (None, 502),
    ],
)
def test_status_by_code(code: str | None, status: int) -> None:
    error = of_response({"error": {"code": code, "message": "why"}})
    assert (error.status, error.message) == (status, "why")
    assert error.code == (code or "upstream_error")


ERROR_EVENTS: dict[str, tuple[dict[str, Any], tuple[int, str | None, str | None, str]]] = {
    "flat": ({"code": "slow_down", "message": "m", "param": "p"}, (429, "slow_down", "p", "m")),
    "nested": ({"error": {"code": "slow_down", "message": "m", "type": "t"}}, (429, "slow_down", None, "m")),
    "the backend's, told by its type": (
        {"error": {"type": "usage_limit_reached", "message": "m", "resets_in_seconds": 7200}},
        (429, "usage_limit_reached", None, "m"),
    ),
    "with a status": ({"status": 401, "error": {"message": "m"}}, (401, "upstream_error", None, "m")),
    "with a status_code": ({"status_code": 413, "error": {"message": "m"}}, (413, "upstream_error", None, "m")),
    "with a status that is none": ({"status": 200, "error": {"message": "m"}}, (502, "upstream_error", None, "m")),
    "as FastAPI has it": ({"detail": "m"}, (502, "upstream_error", None, "m")),
    "a text": ({"error": "m"}, (502, "upstream_error", None, "m")),
    "nothing at all": ({}, (502, "upstream_error", None, "upstream failed without saying why")),
    "members of other types": (
        {"error": {"code": 5, "message": {}, "param": []}},
        (502, "upstream_error", None, "upstream failed without saying why"),
    ),
}


@pytest.mark.parametrize(("event", "told"), ERROR_EVENTS.values(), ids=ERROR_EVENTS)
def test_error_events(event: dict[str, Any], told: tuple[int, str | None, str | None, str]) -> None:
    error = of_error_event({"type": "error", **event})
    assert (error.status, error.code, error.param, error.message) == told
    assert error.type


@pytest.mark.parametrize("response", [{}, {"error": None}, {"error": "no"}])
def test_a_failure_that_says_nothing(response: dict[str, Any]) -> None:
    assert of_response(response).status == 502


@pytest.mark.parametrize(
    ("error", "headers"),
    [
        ({"code": "usage_limit_reached", "resets_in_seconds": 7200}, NO_RETRY | {"retry-after": "7200"}),
        ({"code": "insufficient_quota"}, NO_RETRY),
        ({"code": "rate_limit_exceeded", "message": "Please try again in 1.2s."}, {"retry-after-ms": "1200"}),
        ({"code": "rate_limit_exceeded", "message": "try again in 300ms"}, {"retry-after-ms": "300"}),
        ({"code": "rate_limit_exceeded", "message": "Try again in 2 seconds"}, {"retry-after-ms": "2000"}),
        ({"code": "rate_limit_exceeded", "message": "try again later"}, {}),
        ({"code": "server_error"}, {}),
    ],
)
def test_when_to_try_again(error: dict[str, Any], headers: dict[str, str]) -> None:
    assert of_error_event({"type": "error", "error": error}).headers == headers


def test_a_message_is_a_sentence_and_not_a_dump() -> None:
    assert len(of_response({"error": {"message": "x" * 100_000}}).message) == MAX_MESSAGE
