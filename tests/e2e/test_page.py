"""The page's endpoints over HTTP: signing in with a device code, the last calls, and who may ask for what."""

import base64
import hashlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.client import CLIENT_KEY, ask, error, post, said
from tests.e2e.conftest import options_for, write_account
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.proxy import RunningProxy, running_proxy

ALICE, BOB = "alice@example.com", "bob@example.com"
FROM_THE_PAGE = {"x-codex-page": "1"}


@pytest.fixture
def folder(home: Path) -> Iterator[Path]:
    """Where the shared proxy keeps its accounts. Nobody is signed in, before and afterwards."""
    accounts = home / ".codex-mitm/accounts"

    def clear() -> None:
        for file in accounts.glob("*/*"):
            file.unlink()

    clear()
    yield accounts
    clear()


@pytest.fixture
def nobody(shared_proxy: RunningProxy, control: Control, folder: Path) -> Iterator[RunningProxy]:
    """The shared proxy without an account; OpenAI wants to be asked once a second. No sign-in is left over for the next test."""
    control.settings(device_interval="1")
    yield shared_proxy
    for id in started:
        call(shared_proxy, "DELETE", f"/{id}")
    started.clear()


started: list[str] = []

LISTED = "https://chat.example"


@pytest.fixture(scope="module")
def strict(openai: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    """Its accounts are set, it records nothing, and the pages of one other site may use it."""
    folder = tmp_path_factory.mktemp("strict")
    account = write_account(folder / "store/auth.json", openai.control.login())
    (folder / "policy.yaml").write_text(f'origins: ["{LISTED}"]\n')
    own = {"codex_accounts": str(account), "codex_traffic": "", "codex_policy": str(folder / "policy.yaml")}
    with running_proxy(folder, options_for(openai, **own)) as proxy:
        yield proxy


def call(proxy: RunningProxy, method: str, path: str = "", body: Any = None, **headers: str) -> httpx.Response:
    content = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    url = f"{proxy.origin}/codex/sign-in{path}"
    answer = httpx.request(method, url, content=content, headers=FROM_THE_PAGE | headers, trust_env=False, timeout=30)
    if method == "POST" and answer.status_code == 200:
        started.append(answer.json()["id"])
    return answer


def begin(proxy: RunningProxy, **asked: Any) -> dict[str, Any]:
    answer = call(proxy, "POST", body=asked)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def outcome(proxy: RunningProxy, sign_in: dict[str, Any], timeout: float = 20.0) -> dict[str, Any]:
    deadline = time.monotonic() + timeout
    while (told := call(proxy, "GET", f"/{sign_in['id']}").json())["state"] == "waiting":
        assert time.monotonic() < deadline, "the sign-in does not end"
        time.sleep(0.05)
    return dict(told)


def standing(proxy: RunningProxy) -> dict[str, str]:
    accounts = httpx.get(f"{proxy.origin}/codex/usage", trust_env=False, timeout=20).json()["accounts"]
    return {account["name"]: account["state"] for account in accounts}


def until_standing(proxy: RunningProxy, name: str, state: str, timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while (found := standing(proxy)).get(name) != state:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


# -- signing in


def test_who_signs_in_serves_without_a_restart(nobody: RunningProxy, control: Control) -> None:
    assert error(post(nobody.url))["code"] == "login_required"
    invitation = begin(nobody, account="default")
    assert set(invitation) == {"object", "id", "account", "user_code", "verification_uri", "expires_in"}
    assert invitation["verification_uri"].endswith("/codex/device") and 800 < invitation["expires_in"] <= 900
    assert call(nobody, "GET", f"/{invitation['id']}").json()["state"] == "waiting"
    control.approve(invitation["user_code"], ALICE)
    told = outcome(nobody, invitation)
    assert told["state"] == "done" and told["account"] == "default" and told["email"] == ALICE
    assert standing(nobody) == {"default": "serving"}
    assert said(post(nobody.url)) == "You said: hello there"


def test_a_second_account_under_a_name_of_its_own(nobody: RunningProxy, control: Control, folder: Path) -> None:
    write_account(folder / "default/auth.json", control.login(ALICE))
    invitation = begin(nobody, account="bob-2.work")
    control.approve(invitation["user_code"], BOB)
    assert outcome(nobody, invitation)["email"] == BOB
    assert standing(nobody) == {"default": "serving", "bob-2.work": "serving"}
    assert said(post(nobody.url, headers={"x-codex-account": "bob-2.work"})) == "You said: hello there"


@pytest.mark.slow
def test_a_dead_sign_in_is_mended_by_its_owner(nobody: RunningProxy, control: Control, folder: Path) -> None:
    write_account(folder / "default/auth.json", control.login(ALICE))
    control.revoke("all", ALICE)
    answer = post(nobody.url, headers={"x-codex-account": "default"})
    assert answer.status_code == 401 and standing(nobody)["default"] == "out"
    invitation = begin(nobody)
    control.approve(invitation["user_code"], ALICE)
    assert outcome(nobody, invitation)["state"] == "done"
    assert standing(nobody)["default"] == "serving", "it shows before anybody has sent a request"
    assert said(post(nobody.url)) == "You said: hello there"


@pytest.mark.slow
def test_what_is_shown_of_an_account_is_true_before_a_request_finds_out(
    nobody: RunningProxy, control: Control, folder: Path
) -> None:
    """Its sign-in is dead; then it is mended in a terminal."""
    path = write_account(folder / "forgotten/auth.json", control.login(BOB, lifetime=10, issued_ago=100))
    control.revoke("all", BOB)
    until_standing(nobody, "forgotten", "out")
    write_account(path, control.login(BOB))
    until_standing(nobody, "forgotten", "serving")
    assert control.seen("backend", "responses") == []


def test_a_refusal_at_openai_is_told(nobody: RunningProxy, control: Control, folder: Path) -> None:
    invitation = begin(nobody)
    control.deny(invitation["user_code"])
    told = outcome(nobody, invitation)
    assert told["state"] == "failed" and told["code"] == "sign_in_failed" and "access_denied" in told["why"]
    assert not list(folder.glob("*/auth.json"))


def test_a_code_that_nobody_types_expires(nobody: RunningProxy, control: Control) -> None:
    invitation = begin(nobody)
    control.clock(1000)
    told = outcome(nobody, invitation)
    assert told["state"] == "failed" and "expired" in told["why"]


def test_a_sign_in_can_be_cancelled(nobody: RunningProxy, control: Control, folder: Path) -> None:
    invitation = begin(nobody)
    assert call(nobody, "DELETE", f"/{invitation['id']}").json()["code"] == "cancelled"
    control.approve(invitation["user_code"])
    polls = len(control.seen("issuer", "device_token"))
    again = begin(nobody, account="other")
    control.deny(again["user_code"])
    outcome(nobody, again)  # in this time the first one would have asked as well
    assert len(control.seen("issuer", "device_token")) <= polls + 2 and not list(folder.glob("*/auth.json"))


def test_somebody_elses_account_is_replaced_only_if_that_is_said(nobody: RunningProxy, control: Control, folder: Path) -> None:
    path = write_account(folder / "default/auth.json", control.login(ALICE))
    before = path.read_bytes()
    invitation = begin(nobody)
    control.approve(invitation["user_code"], BOB)
    told = outcome(nobody, invitation)
    assert told["state"] == "failed" and told["code"] == "account_taken" and ALICE in told["why"] and BOB in told["why"]
    assert path.read_bytes() == before
    invitation = begin(nobody, replace=True)
    control.approve(invitation["user_code"], BOB)
    assert outcome(nobody, invitation)["email"] == BOB
    assert path.read_bytes() != before


def test_an_api_key_is_not_replaced_in_silence(nobody: RunningProxy, control: Control, folder: Path) -> None:
    path = write_account(folder / "default/auth.json", {"auth_mode": "apikey", "OPENAI_API_KEY": control.api_key()})
    before = path.read_bytes()
    invitation = begin(nobody)
    control.approve(invitation["user_code"], BOB)
    assert outcome(nobody, invitation)["code"] == "account_taken" and path.read_bytes() == before


def test_a_page_that_is_loaded_again_shows_the_same_code(nobody: RunningProxy, control: Control) -> None:
    first, again, other = begin(nobody), begin(nobody), begin(nobody, account="other")
    assert again["user_code"] == first["user_code"] and again["id"] == first["id"]
    assert other["user_code"] != first["user_code"]
    control.approve(other["user_code"], BOB)
    control.approve(first["user_code"], ALICE)
    assert (outcome(nobody, first)["email"], outcome(nobody, other)["email"]) == (ALICE, BOB)
    assert standing(nobody) == {"default": "serving", "other": "serving"}


def test_only_a_few_wait_at_a_time(nobody: RunningProxy, control: Control) -> None:
    waiting = [begin(nobody, account=name) for name in ("one", "two", "three")]
    answer = call(nobody, "POST", body={"account": "four"})
    assert answer.status_code == 429 and error(answer)["code"] == "too_many_sign_ins" and answer.headers["retry-after"]
    call(nobody, "DELETE", f"/{waiting[0]['id']}")
    assert call(nobody, "POST", body={"account": "four"}).status_code == 200


@pytest.mark.parametrize(
    "settings, fault, code",
    [
        ({"device_login": False}, None, "sign_in_failed"),
        ({}, {"reset": "before_headers"}, "auth_unavailable"),
        ({}, {"status": 500, "body": "oops"}, "sign_in_failed"),
    ],
    ids=["no device sign-in there", "no answer", "trouble"],
)
def test_openai_gives_no_code(
    settings: dict[str, Any], fault: dict[str, Any] | None, code: str, nobody: RunningProxy, control: Control
) -> None:
    control.settings(**settings)
    if fault:
        control.fault("usercode", fault, times=None)
    answer = call(nobody, "POST", body={})
    assert answer.status_code in (502, 503) and error(answer)["code"] == code


BODIES: dict[str, Any] = {
    "a path": {"account": "../default"},
    "a hidden folder": {"account": ".ssh"},
    "an empty name": {"account": ""},
    "no string": {"account": 3},
    "replace is no switch": {"replace": "yes"},
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_name_that_is_none(body: Any, nobody: RunningProxy, control: Control) -> None:
    answer = call(nobody, "POST", body=body)
    assert answer.status_code == 400 and error(answer)["param"] in ("account", "replace")
    assert control.seen("issuer") == []


def test_what_is_not_there(nobody: RunningProxy) -> None:
    unknown, wrong = call(nobody, "GET", "/nothing"), call(nobody, "PUT")
    assert (unknown.status_code, error(unknown)["code"]) == (404, "no_sign_in")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


def test_accounts_that_are_set_by_an_option_are_not_added_to(strict: RunningProxy, control: Control) -> None:
    answer = call(strict, "POST", body={})
    assert answer.status_code == 409 and "codex_accounts" in error(answer)["message"]
    assert control.seen("issuer", "usercode") == []


# -- other sites in the user's browser


FOREIGN: dict[str, dict[str, str]] = {
    "no header": {"x-codex-page": ""},
    "another origin": {"origin": "http://evil.example"},
    "another port": {"origin": "http://127.0.0.1:1"},
    "a sandboxed frame": {"origin": "null"},
    "an old browser's hint": {"sec-fetch-site": "cross-site"},
    "a neighbour": {"sec-fetch-site": "same-site"},
}


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_other_sites_change_nothing(headers: dict[str, str], method: str, nobody: RunningProxy, control: Control) -> None:
    waiting = begin(nobody)
    path = "" if method == "POST" else f"/{waiting['id']}"
    answer = call(nobody, method, path, body={"account": "evil"}, **headers)
    assert answer.status_code == 403 and error(answer)["code"] in ("origin_not_allowed", "page_header_missing")
    assert call(nobody, "GET", f"/{waiting['id']}").json()["state"] == "waiting"
    assert len(control.seen("issuer", "usercode")) == 1


def test_a_site_that_may_use_the_api_may_not_sign_anybody_in(strict: RunningProxy, control: Control) -> None:
    answers = {origin: call(strict, "POST", body={}, origin=origin) for origin in (LISTED, strict.origin)}
    codes = {origin: error(answer)["code"] for origin, answer in answers.items()}
    assert codes == {LISTED: "origin_not_allowed", strict.origin: "accounts_are_set"}, "its own page gets further"


# -- the last calls


def last_calls(proxy: RunningProxy, query: str = "") -> dict[str, Any]:
    answer = httpx.get(f"{proxy.origin}/codex/calls{query}", trust_env=False, timeout=20)
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
    return dict(answer.json())


def test_the_last_calls_are_told_the_newest_first(nobody: RunningProxy, control: Control, folder: Path) -> None:
    write_account(folder / "default/auth.json", control.login(ALICE))
    answers = [post(nobody.url), post(nobody.url, ask(model="gpt-0-of-nobody"))]
    told = last_calls(nobody, "?limit=2")
    assert told["recording"] and told["why"] is None
    assert [call["id"] for call in told["calls"]] == [answer.headers["x-request-id"] for answer in reversed(answers)]
    failed, served = told["calls"]
    assert failed["failed"] and failed["status"] == answers[1].status_code
    assert not served["failed"] and served["tokens"]["output"] > 0 and served["account"] == "default"
    # Which reason is told depends on whether the accounts of the tests before are forgotten yet, which takes five seconds.
    assert any("default" in sentence for sentence in served["explanation"]), served["explanation"]
    assert "What to do" in failed["explanation"][-1]
    assert len(last_calls(nobody, "?limit=1")["calls"]) == 1


@pytest.mark.parametrize("query", ["?limit=0", "?limit=101", "?limit=-1", "?limit=x", "?page=2"])
def test_a_limit_that_is_none(query: str, nobody: RunningProxy) -> None:
    answer = httpx.get(f"{nobody.origin}/codex/calls{query}", trust_env=False)
    assert answer.status_code == 400 and "limit" in error(answer)["message"]


def test_without_a_record_the_way_to_one_is_told(strict: RunningProxy, control: Control) -> None:
    told = last_calls(strict)
    assert not told["recording"] and told["calls"] == [] and "codex_traffic=FILE" in told["why"]


# -- the page itself


def test_the_page_loads_nothing_from_anywhere(nobody: RunningProxy) -> None:
    answer = httpx.get(nobody.origin, trust_env=False)
    assert answer.status_code == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-frame-options"] == "DENY" and answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer" and answer.headers["x-content-type-options"] == "nosniff"
    policy = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'" and policy["connect-src"] == "'self'" and policy["frame-ancestors"] == "'none'"
    for tag in ("script", "style"):
        [text] = re.findall(rf"<{tag}>(.*?)</{tag}>", answer.text, re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    # Namespaces and a client's own setting are names, and are not asked for.
    links = set(re.findall(r"https?://[^\s\"'`]+", answer.text)) - {"http://www.w3.org/2000/svg", "https://opencode.ai/config.json"}
    assert {link for link in links if "$" not in link and "oauth-proxy" not in link} == set()


def test_the_page_is_the_same_for_everybody(nobody: RunningProxy, control: Control, folder: Path) -> None:
    empty = httpx.get(f"{nobody.origin}/?a=query", trust_env=False).text
    write_account(folder / "default/auth.json", control.login(ALICE))
    post(nobody.url)
    assert httpx.get(nobody.origin, trust_env=False).text == empty
    head = httpx.head(nobody.origin, trust_env=False)
    assert head.status_code == 200 and head.content == b"" and head.headers["x-frame-options"] == "DENY"


def test_where_it_is_stands_in_the_log(nobody: RunningProxy) -> None:
    assert f"http://127.0.0.1:{nobody.port}/\n" in nobody.log()


@pytest.mark.slow
def test_with_client_keys_the_page_comes_and_the_data_does_not(openai: FakeOpenAI, control: Control, tmp_path: Path) -> None:
    key = "cmx-of-the-test-0123456789"
    with running_proxy(tmp_path, options_for(openai), env={"PROXY_API_KEY": key}) as proxy:
        assert httpx.get(proxy.origin, trust_env=False).status_code == 200
        for asked in ("GET /codex/usage", "GET /codex/calls", "POST /codex/sign-in", "GET /codex/sign-in/x"):
            method, _, path = asked.partition(" ")
            answer = httpx.request(method, f"{proxy.origin}{path}", headers=FROM_THE_PAGE, trust_env=False)
            assert answer.status_code == 401 and error(answer)["code"] == "invalid_api_key", path
        assert control.seen("issuer") == []
        bearer = {"authorization": f"Bearer {key}"}
        assert call(proxy, "POST", body={}, **bearer).status_code == 200
        deadline, why = time.monotonic() + 15, None
        while why is None:  # the recorder may be just writing, and makes a new file then
            assert time.monotonic() < deadline, "the record was spoiled, and nobody said so"
            # Meanwhile something befalls the record.
            for file in tmp_path.glob(".codex-mitm/traffic.db*"):
                file.unlink(missing_ok=True)
            (tmp_path / ".codex-mitm/traffic.db").write_text("this is no database\n" * 100)
            why = httpx.get(f"{proxy.origin}/codex/calls", headers=bearer, trust_env=False).json()["why"]
        assert "traffic.db" in why
        assert proxy.stop() == 0 and "Traceback" not in proxy.log(), "a sign-in that waits keeps no proxy from ending"
    started.clear()


def test_no_secret_is_in_any_answer(nobody: RunningProxy, control: Control, folder: Path) -> None:
    invitation = begin(nobody)
    control.approve(invitation["user_code"], ALICE)
    told = outcome(nobody, invitation)
    post(nobody.url)
    post(nobody.url, content=b"no JSON at all")
    asked = [f"{nobody.origin}{path}" for path in ("/", "/codex/calls", "/codex/usage")]
    shown = [json.dumps(invitation), json.dumps(told), *(httpx.get(url, trust_env=False, timeout=20).text for url in asked)]
    document = json.loads((folder / "default/auth.json").read_text())
    device = control.seen("issuer", "device_token")[-1].json["device_auth_id"]
    secrets = [*control.tokens(), CLIENT_KEY, device, document["tokens"]["account_id"]]
    assert len(secrets) > 6
    assert [secret for secret in secrets for text in [*shown, nobody.log()] if secret in text] == []
