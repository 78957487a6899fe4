import json

import pytest

from addons.wire.errors import KIND_BY_STATUS, MAX_MESSAGE, OpenAIError, from_upstream, invalid_url, kind_of


@pytest.mark.parametrize("status", [*KIND_BY_STATUS, 418, 422, 507])
def test_every_status_has_the_four_members(status: int) -> None:
    error = json.loads(OpenAIError(status, "why").body())["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["message"], error["type"], error["param"]) == ("why", kind_of(status)[0], None)


def test_what_is_given_wins_over_the_table() -> None:
    error = json.loads(OpenAIError(400, "why", code="c", type="t", param="p").body())["error"]
    assert error == {"message": "why", "type": "t", "param": "p", "code": "c"}


def test_a_message_is_a_sentence_and_not_a_dump() -> None:
    assert len(json.loads(OpenAIError(500, "x" * 100_000).body())["error"]["message"]) == MAX_MESSAGE


def test_unknown_url_in_openai_words() -> None:
    assert json.loads(invalid_url("POST", "/v1/x").body())["error"]["message"] == "Invalid URL (POST /v1/x)"


CHALLENGE = b"<!DOCTYPE html><title>Just a moment...</title><script src='/cdn-cgi/challenge-platform/'></script>"

REFUSALS = {
    "fastapi detail": (400, "application/json", b'{"detail":"Stream must be true"}', 400, "Stream must be true", None),
    "fastapi validation": (
        422,
        "application/json",
        b'{"detail":[{"loc":["body","model"],"msg":"field required"}]}',
        422,
        "body.model: field required",
        None,
    ),
    "fastapi validation of another shape": (400, "application/json", b'{"detail":[{"loc":5,"msg":"no"}]}', 400, "5: no", None),
    "detail with a message": (401, "application/json", b'{"detail":{"message":"no"}}', 401, "no", "invalid_api_key"),
    "detail of another shape": (400, "application/json", b'{"detail":{"a":1}}', 400, '{"a":1}', None),
    "error as a string": (500, "application/json", b'{"error":"boom"}', 500, "boom", "server_error"),
    "empty body": (503, "", b"", 503, "host answered 503 without saying why", "server_is_overloaded"),
    "JSON of another kind": (502, "application/json", b"[1]", 502, "host answered 502 without saying why", "upstream_error"),
    "not JSON": (500, "text/plain", b"oops", 500, "host answered 500 without saying why", "server_error"),
    "challenge page": (403, "text/html; charset=UTF-8", CHALLENGE, 403, "blocked this machine", "upstream_blocked"),
    "challenge page with 503": (503, "text/html", CHALLENGE, 403, "blocked this machine", "upstream_blocked"),
    "gateway page": (502, "text/html", b"<html>Bad Gateway</html>", 502, "a web page instead of JSON", "upstream_error"),
    "page without its type": (504, "", b"  <html></html>", 504, "a web page instead of JSON", "upstream_error"),
}


@pytest.mark.parametrize(("status", "content_type", "body", "answered", "message", "code"), REFUSALS.values(), ids=REFUSALS)
def test_upstream_refusals_become_openai_errors(
    status: int, content_type: str, body: bytes, answered: int, message: str, code: str | None
) -> None:
    error = from_upstream(status, content_type, body, "host")
    assert error and error.status == answered and message in error.message
    assert json.loads(error.body())["error"]["code"] == code
    assert "<" not in error.message


def test_a_challenge_tells_every_sdk_to_stop() -> None:
    error = from_upstream(403, "text/html", CHALLENGE, "host")
    assert error and error.headers == {"x-should-retry": "false"}


def test_openais_own_envelope_passes() -> None:
    body = b'{"error":{"message":"no","type":"invalid_request_error","param":null,"code":null},"status":400}'
    assert from_upstream(400, "application/json", body, "host") is None
