import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.wire import failures
from addons.wire.errors import KIND_BY_STATUS, OpenAIError
from addons.wire.verdict import SIGN_IN_DEAD, Broken, Verdict, of_answer, of_connection, of_error, of_failure
from tests.fakes.faults import CHALLENGE

NOW = 1_763_700_000.0

# (blame, retry, elsewhere)
Meaning = tuple[str, bool, bool]
REQUEST: Meaning = ("client", False, False)
NOT_HERE: Meaning = ("client", True, True)
TOKEN: Meaning = ("sign_in", True, False)
DEAD: Meaning = ("sign_in", True, True)
USED_UP: Meaning = ("plan", True, True)
PACE: Meaning = ("pace", True, False)
TROUBLE: Meaning = ("upstream", True, False)
NETWORK: Meaning = ("network", True, False)
BLOCKED: Meaning = ("blocked", False, False)
STRANGE: Meaning = ("upstream", False, False)

NO_MODEL = "The 'gpt-4o' model is not supported when using Codex with a ChatGPT account."
SCOPES = "You have insufficient permissions for this operation. Missing scopes: api.responses.write. Check that ..."


def meaning(verdict: Verdict) -> Meaning:
    return verdict.blame, verdict.retry, verdict.elsewhere


def envelope(**error: Any) -> dict[str, Any]:
    return {"error": {"message": "m", "type": "invalid_request_error", "param": None, "code": None, **error}}


ANSWERS: dict[str, tuple[int, Any, Meaning]] = {
    "a plan that is used up, told by its type": (429, envelope(type="usage_limit_reached"), USED_UP),
    "without a message": (429, {"error": {"type": "usage_limit_reached"}}, USED_UP),
    "the type outranks the code": (429, envelope(type="usage_limit_reached", code="rate_limit_exceeded"), USED_UP),
    "a plan without Codex": (429, envelope(type="usage_not_included"), USED_UP),
    "no money": (429, envelope(type="insufficient_quota", code="insufficient_quota"), USED_UP),
    "a workspace that does not pay": (402, {"detail": {"code": "deactivated_workspace"}}, USED_UP),
    "too fast": (429, envelope(type="tokens", code="rate_limit_exceeded"), PACE),
    "a 429 that says nothing": (429, {}, PACE),
    "a 503 that means too fast": (503, envelope(code="slow_down"), PACE),
    "overloaded": (503, envelope(type="service_unavailable_error", code="server_is_overloaded"), TROUBLE),
    "the token was revoked": (401, envelope(code="token_revoked"), TOKEN),
    "the token was invalidated": (401, envelope(code="token_invalidated") | {"status": 401}, TOKEN),
    "unauthorized": (401, {"detail": "Unauthorized"}, TOKEN),
    "the key is wrong": (401, envelope(code="invalid_api_key"), TOKEN),
    "the account is gone": (401, envelope(code="account_deactivated"), DEAD),
    "the wrong kind of key, 401": (401, envelope(message=SCOPES), NOT_HERE),
    "the wrong kind of key, 403": (403, envelope(message=SCOPES, code="missing_scope"), NOT_HERE),
    "the account may not": (403, {"detail": "Forbidden"}, NOT_HERE),
    "a model that the account does not have": (400, {"detail": NO_MODEL}, NOT_HERE),
    "the same in an envelope": (400, envelope(message=NO_MODEL), NOT_HERE),
    "a model of the platform": (404, envelope(code="model_not_found"), NOT_HERE),
    "a policy": (403, envelope(code="cyber_policy"), REQUEST),
    "a policy that is new": (403, envelope(code="weather_policy_violation"), REQUEST),
    "too much context": (400, envelope(code="context_length_exceeded"), REQUEST),
    "FastAPI's 400": (400, {"detail": "Store must be set to false"}, REQUEST),
    "FastAPI's 422": (422, {"detail": [{"loc": ["body"], "msg": "m"}]}, REQUEST),
    "a code that nobody knows": (400, envelope(code="made_up"), REQUEST),
    "no such path": (404, {"detail": "Not Found"}, REQUEST),
    "a country": (403, envelope(code="unsupported_country_region_territory"), BLOCKED),
    "a challenge": (403, CHALLENGE, BLOCKED),
    "a challenge as 503": (503, CHALLENGE, BLOCKED),
    "another page with 403": (403, "<html>Access denied by your administrator</html>", BLOCKED),
    "a gateway's page": (502, "<html>Bad Gateway</html>", TROUBLE),
    "a page with 404": (404, "<html>Not Found</html>", REQUEST),
    "an error that is a text": (500, {"error": "boom"}, TROUBLE),
    "not JSON": (500, "oops", TROUBLE),
    "JSON of another kind": (500, [1], TROUBLE),
    "nothing": (500, "", TROUBLE),
    "a redirect": (307, "", STRANGE),
    "a success that is none": (200, "<html>", STRANGE),
}


