import math
from typing import Any

import pytest

from auth.tokens import Claims, Validity, read_claims_unverified, validity
from tests.auth.minting import NOON, OPENAI_AUTH, mint_jwt

HOUR, DAY = 3600.0, 86400.0


def test_claims() -> None:
    token = mint_jwt(
        email="user@example.com",
        iat=NOON,
        exp=NOON + HOUR,
        **{
            OPENAI_AUTH: {
                "chatgpt_account_id": "acc",
                "chatgpt_plan_type": "plus",
                "chatgpt_user_id": "u1",
                "user_id": "u2",
                "chatgpt_account_is_fedramp": True,
            }
        },
    )
    assert read_claims_unverified(token) == Claims("user@example.com", "plus", "acc", "u1", True, NOON, NOON + HOUR)


def test_claims_at_their_other_places() -> None:
    token = mint_jwt(**{"https://api.openai.com/profile": {"email": "p@example.com"}, OPENAI_AUTH: {"user_id": "u2"}})
    claims = read_claims_unverified(token)
    assert (claims.email, claims.user_id) == ("p@example.com", "u2")


@pytest.mark.parametrize("token", [None, "", "opaque", "a.b.c", "e30.W10.x", "é.é.é"])
def test_a_token_that_says_nothing(token: str | None) -> None:
    assert read_claims_unverified(token) == Claims()


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"exp": "tomorrow"}, id="text"),
        pytest.param({"exp": True}, id="bool"),
        pytest.param({"exp": math.inf}, id="infinite"),
        pytest.param({"exp": math.nan}, id="nan"),
        pytest.param({"exp": [1]}, id="list"),
        pytest.param({"email": 1, OPENAI_AUTH: "x", "https://api.openai.com/profile": []}, id="wrong-types"),
    ],
)
def test_claims_of_the_wrong_type_are_not_there(claims: dict[str, Any]) -> None:
    assert read_claims_unverified(mint_jwt(**claims)) == Claims()


@pytest.mark.parametrize(
    ("issued", "expires", "refreshed", "ends", "leeway"),
    [
        pytest.param(0, 10 * DAY, 0, 10 * DAY, 300, id="one-clock"),
        pytest.param(HOUR, 10 * DAY + HOUR, 0, 10 * DAY, 300, id="issuer-an-hour-ahead"),
        pytest.param(-HOUR, 10 * DAY - HOUR, 0, 10 * DAY, 300, id="issuer-an-hour-behind"),
        pytest.param(DAY, 2 * DAY, 0, DAY, 300, id="a-day-apart-is-the-clock"),
        pytest.param(DAY + 1, 2 * DAY, 0, 2 * DAY, 300, id="more-than-a-day-is-another-token"),
        pytest.param(-DAY - 1, 2 * DAY, 0, 2 * DAY, 300, id="an-old-token-stored-late"),
        pytest.param(0, 1200, 0, 1200, 300, id="twenty-minutes-have-the-full-leeway"),
        pytest.param(0, 1196, 0, 1196, 299, id="below-that-a-quarter"),
        pytest.param(0, 60, 0, 60, 15, id="a-minute"),
        pytest.param(None, DAY, 0, DAY, 300, id="no-iat"),
        pytest.param(0, DAY, None, DAY, 300, id="no-last-refresh"),
        pytest.param(HOUR, 0, None, 0, 0, id="expired-before-it-was-issued"),
    ],
)
def test_when_a_token_with_exp_ends(
    issued: float | None, expires: float, refreshed: float | None, ends: float, leeway: float
) -> None:
    claims = Claims(issued_at=None if issued is None else NOON + issued, expires_at=NOON + expires)
    found = validity(claims, None if refreshed is None else NOON + refreshed)
    assert found == Validity(NOON + ends - 3 * leeway, NOON + ends - leeway, NOON + ends)


def test_without_exp_a_token_is_stale_after_eight_days_and_never_over() -> None:
    found = validity(Claims(issued_at=NOON), NOON)
    assert found == Validity(NOON + 8 * DAY - 600, NOON + 8 * DAY, math.inf)


def test_without_exp_and_last_refresh_only_a_401_can_tell() -> None:
    assert validity(Claims(), None) == Validity(math.inf, math.inf, math.inf)


@pytest.mark.parametrize(("now", "stale", "over"), [(99, False, False), (100, True, False), (199, True, False), (200, True, True)])
def test_the_boundaries(now: float, stale: bool, over: bool) -> None:
    found = Validity(ahead_at=50, stale_at=100, ends_at=200)
    assert (found.is_stale(now), found.is_over(now)) == (stale, over)
