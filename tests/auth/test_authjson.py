import json
from typing import Any

import pytest

from auth.authjson import AuthDocument, BadDocument
from auth.grants import TokenGrant
from tests.auth.minting import NOON, OPENAI_AUTH, chatgpt_fields, document, mint_jwt


def test_a_document_of_the_cli() -> None:
    found = document(chatgpt_fields(access="a.b.c"))
    assert found.kind == "chatgpt"
    assert (found.bearer, found.refresh_token, found.account_id) == ("a.b.c", "rt_SENTINEL_1", "acc_SENTINEL")
    assert found.last_refresh == NOON
    assert found.claims.email == "user@example.com"


def test_the_account_id_of_a_file_that_has_none_comes_from_the_id_token() -> None:
    fields = chatgpt_fields()
    fields["tokens"]["account_id"] = None
    assert document(fields).account_id == "acc_from_jwt"


def test_an_api_key() -> None:
    found = document({"auth_mode": "apikey", "OPENAI_API_KEY": "key"})
    assert (found.kind, found.bearer, found.refresh_token) == ("api_key", "key", None)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        pytest.param({"OPENAI_API_KEY": "key"}, "api_key", id="key"),
        pytest.param({"OPENAI_API_KEY": "key", "tokens": {"access_token": "a"}}, "api_key", id="key-and-tokens"),
        pytest.param({"OPENAI_API_KEY": None, "tokens": {"access_token": "a"}}, "chatgpt", id="tokens"),
        pytest.param({"auth_mode": None, "tokens": {"access_token": "a"}}, "chatgpt", id="null-mode"),
    ],
)
def test_the_kind_of_an_older_file(fields: dict[str, Any], kind: str) -> None:
    assert document(fields).kind == kind


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        pytest.param(b"", "it is not JSON", id="empty"),
        pytest.param(b"{", "it is not JSON", id="half"),
        pytest.param(b"\xff\xfe\x00", "it is not JSON", id="bytes"),
        pytest.param(b"[" * 100_000, "it is not JSON", id="deep"),
        pytest.param(b'{"x": NaN}', "it is not JSON", id="nan"),
        pytest.param(b"[]", "it is not a JSON object", id="list"),
        pytest.param(b"{}", "it holds no tokens.access_token", id="nothing"),
        pytest.param(b'{"tokens": null}', "it holds no tokens.access_token", id="null-tokens"),
        pytest.param(b'{"tokens": []}', "its tokens are not a JSON object", id="tokens-list"),
        pytest.param(b'{"tokens": {"access_token": ""}}', "it holds no tokens.access_token", id="empty-token"),
        pytest.param(b'{"tokens": {"access_token": 7}}', "its access_token is not a string that a header can carry", id="number"),
        pytest.param(
            b'{"tokens": {"access_token": "SENTINEL\\r\\nx: y"}}',
            "its access_token is not a string that a header can carry",
            id="line-break",
        ),
        pytest.param(b'{"auth_mode": "apikey", "OPENAI_API_KEY": null}', "it holds no OPENAI_API_KEY", id="no-key"),
        pytest.param(
            b'{"auth_mode": "agentIdentity"}',
            "its auth_mode is agentIdentity: only chatgpt and apikey are supported",
            id="agent-identity",
        ),
        pytest.param(
            b'{"personal_access_token": "SENTINEL"}',
            "its auth_mode is personalAccessToken: only chatgpt and apikey are supported",
            id="personal-access-token",
        ),
        pytest.param(
            b'{"bedrock_api_key": {}}', "its auth_mode is bedrockApiKey: only chatgpt and apikey are supported", id="bedrock"
        ),
        pytest.param(
            b'{"auth_mode": "SENTINEL"}', "its auth_mode is not known: only chatgpt and apikey are supported", id="unknown-mode"
        ),
        pytest.param(b'{"auth_mode": 7}', "its auth_mode is not known: only chatgpt and apikey are supported", id="odd-mode"),
    ],
)
def test_a_document_that_cannot_be_used_says_why_and_quotes_nothing(raw: bytes, why: str) -> None:
    with pytest.raises(BadDocument) as bad:
        AuthDocument.parse(raw)
    assert str(bad.value) == why


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b'{"tokens": {"access_token": "a"}}', id="plain"),
        pytest.param(b'\xef\xbb\xbf{"tokens": {"access_token": "a"}}', id="byte-order-mark"),
        pytest.param('{"tokens": {"access_token": "a"}}'.encode("utf-16"), id="utf-16"),
    ],
)
def test_the_encodings_that_editors_write(raw: bytes) -> None:
    assert AuthDocument.parse(raw).bearer == "a"


