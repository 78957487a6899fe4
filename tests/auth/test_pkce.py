from urllib.parse import parse_qsl, urlsplit

import pytest

from auth import pkce
from auth.pkce import Code, Denied, Missing, WrongState

ENTROPY = bytes(range(64))


def test_the_verifier_has_86_characters_and_no_padding() -> None:
    verifier = pkce.make_verifier(ENTROPY)
    assert len(verifier) == 86
    assert "=" not in verifier


def test_the_challenge_of_the_rfc() -> None:
    # RFC 7636 appendix B
    assert pkce.challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_the_state_has_43_characters() -> None:
    assert len(pkce.make_state(ENTROPY[:32])) == 43


def test_authorize_url_is_the_one_of_the_cli() -> None:
    url = pkce.authorize_url(
        "https://auth.openai.com",
        client_id="app_1",
        redirect=pkce.redirect_uri(1455),
        verifier="v",
        state="s",
        originator="codex_mitm",
    )
    assert url.startswith("https://auth.openai.com/oauth/authorize?response_type=code&client_id=app_1&redirect_uri=http%3A%2F%2F")
    assert "&scope=openid+profile+email+offline_access+api.connectors.read+api.connectors.invoke&" in url
    assert parse_qsl(urlsplit(url).query) == [
        ("response_type", "code"),
        ("client_id", "app_1"),
        ("redirect_uri", "http://127.0.0.1:1455/auth/callback"),
        ("code_challenge", pkce.challenge("v")),
        ("code_challenge_method", "S256"),
        ("state", "s"),
        ("scope", pkce.SCOPE),
        ("id_token_add_organizations", "true"),
        ("codex_cli_simplified_flow", "true"),
        ("originator", "codex_mitm"),
    ]


def test_the_fallback_host_is_the_one_registered_before() -> None:
    assert pkce.redirect_uri(1457, pkce.FALLBACK_REDIRECT_HOST) == "http://localhost:1457/auth/callback"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("code=abc&state=s3", Code("abc"), id="consent"),
        pytest.param("state=s3&scope=openid&code=a%2Fb%2Bc", Code("a/b+c"), id="decoded"),
        pytest.param("code=abc&state=s3.onboarding_entrypoint=life_sciences", Code("abc"), id="suffixed-state"),
        pytest.param("code=first&code=second&state=s3", Code("first"), id="repeated"),
        pytest.param("code=abc&state=s4", WrongState(), id="wrong-state"),
        pytest.param("code=abc&state=s3.other=1", WrongState(), id="unknown-suffix"),
        pytest.param("code=abc&state=", WrongState(), id="empty-state"),
        pytest.param("code=abc", WrongState(), id="no-state"),
        pytest.param("code=abc&state=%ff%fe", WrongState(), id="state-is-not-text"),
        pytest.param("error=access_denied&state=no", WrongState(), id="error-of-somebody-else"),
        pytest.param("error=access_denied&state=s3", Denied("access_denied", ""), id="denied"),
        pytest.param(
            "error=access_denied&error_description=missing_codex_entitlement%1b%5b2J&state=s3",
            Denied("access_denied", "missing_codex_entitlement [2J"),
            id="denied-with-a-terminal-escape",
        ),
        pytest.param("error=server_error&code=abc&state=s3", Denied("server_error", ""), id="error-beats-code"),
        pytest.param("state=s3", Missing(), id="neither"),
        pytest.param("code=&state=s3", Missing(), id="empty-code"),
        pytest.param("", WrongState(), id="empty"),
    ],
)
def test_parse_callback(query: str, expected: pkce.Callback) -> None:
    assert pkce.parse_callback(query, "s3") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("http://127.0.0.1:1455/auth/callback?code=abc&state=s3", Code("abc"), id="url"),
        pytest.param("  'http://localhost:1457/auth/callback?code=abc&state=s3'\n", Code("abc"), id="quoted"),
        pytest.param("http://localhost:1455/auth/callback?code=abc&state=s3#x", Code("abc"), id="fragment"),
        pytest.param("localhost:1455/auth/callback?state=s3&code=abc", Code("abc"), id="scheme-hidden-by-the-browser"),
        pytest.param("?code=abc&state=s3", Code("abc"), id="query"),
        pytest.param("code=abc&state=s3", Code("abc"), id="bare"),
        pytest.param("http://localhost:1455/success?id_token=x", WrongState(), id="the-page-after"),
        pytest.param("http://[", WrongState(), id="no-url"),
        pytest.param("abc", WrongState(), id="just-the-code"),
        pytest.param("\ud800?state=\ud800", WrongState(), id="half-a-surrogate-pair"),
        pytest.param("", WrongState(), id="empty"),
    ],
)
def test_parse_pasted(text: str, expected: pkce.Callback) -> None:
    assert pkce.parse_pasted(text, "s3") == expected


def test_a_code_is_not_in_its_repr() -> None:
    assert "SENTINEL" not in repr(Code("SENTINEL"))
