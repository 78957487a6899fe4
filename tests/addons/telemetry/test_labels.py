import pytest

from addons.telemetry.labels import NONE, OTHER, Names, endpoint_of, status_class


def test_only_what_somebody_vouches_for_becomes_a_label() -> None:
    names = Names(3)
    assert names.label("gpt-5.5", vouched=False) == OTHER
    assert names.label("gpt-5.5", vouched=True) == "gpt-5.5"
    assert names.label("gpt-5.5", vouched=False) == "gpt-5.5", "known from now on"
    assert names.label("", vouched=True) == NONE


def test_there_is_a_bound_whoever_vouches() -> None:
    names = Names(2)
    assert [names.label(f"model-{number}", vouched=True) for number in range(4)] == ["model-0", "model-1", OTHER, OTHER]
    assert names.label("model-1", vouched=True) == "model-1"


@pytest.mark.parametrize("name", ["ada@example.com", "a b", "a\nb", "ö", "\ud800", "x" * 101, "\x7f"], ids=ascii)
def test_what_no_label_should_be(name: str) -> None:
    """An address of a person; what has to be escaped, or cannot be written at all; what is no name."""
    assert Names(9).label(name, vouched=True) == OTHER


ENDPOINTS = {
    "/v1/responses": "/v1/responses",
    "/responses/": "/v1/responses",
    "/v1/chat/completions?key=CANARY": "/v1/chat/completions",
    "/v1/responses/resp_123": "/v1/responses/*",
    "/v1/responses/resp_123/input_items": "/v1/responses/*",
    "/v1/files/file-1/content": "/v1/files/*",
    "/backend-api/wham/usage": "/backend-api/wham/usage",
    "/v1/CANARY": OTHER,
    "//": OTHER,
    "": OTHER,
}


@pytest.mark.parametrize(("path", "label"), ENDPOINTS.items())
def test_endpoints_are_few(path: str, label: str) -> None:
    assert endpoint_of(path) == label


def test_statuses_by_their_class() -> None:
    assert [status_class(status) for status in (101, 200, 429, 503, None)] == ["1xx", "2xx", "4xx", "5xx", NONE]
