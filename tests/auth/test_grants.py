import json
from typing import Any

import pytest

from auth import grants
from auth.grants import Refused, TokenGrant, Unclear

NO_OBJECT = Unclear("the issuer answered 200 with something that is not a JSON object")
FULL = {"id_token": "i", "access_token": "a", "refresh_token": "r"}


def body(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def test_the_code_goes_out_as_a_form_in_the_order_of_the_cli() -> None:
    request = grants.code_request("app_1", "c/1", "http://127.0.0.1:1455/auth/callback", "v~1")
    assert request.content_type == "application/x-www-form-urlencoded"
    assert request.body == (
        b"grant_type=authorization_code&client_id=app_1&code=c%2F1"
        b"&redirect_uri=http%3A%2F%2F127.0.0.1%3A1455%2Fauth%2Fcallback&code_verifier=v~1"
    )


def test_the_exchange_for_an_api_key() -> None:
    assert grants.api_key_request("app_1", "i").body == (
        b"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&client_id=app_1"
        b"&requested_token=openai-api-key&subject_token=i"
        b"&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aid_token"
    )


def test_a_refresh_goes_out_as_json() -> None:
    request = grants.refresh_request("app_1", "r", "proactive_expiry")
    assert request.content_type == "application/json"
    assert json.loads(request.body) == {
        "client_id": "app_1",
        "grant_type": "refresh_token",
        "refresh_token": "r",
        "refresh_reason": "proactive_expiry",
    }


def test_only_a_refresh_token_is_revoked_in_the_name_of_the_client() -> None:
    assert json.loads(grants.revoke_request("app_1", "t", "refresh_token").body) == {
        "token": "t",
        "token_type_hint": "refresh_token",
        "client_id": "app_1",
    }
    assert json.loads(grants.revoke_request("app_1", "t", "access_token").body) == {
        "token": "t",
        "token_type_hint": "access_token",
    }


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        pytest.param(200, FULL | {"expires_in": 9}, TokenGrant("i", "a", "r"), id="all-tokens"),
        pytest.param(200, {"access_token": "a"}, TokenGrant(access_token="a"), id="access-token-only"),
        pytest.param(200, FULL | {"refresh_token": None}, TokenGrant("i", "a"), id="null-is-absent"),
        pytest.param(200, {}, Unclear("the issuer answered 200 without any token"), id="no-token"),
        pytest.param(200, b"<html>", NO_OBJECT, id="html"),
        pytest.param(200, b"[]", NO_OBJECT, id="list"),
        pytest.param(200, b"", NO_OBJECT, id="empty"),
        pytest.param(200, b"[" * 100_000, NO_OBJECT, id="deep"),
        pytest.param(200, FULL | {"error": "busy"}, Unclear("the issuer answered 200 with an error, busy"), id="200-error"),
        pytest.param(200, FULL | {"access_token": 7}, Unclear("the issuer's answer has no usable access_token"), id="number"),
        pytest.param(
            200, FULL | {"access_token": "a\r\nx: y"}, Unclear("the issuer's answer has no usable access_token"), id="line-break"
        ),
        pytest.param(200, FULL | {"id_token": ""}, Unclear("the issuer's answer has no usable id_token"), id="empty-token"),
        pytest.param(400, {"error": "invalid_grant"}, Refused("invalid_grant"), id="400-invalid-grant"),
        pytest.param(400, {"error": {"code": "invalid_grant"}}, Refused("invalid_grant"), id="400-invalid-grant-nested"),
        pytest.param(400, {"error": {"code": "refresh_token_expired"}}, Refused("refresh_token_expired"), id="400-expired"),
        pytest.param(401, {"error": {"code": "refresh_token_reused"}}, Refused("refresh_token_reused"), id="401-reused"),
        pytest.param(403, {"code": "refresh_token_invalidated"}, Refused("refresh_token_invalidated"), id="403-top-level-code"),
        pytest.param(401, {"error": "anything"}, Refused("anything"), id="401-any-code"),
        pytest.param(401, b"<html>", Refused("http_401"), id="401-without-code"),
        pytest.param(400, {"error": "invalid_request"}, Unclear("the issuer answered 400, invalid_request"), id="400-other"),
        pytest.param(
            403, {"error": "invalid_grant"}, Unclear("the issuer answered 403, invalid_grant"), id="invalid-grant-needs-400"
        ),
        pytest.param(403, b"<html>", Unclear("the issuer answered 403, without an error code"), id="cloudflare"),
        pytest.param(307, b"", Unclear("the issuer answered 307, without an error code"), id="redirect"),
        pytest.param(429, {"error": {"code": "rate_limited"}}, Unclear("the issuer answered 429, rate_limited"), id="429"),
        pytest.param(500, {"error": {"code": None}}, Unclear("the issuer answered 500, without an error code"), id="500"),
        pytest.param(
            502, {"error": "SECRET leaked in a sentence"}, Unclear("the issuer answered 502, without an error code"), id="prose"
        ),
    ],
)
def test_parse_refresh(status: int, answer: Any, expected: TokenGrant | Refused | Unclear) -> None:
    assert grants.parse_refresh(status, body(answer)) == expected


def test_no_200_is_a_verdict_on_the_token() -> None:
    assert isinstance(grants.parse_refresh(200, body({"error": {"code": "refresh_token_reused"}})), Unclear)


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        pytest.param(200, FULL, TokenGrant("i", "a", "r"), id="all-tokens"),
        pytest.param(200, {"access_token": "a"}, Unclear("the issuer's answer lacks id_token, refresh_token"), id="some"),
        pytest.param(200, {}, Unclear("the issuer's answer lacks id_token, access_token, refresh_token"), id="none"),
        pytest.param(400, {"error": "invalid_grant"}, Refused("invalid_grant"), id="refused"),
    ],
)
def test_parse_code(status: int, answer: Any, expected: TokenGrant | Refused | Unclear) -> None:
    assert grants.parse_code(status, body(answer)) == expected


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        pytest.param(200, {"access_token": "key"}, "key", id="minted"),
        pytest.param(200, {}, None, id="none"),
        pytest.param(401, {"error": {"code": "invalid_subject_token"}}, None, id="no-organisation"),
    ],
)
def test_parse_api_key(status: int, answer: Any, expected: str | None) -> None:
    assert grants.parse_api_key(status, body(answer)) == expected


@pytest.mark.parametrize(
    "answer",
    [{"error": {"message": "SENTINEL"}}, {"error": ["SENTINEL"]}, {"error": 7}, {"code": {"x": "SENTINEL"}}, {"error": "x" * 65}],
)
def test_what_does_not_read_like_a_code_is_none(answer: Any) -> None:
    assert grants.error_code(body(answer)) == ""


def test_no_token_is_in_a_repr() -> None:
    grant = TokenGrant("SENTINEL", "SENTINEL", "SENTINEL")
    request = grants.refresh_request("app_1", "SENTINEL", "forced")
    assert "SENTINEL" not in repr(grant) + repr(request)
