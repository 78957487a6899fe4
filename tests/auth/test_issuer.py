"""The issuer over real sockets. What answers mean is tested in test_grants and test_device."""

import secrets
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from auth import pkce
from auth.authjson import AuthDocument
from auth.device import DeviceCode, Granted, Wait
from auth.errors import BadSetting, LoginFailed, TryAgainLater
from auth.grants import CLIENT_ID, Refused, TokenGrant
from auth.issuer import Issuer
from auth.outbound import Outbound
from tests.auth.minting import NOON
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI


@pytest.fixture
def refresh_token(control: Control) -> str:
    return str(control.login()["tokens"]["refresh_token"])


async def consent(issuer: Issuer, control: Control) -> tuple[str, str, str]:
    """A browser in which the user agrees: (code, verifier, redirect_uri)."""
    control.settings(instant_consent=True)
    verifier, state = pkce.make_verifier(secrets.token_bytes(64)), pkce.make_state(secrets.token_bytes(32))
    redirect = pkce.redirect_uri(1455)
    url = pkce.authorize_url(
        issuer.url, client_id=CLIENT_ID, redirect=redirect, verifier=verifier, state=state, originator="codex_mitm"
    )
    async with httpx.AsyncClient(trust_env=False) as browser:
        location = (await browser.get(url)).headers["location"]
    callback = pkce.parse_callback(urlsplit(location).query, state)
    assert isinstance(callback, pkce.Code)
    assert parse_qs(urlsplit(location).query)["state"] == [state]
    return callback.code, verifier, redirect


async def test_a_browser_login(issuer: Issuer, control: Control) -> None:
    grant = await issuer.exchange_code(*await consent(issuer, control))
    login = AuthDocument.from_login(grant, issuer=issuer.url, client_id=CLIENT_ID, now=NOON)
    assert (login.claims.email, login.bearer) == ("user@example.com", control.current().access_token)
    assert login.account_id == login.claims.account_id


async def test_a_code_is_good_once(issuer: Issuer, control: Control) -> None:
    code = await consent(issuer, control)
    await issuer.exchange_code(*code)
    with pytest.raises(LoginFailed, match=r"refuses the code \(invalid_grant\)"):
        await issuer.exchange_code(*code)


async def test_a_region_that_may_not_sign_in_is_not_asked_to_wait(issuer: Issuer, control: Control) -> None:
    control.fault("token", status=403, body={"error": {"code": "unsupported_country_region_territory"}})
    with pytest.raises(LoginFailed, match="403, unsupported_country_region_territory"):
        await issuer.exchange_code("c", "v", "r")


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_issuer_that_is_busy_may_be_asked_again(issuer: Issuer, control: Control, status: int) -> None:
    control.fault("token", status=status, headers={"retry-after": "7"})
    with pytest.raises(TryAgainLater) as later:
        await issuer.exchange_code("c", "v", "r")
    assert later.value.retry_after == 7


async def test_a_refresh_rotates(issuer: Issuer, control: Control, refresh_token: str) -> None:
    grant = await issuer.refresh(refresh_token, "proactive_expiry")
    current = control.current()
    assert grant == TokenGrant(current.id_token, current.access_token, current.refresh_token)
    (request,) = control.seen("issuer", "token")
    assert (request.header("originator"), request.header("user-agent")) == ("codex_mitm", "codex_mitm/test")
    assert request.json["refresh_reason"] == "proactive_expiry"


async def test_a_refresh_that_is_refused(issuer: Issuer, refresh_token: str) -> None:
    await issuer.refresh(refresh_token, "scheduled")
    assert await issuer.refresh(refresh_token, "scheduled") == Refused("refresh_token_reused")


@pytest.mark.parametrize(
    ("effect", "why"),
    [
        pytest.param({"reset": "before_headers"}, "no answer from {url} (", id="reset"),
        pytest.param({"reset": "after_headers"}, "no answer from {url} (ReadError)", id="reset-in-the-answer"),
        pytest.param({"lose_answer": True}, "no answer from {url} (RemoteProtocolError)", id="answer-lost"),
        pytest.param({"garbage": True}, "no answer from {url} (RemoteProtocolError)", id="garbage"),
        pytest.param({"cut_after_bytes": 40}, "no answer from {url} (RemoteProtocolError)", id="cut"),
        pytest.param({"bad_json": True}, "the issuer answered 200 with something that is not a JSON object", id="half-json"),
        pytest.param({"html": 403}, "the issuer answered 403, without an error code", id="cloudflare"),
        pytest.param({"redirect": "http://127.0.0.1:9/"}, "the issuer answered 307, without an error code", id="redirect"),
        pytest.param(
            {"status": 200, "body": "x" * (1 << 20) + "x"}, "the issuer's answer is larger than 1048576 bytes", id="large"
        ),
    ],
)
async def test_whatever_is_no_verdict_is_for_later(
    issuer: Issuer, control: Control, refresh_token: str, effect: dict[str, Any], why: str
) -> None:
    control.fault("token", effect)
    with pytest.raises(TryAgainLater) as later:
        await issuer.refresh(refresh_token, "scheduled")
    assert later.value.why.startswith(why.format(url=issuer.url))
    assert "SENTINEL" not in str(later.value)


