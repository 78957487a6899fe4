import json
from typing import Any

import pytest

from auth import device
from auth.device import Decision, Denied, DeviceCode, Expired, Granted, Slower, Wait
from auth.errors import LoginFailed

GRANT = {"authorization_code": "ac_1", "code_challenge": "ch", "code_verifier": "ve"}


def body(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@pytest.mark.parametrize(
    ("status", "answer", "elapsed", "expected"),
    [
        pytest.param(403, {"error": {"code": "deviceauth_authorization_pending"}}, 0, Wait(5), id="403"),
        pytest.param(403, b"<html>", 0, Wait(5), id="403-html"),
        pytest.param(404, {}, 0, Wait(5), id="404"),
        pytest.param(400, {"error": "authorization_pending"}, 0, Wait(5), id="rfc-pending"),
        pytest.param(400, {"error": "slow_down"}, 0, Slower(10), id="rfc-slow-down"),
        pytest.param(429, {}, 0, Slower(10), id="429"),
        pytest.param(400, {"error": {"code": "slow_down"}}, 0, Slower(10), id="nested-slow-down"),
        pytest.param(400, {"error": "access_denied"}, 0, Denied("access_denied"), id="rfc-denied"),
        pytest.param(400, {"error": "expired_token"}, 0, Expired(), id="rfc-expired"),
        pytest.param(400, {"error": "invalid_request"}, 0, Denied("invalid_request"), id="400"),
        pytest.param(401, {}, 0, Denied("http_401"), id="401-without-code"),
        pytest.param(302, b"", 0, Denied("http_302"), id="redirect"),
        pytest.param(503, b"", 0, Wait(5), id="outage"),
        pytest.param(403, {}, 899.9, Wait(5), id="just-in-time"),
        pytest.param(403, {}, 900, Expired(), id="deadline"),
        pytest.param(400, {"error": "slow_down"}, 900, Expired(), id="slow-down-at-the-deadline"),
        pytest.param(503, b"", 900, Expired(), id="outage-at-the-deadline"),
        pytest.param(400, {"error": "access_denied"}, 901, Denied("access_denied"), id="denied-after-the-deadline"),
        pytest.param(200, GRANT, 0, Granted("ac_1", "ve"), id="granted"),
        pytest.param(200, GRANT, 901, Granted("ac_1", "ve"), id="granted-after-the-deadline"),
    ],
)
def test_decide(status: int, answer: Any, elapsed: float, expected: Decision) -> None:
    assert device.decide(status, body(answer), 5, elapsed) == expected


@pytest.mark.parametrize("answer", [b"", b"[]", b"{", b'{"authorization_code": "x"}', b'{"code_verifier": 1}'])
def test_a_grant_that_lacks_something_names_it_and_no_value(answer: bytes) -> None:
    decision = device.decide(200, answer, 5, 0)
    assert decision == Denied("the issuer's answer lacks authorization_code or code_verifier")


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        pytest.param("5", 5, id="string"),
        pytest.param("2.5", 2.5, id="fraction"),
        pytest.param(7, 7, id="number"),
        pytest.param(None, 5, id="absent"),
        pytest.param("0", 1, id="too-eager"),
        pytest.param("86400", 60, id="too-lazy"),
        pytest.param("soon", 5, id="no-number"),
        pytest.param("nan", 5, id="nan"),
        pytest.param("inf", 60, id="infinite"),
        pytest.param([], 5, id="list"),
    ],
)
def test_the_interval(interval: Any, expected: float) -> None:
    answer = body({"device_auth_id": "d", "user_code": "AB-CD", "interval": interval})
    assert device.parse_usercode(200, answer, "https://x/codex/device").interval == expected


def test_the_older_spelling_of_user_code() -> None:
    answer = body({"device_auth_id": "SENTINEL", "usercode": "AB-CD", "interval": "5"})
    shown = device.parse_usercode(200, answer, "https://x/codex/device")
    assert shown == DeviceCode("AB-CD", "https://x/codex/device", 5, "SENTINEL")
    assert "SENTINEL" not in repr(shown)


@pytest.mark.parametrize(
    ("status", "answer", "reason"),
    [
        pytest.param(404, {}, "device login is not enabled at this issuer", id="switched-off"),
        pytest.param(403, b"<html>", "the issuer answered 403, without an error code", id="cloudflare"),
        pytest.param(400, {"error": "invalid_client"}, "the issuer answered 400, invalid_client", id="code"),
        pytest.param(200, {"user_code": "AB-CD"}, "the issuer's answer lacks user_code or device_auth_id", id="half"),
    ],
)
def test_no_code_to_show(status: int, answer: Any, reason: str) -> None:
    with pytest.raises(LoginFailed) as failed:
        device.parse_usercode(status, body(answer), "")
    assert failed.value.reason == reason


def test_a_poll_sends_what_the_start_returned() -> None:
    request = device.poll_request(DeviceCode("AB-CD", "", 5, "d1"))
    assert json.loads(request.body) == {"device_auth_id": "d1", "user_code": "AB-CD"}
    assert json.loads(device.usercode_request("app_1").body) == {"client_id": "app_1"}
