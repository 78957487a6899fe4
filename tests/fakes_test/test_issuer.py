"""Sign-in through the browser, the token endpoint, rotation and its refusals, revocation."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest

from tests.fakes.control import ControlError, consent
from tests.fakes.identity import CLIENT_ID
from tests.fakes.openai import FakeOpenAI
from tests.fakes_test.bodies import VERIFIER, authorize_url, code_form, plain, refresh, without

EXCHANGE = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "client_id": CLIENT_ID,
    "requested_token": "openai-api-key",
    "subject_token": "",
    "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
}


def code_of(fake: FakeOpenAI, **changes: str | None) -> str:
    return parse_qs(urlsplit(consent(authorize_url(fake.issuer_url, **changes))).query)["code"][0]


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


class TestAuthorize:
    @pytest.mark.parametrize(
        "changes, complaint",
        [
            ({"response_type": "token"}, "response_type must be code"),
            ({"client_id": "app_other"}, f"client_id must be {CLIENT_ID}"),
            ({"code_challenge_method": "plain"}, "code_challenge_method must be S256"),
            ({"codex_cli_simplified_flow": None}, "missing: codex_cli_simplified_flow"),
            ({"code_challenge": "short"}, "code_challenge must be a SHA-256 digest"),
            ({"state": "short"}, "state must have at least 8 characters"),
            ({"scope": "openid email"}, "scope lacks offline_access"),
            ({"originator": ""}, "originator must not be empty"),
            ({"audience": "x"}, "not known here: audience"),
            # Exact match: neither another port, nor another path, nor another name for the same host.
            ({"redirect_uri": "http://127.0.0.1:1456/auth/callback"}, "redirect_uri must be one of"),
            ({"redirect_uri": "http://127.0.0.1:1455/auth/callback/"}, "redirect_uri must be one of"),
            ({"redirect_uri": "http://[::1]:1455/auth/callback"}, "redirect_uri must be one of"),
        ],
    )
    def test_refuses(self, fake: FakeOpenAI, http: httpx.Client, changes: dict[str, str | None], complaint: str) -> None:
        answer = http.get(authorize_url(fake.issuer_url, **changes))
        assert answer.status_code == 400
        assert answer.json()["error"]["message"].startswith(complaint)

    def test_refuses_a_parameter_twice(self, fake: FakeOpenAI, http: httpx.Client) -> None:
        answer = http.get(authorize_url(fake.issuer_url) + "&state=another-state")
        assert answer.json()["error"]["message"] == "a parameter is included more than once"

    def test_refuses_a_scope_that_the_client_may_not_have(self, fake: FakeOpenAI, http: httpx.Client) -> None:
        answer = http.get(authorize_url(fake.issuer_url, scope="openid offline_access api.model.read"))
        assert answer.json() == {
            "error": "invalid_scope",
            "error_description": "the client is not allowed to request 'api.model.read'",
        }

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    @pytest.mark.parametrize("port", [1455, 1457])
    def test_sends_the_browser_back_with_code_and_state(self, fake: FakeOpenAI, host: str, port: int) -> None:
        redirect_uri = f"http://{host}:{port}/auth/callback"
        location = urlsplit(consent(authorize_url(fake.issuer_url, redirect_uri=redirect_uri)))
        query = parse_qs(location.query)
        assert f"{location.scheme}://{location.netloc}{location.path}" == redirect_uri
        assert query["state"] == ["a-state-of-some-length"]
        assert query["code"][0] in fake.control.tokens("code")

    def test_a_redirect_host_can_be_unregistered(self, fake: FakeOpenAI) -> None:
        fake.control.settings(redirect_hosts=["localhost"])
        with pytest.raises(ControlError, match="authorize_hydra_invalid_request"):
            consent(authorize_url(fake.issuer_url))

    def test_other_ports_can_be_registered(self, fake: FakeOpenAI) -> None:
        fake.control.settings(redirect_ports=[40001])
        location = consent(authorize_url(fake.issuer_url, redirect_uri="http://127.0.0.1:40001/auth/callback"))
        assert location.startswith("http://127.0.0.1:40001/auth/callback?code=")

    def test_denial_is_told_to_the_client(self, fake: FakeOpenAI) -> None:
        query = parse_qs(urlsplit(consent(authorize_url(fake.issuer_url), allow=False)).query)
        assert (query["error"], query["state"]) == (["access_denied"], ["a-state-of-some-length"])

    def test_instant_consent_skips_the_page(self, fake: FakeOpenAI, http: httpx.Client) -> None:
        fake.control.settings(instant_consent=True)
        assert http.get(authorize_url(fake.issuer_url)).status_code == 302


class TestCode:
    def test_is_redeemed_for_tokens_of_who_sat_at_the_browser(self, fake: FakeOpenAI, http: httpx.Client) -> None:
        fake.control.settings(sign_in_email="grace@example.com")
        answer = http.post(f"{fake.issuer_url}/oauth/token", data=code_form(code_of(fake)))
        assert answer.status_code == 200
        claims = claims_of(answer.json()["access_token"])
        assert claims["https://api.openai.com/profile"]["email"] == "grace@example.com"
        assert claims["exp"] - claims["iat"] == answer.json()["expires_in"] == 10 * 86400
        assert VERIFIER in fake.control.tokens("code_verifier")

    @pytest.mark.parametrize(
        "changes, error, description",
        [
            ({"verifier": "w" * 43}, "invalid_grant", "code_verifier does not match"),
            ({"verifier": "v" * 42}, "invalid_request", "code_verifier must be 43 to 128"),
            ({"redirect_uri": "http://localhost:1455/auth/callback"}, "invalid_grant", "redirect_uri must be the one"),
            ({"code": "ac_unknown"}, "invalid_grant", "unknown authorization code"),
        ],
    )
    def test_is_bound_to_challenge_and_redirect_uri(
        self, fake: FakeOpenAI, http: httpx.Client, changes: dict[str, str], error: str, description: str
    ) -> None:
        answer = http.post(f"{fake.issuer_url}/oauth/token", data=code_form(**{"code": code_of(fake), **changes}))
        assert (answer.status_code, answer.json()["error"]) == (400, error)
        assert answer.json()["error_description"].startswith(description)

    def test_is_good_once_and_a_second_use_ends_the_session(self, fake: FakeOpenAI, http: httpx.Client) -> None:
        form = code_form(code_of(fake))
        first = http.post(f"{fake.issuer_url}/oauth/token", data=form).json()
        assert http.post(f"{fake.issuer_url}/oauth/token", data=form).json()["error"] == "invalid_grant"
        answer = http.post(f"{fake.issuer_url}/oauth/token", json=refresh(first["refresh_token"]))
        assert answer.json()["error"]["code"] == "refresh_token_invalidated"

    def test_expires(self, fake: FakeOpenAI, http: httpx.Client) -> None:
        form = code_form(code_of(fake))
        fake.control.clock(601)
        answer = http.post(f"{fake.issuer_url}/oauth/token", data=form)
        assert answer.json()["error_description"] == "the authorization code has expired"


class TestTokenRequest:
    def test_form_fields_come_in_the_order_of_the_cli(self, fake: FakeOpenAI, http: httpx.Client) -> None:
        form = code_form(code_of(fake))
        reordered = dict(reversed(form.items()))
        answer = http.post(f"{fake.issuer_url}/oauth/token", data=reordered)
        assert answer.status_code == 400
        assert answer.json()["error_description"].startswith("form fields must be grant_type, client_id, code")

    @pytest.mark.parametrize(
        "request_, code",
        [
            pytest.param({"content": b"{"}, "invalid_request", id="no content type"),
            pytest.param({"content": b"{", "headers": {"content-type": "application/json"}}, "invalid_request", id="not JSON"),
            pytest.param({"json": [1]}, "invalid_request", id="not an object"),
            pytest.param({"json": without(refresh("rt"), "client_id")}, "invalid_request", id="no client_id"),
            pytest.param({"json": refresh("rt", client_id="app_other")}, "invalid_client", id="another client"),
            pytest.param({"json": refresh("rt", scope="openid")}, "invalid_request", id="with a scope"),
            pytest.param({"json": refresh("rt", refresh_reason="bored")}, "invalid_request", id="unknown reason"),
            pytest.param({"json": refresh("rt", refresh_token=7)}, "invalid_request", id="token not a string"),
            pytest.param({"json": refresh("rt", grant_type="password")}, "unsupported_grant_type", id="another grant"),
        ],
    )
    def test_refresh_is_json_with_the_keys_of_the_cli(
        self, fake: FakeOpenAI, http: httpx.Client, request_: dict[str, Any], code: str
    ) -> None:
        answer = http.post(f"{fake.issuer_url}/oauth/token", **request_)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)

    def test_refresh_is_not_a_form(self, fake: FakeOpenAI, http: httpx.Client) -> None:
        answer = http.post(f"{fake.issuer_url}/oauth/token", data=refresh("rt"))
        assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")


class TestRefresh:
    def test_rotates(self, fake: FakeOpenAI, http: httpx.Client, tokens: dict[str, Any]) -> None:
        answer = http.post(f"{fake.issuer_url}/oauth/token", json=refresh(tokens["refresh_token"])).json()
        current = fake.control.current("ada@example.com")
        assert answer["refresh_token"] == current.refresh_token != tokens["refresh_token"]
        assert answer["access_token"] == current.access_token != tokens["access_token"]

    def test_a_spent_token_is_reuse_and_the_session_goes_on(
        self, fake: FakeOpenAI, http: httpx.Client, tokens: dict[str, Any]
    ) -> None:
        fresh = http.post(f"{fake.issuer_url}/oauth/token", json=refresh(tokens["refresh_token"])).json()
        again = http.post(f"{fake.issuer_url}/oauth/token", json=refresh(tokens["refresh_token"]))
        assert (again.status_code, again.json()["error"]["code"]) == (401, "refresh_token_reused")
        assert http.post(f"{fake.issuer_url}/oauth/token", json=refresh(fresh["refresh_token"])).status_code == 200
        counts = fake.control.counts()
        assert (counts.refreshes, counts.reuses, counts.grants) == (3, 1, {"refresh_token": 2})

    def test_reuse_can_be_made_to_end_the_session(self, fake: FakeOpenAI, http: httpx.Client, tokens: dict[str, Any]) -> None:
        fake.control.settings(reuse_revokes_session=True)
        fresh = http.post(f"{fake.issuer_url}/oauth/token", json=refresh(tokens["refresh_token"])).json()
        http.post(f"{fake.issuer_url}/oauth/token", json=refresh(tokens["refresh_token"]))
        answer = http.post(f"{fake.issuer_url}/oauth/token", json=refresh(fresh["refresh_token"]))
        assert answer.json()["error"]["code"] == "refresh_token_invalidated"

    def test_unknown_revoked_and_expired_tokens_are_told_apart(
        self, fake: FakeOpenAI, http: httpx.Client, tokens: dict[str, Any]
    ) -> None:
        def code(token: str) -> str:
            answer = http.post(f"{fake.issuer_url}/oauth/token", json=refresh(token))
            assert answer.status_code == 401
            return str(answer.json()["error"]["code"])

        assert code("rt_made_up") == "refresh_token_invalidated"
        fake.control.clock(366 * 86400)
        assert code(tokens["refresh_token"]) == "refresh_token_expired"
        fake.control.revoke("refresh", "ada@example.com")
        assert code(tokens["refresh_token"]) == "refresh_token_invalidated"

    def test_lifetimes_count_from_now_on(self, fake: FakeOpenAI, http: httpx.Client, tokens: dict[str, Any]) -> None:
        fake.control.lifetime(access=30)
        answer = http.post(f"{fake.issuer_url}/oauth/token", json=refresh(tokens["refresh_token"])).json()
        claims = claims_of(answer["access_token"])
        assert claims["exp"] - claims["iat"] == answer["expires_in"] == 30


class TestApiKeyExchange:
    def test_fails_for_an_account_without_an_organisation(
        self, fake: FakeOpenAI, http: httpx.Client, tokens: dict[str, Any]
    ) -> None:
        answer = http.post(f"{fake.issuer_url}/oauth/token", data=EXCHANGE | {"subject_token": tokens["id_token"]})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_subject_token")

    def test_mints_a_key_that_the_platform_takes(self, fake: FakeOpenAI, http: httpx.Client, tokens: dict[str, Any]) -> None:
        fake.control.settings(api_key_exchange=True)
        answer = http.post(f"{fake.issuer_url}/oauth/token", data=EXCHANGE | {"subject_token": tokens["id_token"]})
        key = answer.json()["access_token"]
        assert key in fake.control.tokens("api_key")
        assert http.get(f"{fake.platform_url}/v1/models", headers={"authorization": f"Bearer {key}"}).status_code == 200


class TestRevoke:
    def test_of_a_refresh_token_ends_the_session(
        self, fake: FakeOpenAI, http: httpx.Client, tokens: dict[str, Any], ada: dict[str, str]
    ) -> None:
        body = {"token": tokens["refresh_token"], "token_type_hint": "refresh_token", "client_id": CLIENT_ID}
        assert http.post(f"{fake.issuer_url}/oauth/revoke", json=body).status_code == 200
        answer = http.post(f"{fake.backend_url}/responses", json=plain(), headers=ada)
        assert answer.json()["error"]["code"] == "token_revoked"
        answer = http.post(f"{fake.issuer_url}/oauth/token", json=refresh(tokens["refresh_token"]))
        assert answer.json()["error"]["code"] == "refresh_token_invalidated"
        assert fake.control.counts().revocations == 1

    def test_of_an_access_token_is_of_that_alone(self, fake: FakeOpenAI, http: httpx.Client, tokens: dict[str, Any]) -> None:
        body = {"token": tokens["access_token"], "token_type_hint": "access_token"}
        assert http.post(f"{fake.issuer_url}/oauth/revoke", json=body).status_code == 200
        answer = http.post(f"{fake.issuer_url}/oauth/token", json=refresh(tokens["refresh_token"]))
        assert answer.status_code == 200

    def test_of_an_unknown_token_is_no_error(self, fake: FakeOpenAI, http: httpx.Client) -> None:
        body = {"token": "rt_made_up", "token_type_hint": "refresh_token", "client_id": CLIENT_ID}
        assert http.post(f"{fake.issuer_url}/oauth/revoke", json=body).status_code == 200

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param({"token": "t", "token_type_hint": "refresh_token"}, id="refresh token without client_id"),
            pytest.param({"token": "t", "token_type_hint": "access_token", "client_id": CLIENT_ID}, id="access token with it"),
            pytest.param({"token": "t", "token_type_hint": "id_token"}, id="another hint"),
        ],
    )
    def test_has_the_shape_of_the_cli(self, fake: FakeOpenAI, http: httpx.Client, body: dict[str, str]) -> None:
        assert http.post(f"{fake.issuer_url}/oauth/revoke", json=body).status_code == 400


def test_every_secret_is_on_record(fake: FakeOpenAI, http: httpx.Client, tokens: dict[str, Any]) -> None:
    fake.control.settings(api_key_exchange=True)
    code = code_of(fake)
    signed_in = http.post(f"{fake.issuer_url}/oauth/token", data=code_form(code)).json()
    key = http.post(f"{fake.issuer_url}/oauth/token", data=EXCHANGE | {"subject_token": signed_in["id_token"]}).json()
    secrets = [code, VERIFIER, key["access_token"]]
    for held in (tokens, signed_in):
        secrets += [held["access_token"], held["refresh_token"], held["id_token"]]
    assert set(secrets) == set(fake.control.tokens())
    assert all("SENTINEL" in secret for secret in fake.control.tokens("refresh", "code", "api_key"))