@pytest.mark.parametrize(("status", "body", "expected"), ANSWERS.values(), ids=ANSWERS)
def test_answers(status: int, body: Any, expected: Meaning) -> None:
    sent = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    assert meaning(of_answer(status, {}, sent, NOW)) == expected


RETRYABLE = [408, 409, 425, 429, 500, 502, 503, 504, 507, *range(520, 531)]


@pytest.mark.parametrize("status", RETRYABLE)
def test_statuses_that_pass(status: int) -> None:
    assert meaning(of_answer(status, {}, b"", NOW)) == (PACE if status == 429 else TROUBLE)


@pytest.mark.parametrize("status", [400, 404, 405, 410, 411, 413, 414, 415, 422, 431, 501, 505])
def test_statuses_that_stay(status: int) -> None:
    assert meaning(of_answer(status, {}, b"", NOW)) == REQUEST


@pytest.mark.parametrize("status", KIND_BY_STATUS)
def test_a_bare_status_is_known_by_its_number(status: int) -> None:
    assert f"HTTP {status}" in of_answer(status, {}, b"", NOW).reason


def test_json_is_no_page_whatever_its_type_says() -> None:
    body = json.dumps(envelope(code="made_up")).encode()
    assert meaning(of_answer(403, {"content-type": "text/html"}, body, NOW)) == NOT_HERE


def test_a_challenge_is_known_by_its_header() -> None:
    assert meaning(of_answer(429, {"CF-Mitigated": "challenge"}, b"{}", NOW)) == BLOCKED


FAILURES: dict[str, tuple[dict[str, Any], Meaning]] = {
    "the error of response.failed": ({"code": "rate_limit_exceeded", "message": "m"}, PACE),
    "one with a type only": ({"type": "usage_limit_reached", "message": "m"}, USED_UP),
    "an event with the error inside": ({"type": "error", "error": {"code": "server_is_overloaded"}}, TROUBLE),
    "an event that is flat": ({"type": "error", "code": "slow_down", "message": "m", "param": None}, PACE),
    "an event that says only detail": ({"type": "error", "detail": "m"}, TROUBLE),
    "the WebSocket's 401": ({"type": "error", "status": 401, "error": {"message": "m"}}, TOKEN),
    "the WebSocket's 401, flat": ({"type": "error", "status": 401, "message": "m"}, TOKEN),
    "the WebSocket's 429": ({"type": "error", "status_code": 429, "error": {"type": "usage_limit_reached"}}, USED_UP),
    "the WebSocket's 400": ({"type": "error", "status": 400, "error": {"message": NO_MODEL}}, NOT_HERE),
    "the WebSocket's hour is over": ({"type": "error", "error": {"code": "websocket_connection_limit_reached"}}, TROUBLE),
    "a token": ({"code": "token_expired"}, TOKEN),
    "a picture": ({"code": "image_too_large"}, REQUEST),
    "a conversation that is gone": ({"code": "previous_response_not_found"}, REQUEST),
    "a code that nobody knows": ({"code": "made_up"}, TROUBLE),
    "nothing": ({}, TROUBLE),
}


@pytest.mark.parametrize(("error", "expected"), FAILURES.values(), ids=FAILURES)
def test_failures(error: dict[str, Any], expected: Meaning) -> None:
    assert meaning(of_failure(error, NOW)) == expected


