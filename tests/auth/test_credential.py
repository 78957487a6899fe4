import math
from typing import Any

import pytest

from auth.credential import Held, Need, hold
from tests.auth.minting import NOON, OPENAI_AUTH, chatgpt_fields, document, mint_jwt

HOUR = 3600.0


def held(seconds: float = HOUR, **more: Any) -> Held:
    return hold("work", document(chatgpt_fields(access=mint_jwt(iat=NOON, exp=NOON + seconds), **more)), "stamp")


def test_the_credential_of_a_login() -> None:
    access = mint_jwt(exp=NOON, **{OPENAI_AUTH: {"chatgpt_account_is_fedramp": True}})
    credential = hold("work", document(chatgpt_fields(access=access, OPENAI_API_KEY="key")), None).credential
    assert (credential.kind, credential.account, credential.bearer) == ("chatgpt", "work", access)
    assert (credential.account_id, credential.fedramp, credential.api_key) == ("acc_SENTINEL", True, "key")


def test_the_credential_of_an_api_key_never_ends_and_names_no_account_id() -> None:
    found = hold("key", document({"auth_mode": "apikey", "OPENAI_API_KEY": "key", "tokens": {"account_id": "acc"}}), None)
    assert (found.credential.kind, found.credential.bearer, found.credential.account_id) == ("api_key", "key", None)
    assert found.validity.stale_at == math.inf


@pytest.mark.parametrize(
    ("need", "seconds", "met", "will_do"),
    [
        pytest.param(Need(), HOUR - 301, True, True, id="fresh"),
        pytest.param(Need(), HOUR - 300, False, True, id="stale"),
        pytest.param(Need(), HOUR, False, False, id="over"),
        pytest.param(Need(ahead=True), HOUR - 901, True, True, id="before-the-window"),
        pytest.param(Need(ahead=True), HOUR - 900, False, True, id="ahead"),
        pytest.param(Need(rejected="another"), 0, True, True, id="another-was-rejected"),
    ],
)
def test_needs(need: Need, seconds: float, met: bool, will_do: bool) -> None:
    assert need.is_met_by(held(), NOON + seconds) is met
    assert need.can_do_with(held(), NOON + seconds) is will_do


def test_a_rejected_token_is_of_no_use() -> None:
    token = held()
    need = Need(rejected=token.credential.bearer)
    assert not need.is_met_by(token, NOON)
    assert not need.can_do_with(token, NOON)


@pytest.mark.parametrize(("need", "reason"), [(Need(), "proactive_expiry"), (Need(rejected="t"), "unauthorized_recovery")])
def test_the_reason_is_one_that_the_issuer_knows(need: Need, reason: str) -> None:
    assert need.reason == reason


@pytest.mark.parametrize(("seconds", "recent"), [(-1, False), (0, True), (9.9, True), (10, False)])
def test_was_refreshed_within(seconds: float, recent: bool) -> None:
    assert held().was_refreshed_within(10, NOON + seconds) is recent


def test_memory_goes_on_top_of_what_the_file_says() -> None:
    ours = held()
    theirs = document(chatgpt_fields(access="old", more="edited"))
    merged = ours.on_top_of(theirs)
    assert merged.access_token == ours.document.access_token
    assert b'"edited"' in merged.dump()


def test_no_secret_is_in_a_repr() -> None:
    found = hold("work", document(chatgpt_fields(OPENAI_API_KEY="key_SENTINEL")), None, "rt_SENTINEL")
    assert "SENTINEL" not in repr(found) + repr(found.credential) + repr(Need(rejected="SENTINEL"))
