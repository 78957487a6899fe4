"""Sign-in with a code typed elsewhere."""

from typing import Any

import httpx
import pytest

from tests.fakes.control import ControlError
from tests.fakes.identity import CLIENT_ID
from tests.fakes.openai import FakeOpenAI
from tests.fakes_test.bodies import code_form


def start(fake: FakeOpenAI, http: httpx.Client) -> dict[str, str]:
    answer = http.post(f"{fake.issuer_url}/api/accounts/deviceauth/usercode", json={"client_id": CLIENT_ID})
    assert answer.status_code == 200
    document: dict[str, str] = answer.json()
    return document


def poll(fake: FakeOpenAI, http: httpx.Client, started: dict[str, str]) -> httpx.Response:
    body = {name: started[name] for name in ("device_auth_id", "user_code")}
    return http.post(f"{fake.issuer_url}/api/accounts/deviceauth/token", json=body)


def redeem(fake: FakeOpenAI, http: httpx.Client, granted: dict[str, Any]) -> httpx.Response:
    form = code_form(
        granted["authorization_code"],
        redirect_uri=f"{fake.issuer_url}/deviceauth/callback",
        verifier=granted["code_verifier"],
    )
    return http.post(f"{fake.issuer_url}/oauth/token", data=form)


def test_interval_is_a_string(fake: FakeOpenAI, http: httpx.Client) -> None:
    assert start(fake, http)["interval"] == "5"
    fake.control.settings(device_interval="0")
    assert start(fake, http)["interval"] == "0"


def test_pending_until_approved_then_tokens(fake: FakeOpenAI, http: httpx.Client) -> None:
    started = start(fake, http)
    assert poll(fake, http, started).status_code == 403
    fake.control.approve(started["user_code"], email="grace@example.com")
    granted = poll(fake, http, started).json()
    # An answer that was lost can be asked for again.
    assert poll(fake, http, started).json() == granted
    answer = redeem(fake, http, granted)
    assert answer.status_code == 200
    assert answer.json()["refresh_token"] == fake.control.current("grace@example.com").refresh_token
    assert granted["code_verifier"] in fake.control.tokens("code_verifier")


def test_code_is_for_the_redirect_uri_of_the_device(fake: FakeOpenAI, http: httpx.Client) -> None:
    started = start(fake, http)
    fake.control.approve(started["user_code"])
    granted = poll(fake, http, started).json()
    form = code_form(granted["authorization_code"], verifier=granted["code_verifier"])
    answer = http.post(f"{fake.issuer_url}/oauth/token", data=form)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize("decision, code", [("approve", None), ("deny", "access_denied")])
def test_the_page_decides_too(fake: FakeOpenAI, http: httpx.Client, decision: str, code: str | None) -> None:
    started = start(fake, http)
    page = http.get(f"{fake.issuer_url}/codex/device", params={"user_code": started["user_code"]})
    assert started["user_code"] in page.text
    form = {"user_code": started["user_code"].lower(), "decision": decision}
    assert http.post(f"{fake.issuer_url}/codex/device", data=form).status_code == 200
    answer = poll(fake, http, started)
    assert answer.status_code == (200 if code is None else 400)
    assert code is None or answer.json()["error"]["code"] == code


def test_denied_and_expired_end_the_wait(fake: FakeOpenAI, http: httpx.Client) -> None:
    denied, late = start(fake, http), start(fake, http)
    fake.control.deny(denied["user_code"])
    assert poll(fake, http, denied).json()["error"]["code"] == "access_denied"
    fake.control.clock(901)
    answer = poll(fake, http, late)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "expired_token")
    with pytest.raises(ControlError, match="no such user_code"):
        fake.control.approve(late["user_code"])


def test_ids_that_do_not_belong_together_are_fatal(fake: FakeOpenAI, http: httpx.Client) -> None:
    one, other = start(fake, http), start(fake, http)
    assert poll(fake, http, one | {"user_code": other["user_code"]}).status_code == 400


def test_can_be_off(fake: FakeOpenAI, http: httpx.Client) -> None:
    fake.control.settings(device_login=False)
    answer = http.post(f"{fake.issuer_url}/api/accounts/deviceauth/usercode", json={"client_id": CLIENT_ID})
    assert answer.status_code == 404


def test_polling_before_the_interval_is_counted(fake: FakeOpenAI, http: httpx.Client) -> None:
    started = start(fake, http)
    poll(fake, http, started)
    assert fake.control.counts().hasty_device_polls == 0
    poll(fake, http, started)
    assert fake.control.counts().hasty_device_polls == 1
    fake.control.clock(5)
    poll(fake, http, started)
    assert fake.control.counts().hasty_device_polls == 1