BY_STATUS_OF_CODE = {400: REQUEST, 403: REQUEST, 429: PACE, 500: TROUBLE, 503: TROUBLE}


@pytest.mark.parametrize("code", failures.STATUS_BY_CODE)
def test_every_code_that_has_a_status_means_something(code: str) -> None:
    expected = USED_UP if code in failures.FINAL else BY_STATUS_OF_CODE[failures.STATUS_BY_CODE[code]]
    if code == "model_not_found":
        expected = NOT_HERE
    assert meaning(of_failure({"code": code}, NOW)) == expected
    assert meaning(of_failure({"type": "error", "error": {"code": code}}, NOW)) == expected
    assert code in of_failure({"code": code}, NOW).reason


@pytest.mark.parametrize("code", failures.STATUS_BY_CODE)
def test_a_stage_s_refusal_means_what_the_event_meant(code: str) -> None:
    error = {"code": code, "message": "m"}
    assert meaning(of_error(failures.of_response({"error": error}), NOW)) == meaning(of_failure(error, NOW))


def test_a_stream_that_ended_early_is_upstreams_trouble() -> None:
    assert meaning(of_error(failures.CUT_OFF, NOW)) == TROUBLE


WAITS: dict[str, tuple[dict[str, str], dict[str, Any], float | None]] = {
    "a header": ({"Retry-After": "7"}, {}, 7),
    "a message": ({}, {"message": "Please try again in 1.2s."}, 1.2),
    "a header that is rounded down": ({"retry-after": "1"}, {"message": "Please try again in 1.2s."}, 1.2),
    "a header that says more": ({"retry-after": "3"}, {"message": "Please try again in 1.2s."}, 3),
    "what is left of a limit": ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, {}, 360),
    "what is said outright comes before": ({"x-ratelimit-reset": "60", "retry-after": "7"}, {}, 7),
    "nothing": ({}, {}, None),
}


@pytest.mark.parametrize(("headers", "error", "wait"), WAITS.values(), ids=WAITS)
def test_waits(headers: dict[str, str], error: dict[str, Any], wait: float | None) -> None:
    verdict = of_answer(429, headers, json.dumps(envelope(**error)).encode(), NOW)
    assert (verdict.wait, verdict.resets_at) == (wait, None)


def test_a_limit_with_nothing_left_is_not_why_a_server_fails() -> None:
    assert of_answer(500, {"x-ratelimit-reset-requests": "6m0s"}, b"", NOW).wait is None


def test_when_a_plan_comes_back() -> None:
    told = {"type": "usage_limit_reached", "resets_at": NOW + 7000, "resets_in_seconds": 7200}
    for verdict in (
        of_answer(429, {}, json.dumps(envelope(**told)).encode(), NOW),
        of_failure(told, NOW),
        of_failure({"type": "error", "status": 429, "error": told}, NOW),
        of_failure({**told, "type": "error", "code": "usage_limit_reached"}, NOW),
        of_error(failures.of_response({"error": told}), NOW),
    ):
        assert (verdict.blame, verdict.wait, verdict.resets_at) == ("plan", 7200, NOW + 7200)
    assert of_answer(429, {}, json.dumps(envelope(type="usage_not_included")).encode(), NOW).resets_at is None


def test_the_headers_in_a_websockets_error_count() -> None:
    event = {"type": "error", "status": 429, "error": {"message": "m"}}
    assert of_failure({**event, "headers": {"Retry-After": "9"}}, NOW).wait == 9
    assert of_failure({**event, "headers": {"Retry-After": 9}}, NOW).wait is None, "headers are texts"
    assert of_failure({**event, "headers": "Retry-After: 9"}, NOW).wait is None


def test_connections() -> None:
    found = {broken: meaning(of_connection(broken)) for broken in get_args(Broken)}
    assert found.pop("tls") == ("network", False, False)
    assert found.pop("total_timeout") == ("upstream", False, False)
    assert found.pop("idle_timeout") == found.pop("cut_off") == TROUBLE
    assert found and set(found.values()) == {NETWORK}


def test_a_dead_sign_in_is_one_for_another_account() -> None:
    assert meaning(SIGN_IN_DEAD) == DEAD