async def test_an_issuer_that_is_not_there(refresh_token: str) -> None:
    issuer = Issuer("http://127.0.0.1:9", Outbound(), "ua")
    with pytest.raises(TryAgainLater, match=r"no answer from http://127\.0\.0\.1:9 \(ConnectError\)"):
        await issuer.refresh(refresh_token, "scheduled")
    await issuer.aclose()


async def test_an_answer_that_trickles_is_given_up(fake: FakeOpenAI, refresh_token: str) -> None:
    fake.control.fault("token", delay=2)
    issuer = Issuer(fake.issuer_url, Outbound(), "ua", total_timeout=0.2)
    with pytest.raises(TryAgainLater, match="TimeoutError"):
        await issuer.refresh(refresh_token, "scheduled")
    await issuer.aclose()


@pytest.mark.parametrize("enabled", [True, False])
async def test_an_api_key_is_a_best_effort(issuer: Issuer, control: Control, enabled: bool) -> None:
    control.settings(api_key_exchange=enabled)
    key = await issuer.api_key_for(str(control.login()["tokens"]["id_token"]))
    assert (key in control.tokens("api_key")) if enabled else key is None


async def test_an_api_key_that_the_network_kept(issuer: Issuer, control: Control) -> None:
    control.fault("token", reset="before_headers")
    assert await issuer.api_key_for("i") is None


async def test_a_device_login(issuer: Issuer, control: Control) -> None:
    shown = await issuer.device_start()
    assert shown.verification_url == f"{issuer.url}/codex/device"
    assert await issuer.device_poll(shown, shown.interval, 0) == Wait(shown.interval)
    control.approve(shown.user_code)
    granted = await issuer.device_poll(shown, shown.interval, 5)
    assert isinstance(granted, Granted)
    grant = await issuer.exchange_code(granted.code, granted.verifier, issuer.device_redirect_uri)
    assert grant.access_token == control.current().access_token


async def test_a_device_login_that_is_switched_off(issuer: Issuer, control: Control) -> None:
    control.settings(device_login=False)
    with pytest.raises(LoginFailed, match="device login is not enabled"):
        await issuer.device_start()


async def test_a_poll_that_gets_no_answer_is_for_later(issuer: Issuer, control: Control) -> None:
    control.fault("issuer", lose_answer=True)
    with pytest.raises(TryAgainLater):
        await issuer.device_poll(DeviceCode("AB-CD", "", 5, "d"), 5, 0)


@pytest.mark.parametrize("hint", ["refresh_token", "access_token"])
async def test_a_token_is_revoked(issuer: Issuer, control: Control, hint: str) -> None:
    token = control.login()["tokens"][hint]
    assert await issuer.revoke(token, hint)
    assert control.counts().revocations == 1


@pytest.mark.parametrize("effect", [{"status": 500}, {"lose_answer": True}])
async def test_a_revocation_that_fails_is_told(issuer: Issuer, control: Control, effect: dict[str, Any]) -> None:
    control.fault("revoke", effect)
    assert not await issuer.revoke("t")


@pytest.mark.parametrize("url", ["https://auth.openai.com", "https://auth.openai.com/", "http://127.0.0.1:80", "http://localhost"])
async def test_urls_of_an_issuer(url: str) -> None:
    issuer = Issuer(url, Outbound(), "ua")
    assert not issuer.url.endswith("/")
    await issuer.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "http://auth.openai.com",
        "http://127.0.0.1.example",
        "ftp://localhost",
        "auth.openai.com",
        "",
        "https://",
        "https://u:p@h",
        "https://h?x=1",
    ],
)
def test_urls_that_no_token_is_sent_to(url: str) -> None:
    with pytest.raises(BadSetting, match="codex_issuer_url"):
        Issuer(url, Outbound(), "ua")