def test_everything_unknown_survives_in_its_place() -> None:
    raw = b"""{
  "zeta": [1, 2.50, -0.0, 12345678901234567890123456789, true, null, "\\u00e9\\ud83d\\ude00"],
  "OPENAI_API_KEY": null,
  "tokens": {
    "unknown": {"b": 1, "a": 2},
    "access_token": "old",
    "refresh_token": "r1"
  },
  "auth_mode": "chatgpt",
  "agent_identity": {"x": {"y": []}}
}"""
    written = AuthDocument.parse(raw).refreshed(TokenGrant(access_token="new"), NOON).dump()
    before, after = json.loads(raw), json.loads(written)
    assert after.pop("last_refresh") == "2026-11-21T12:00:00.000000Z"
    assert after["tokens"].pop("access_token") == "new"
    assert before["tokens"].pop("access_token") == "old"
    assert after == before
    assert list(after) == ["zeta", "OPENAI_API_KEY", "tokens", "auth_mode", "agent_identity"]
    assert list(after["tokens"]) == ["unknown", "refresh_token"]
    assert b"12345678901234567890123456789" in written


def test_the_layout_is_the_one_of_the_cli() -> None:
    assert document({"auth_mode": "apikey", "OPENAI_API_KEY": "key", "n": "\u00e9"}).dump() == (
        '{\n  "auth_mode": "apikey",\n  "OPENAI_API_KEY": "key",\n  "n": "\u00e9"\n}'.encode()
    )


def test_half_a_surrogate_pair_is_written_back_as_it_came() -> None:
    raw = b'{"OPENAI_API_KEY": "key", "n": "\\ud800"}'
    assert json.loads(AuthDocument.parse(raw).dump()) == json.loads(raw)


@pytest.mark.parametrize(
    ("grant", "expected"),
    [
        pytest.param(TokenGrant("i2", "a2", "r2"), ("i2", "a2", "r2"), id="all"),
        pytest.param(TokenGrant(access_token="a2"), ("i1", "a2", "r1"), id="access-only"),
        pytest.param(TokenGrant(refresh_token="r2"), ("i1", "a1", "r2"), id="refresh-only"),
    ],
)
def test_a_refresh_replaces_only_what_was_returned(grant: TokenGrant, expected: tuple[str, str, str]) -> None:
    before = document({"tokens": {"id_token": "i1", "access_token": "a1", "refresh_token": "r1"}})
    after = before.refreshed(grant, NOON)
    assert (after.id_token, after.access_token, after.refresh_token) == expected
    assert after.last_refresh == NOON
    assert before.access_token == "a1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2026-11-21T12:00:00Z", NOON, id="seconds"),
        pytest.param("2026-11-21T12:00:00.673715715Z", NOON + 0.673715, id="nanoseconds"),
        pytest.param("2026-11-21T12:00:00.5Z", NOON + 0.5, id="tenths"),
        pytest.param("2026-11-21T13:30:00+01:30", NOON, id="offset"),
        pytest.param("2026-11-21T12:00:00", NOON, id="no-zone-is-utc"),
        pytest.param("yesterday", None, id="no-time"),
        pytest.param("2026-13-21T12:00:00Z", None, id="no-date"),
        pytest.param(NOON, None, id="number"),
        pytest.param(None, None, id="null"),
    ],
)
def test_last_refresh(text: Any, expected: float | None) -> None:
    found = document({"tokens": {"access_token": "a"}, "last_refresh": text}).last_refresh
    assert found == (expected if expected is None else pytest.approx(expected, abs=1e-6))


def test_a_login_is_written_as_the_cli_would() -> None:
    id_token = mint_jwt(**{OPENAI_AUTH: {"chatgpt_account_id": "acc"}})
    login = AuthDocument.from_login(TokenGrant(id_token, "a", "r"), issuer="https://i", client_id="app_1", now=NOON)
    assert json.loads(login.dump()) == {
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": None,
        "tokens": {
            "id_token": id_token,
            "access_token": "a",
            "refresh_token": "r",
            "oauth_provenance": {"issuer": "https://i", "client_id": "app_1"},
            "account_id": "acc",
        },
        "last_refresh": "2026-11-21T12:00:00.000000Z",
    }
    assert AuthDocument.parse(login.dump()) == login


def test_a_login_may_bring_an_api_key_and_stays_a_login() -> None:
    login = AuthDocument.from_login(TokenGrant("i", "a", "r"), issuer="https://i", client_id="app_1", now=NOON, api_key="key")
    assert (login.kind, login.bearer, login.api_key) == ("chatgpt", "a", "key")


def test_an_api_key_as_it_was_pasted() -> None:
    assert json.loads(AuthDocument.from_api_key(" key\n").dump()) == {"auth_mode": "apikey", "OPENAI_API_KEY": "key"}


@pytest.mark.parametrize("key", ["", " ", "two words", "k\u00e9y"])
def test_what_is_no_api_key(key: str) -> None:
    with pytest.raises(BadDocument):
        AuthDocument.from_api_key(key)


def test_no_secret_is_in_a_repr() -> None:
    fields = chatgpt_fields(access="SENTINEL.SENTINEL.SENTINEL", OPENAI_API_KEY="SENTINEL", more="SENTINEL")
    assert "SENTINEL" not in repr(document(fields))