def test_a_reason_is_a_sentence_with_its_numbers() -> None:
    body = json.dumps(envelope(type="usage_limit_reached", resets_in_seconds=7200)).encode()
    assert of_answer(429, {}, body, NOW).reason == (
        "the account's plan is used up (HTTP 429, usage_limit_reached), asks to wait 7200 s"
    )
    assert of_failure({"code": "rate_limit_exceeded", "message": "try again in 300ms"}, NOW).reason == (
        "too many requests for now (rate_limit_exceeded), asks to wait 0.3 s"
    )


# --- garbage ----------------------------------------------------------------------------------------------------------

KEYS = "error detail type code message param status status_code headers resets_at resets_in_seconds loc msg".split()
WORDS = [
    *failures.STATUS_BY_CODE,
    "error",
    "usage_limit_reached",
    "token_expired",
    NO_MODEL,
    "try again in 2s",
    "Missing scopes: x",
]
HEADERS = """
    retry-after retry-after-ms date x-ratelimit-reset x-ratelimit-reset-tokens x-ratelimit-remaining-tokens content-type
    cf-mitigated
""".split()
TIMES = ["0", "7", "-1", "1e9", "nan", "6m0s", "Fri, 21 Nov 2025 04:41:00 GMT", "Fri, 32 Nov 99999 24:61:00 +9999", "text/html"]

leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=8)
thing = st.recursive(
    leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5), max_leaves=12
)
document = st.dictionaries(st.sampled_from(KEYS), thing, max_size=5)
headers = st.dictionaries(st.sampled_from(HEADERS), st.sampled_from(TIMES) | st.text(max_size=40), max_size=4)
bodies = (
    st.binary(max_size=40) | thing.map(lambda value: json.dumps(value).encode()) | document.map(lambda d: json.dumps(d).encode())
)
statuses = st.integers(0, 999) | st.sampled_from(RETRYABLE)
moments = st.floats(1e9, 5e9)


def makes_sense(verdict: Verdict, now: float) -> None:
    assert verdict.retry or not verdict.elsewhere
    assert verdict.wait is None or 0 <= verdict.wait < 1e8
    assert verdict.resets_at is None or (verdict.blame == "plan" and verdict.resets_at >= now)
    assert verdict.blame != "blocked" or not verdict.retry


@given(statuses, headers, bodies, moments)
def test_any_answer_has_a_meaning(status: int, headers: dict[str, str], body: bytes, now: float) -> None:
    makes_sense(of_answer(status, headers, body, now), now)


@given(document | st.dictionaries(st.text(max_size=5), thing, max_size=3), moments)
def test_any_failure_has_a_meaning(error: dict[str, Any], now: float) -> None:
    makes_sense(of_failure(error, now), now)


@given(statuses, st.text(max_size=40), st.none() | st.text(max_size=10), headers, moments)
def test_any_error_has_a_meaning(status: int, message: str, code: str | None, headers: dict[str, str], now: float) -> None:
    makes_sense(of_error(OpenAIError(status, message, code=code, headers=headers), now), now)


# Sentences, secrets and markup: what upstream may quote of a request.
QUOTED = st.sampled_from(["Bearer sk-CANARY", "CANARY said: hello", "<b>CANARY</b>", "CANARY\r\nset-cookie: a=b", "eyJ.CANARY.x"])


@given(statuses, QUOTED, st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["CANARY", "https://CANARY/"]), max_size=4))
def test_a_reason_quotes_nobody(status: int, text: str, rest: dict[str, str]) -> None:
    error = {**rest, "message": text, "code": text, "type": text, "param": text}
    for verdict in (
        of_answer(status, {"retry-after": text}, json.dumps({"error": error}).encode(), NOW),
        of_answer(status, {"content-type": text}, json.dumps({"detail": text}).encode(), NOW),
        of_answer(status, {}, text.encode(), NOW),
        of_failure(error, NOW),
        of_failure({"type": "error", "status": status, "error": error}, NOW),
        of_error(OpenAIError(status, text, code=text, type=text), NOW),
    ):
        assert "CANARY" not in verdict.reason and verdict.reason
