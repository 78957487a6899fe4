import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.upstreams import CODEX_PATHS, BaseUrl, Upstream, choose, parse_base_url, passes_to_codex, target
from addons.wire.errors import OpenAIError

CODEX = BaseUrl("https", "chatgpt.com", 443, "/backend-api/codex")
PLATFORM = BaseUrl("https", "api.openai.com", 443, "")
BASES: dict[Upstream, BaseUrl] = {"codex": CODEX, "platform": PLATFORM}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://chatgpt.com/backend-api/codex", CODEX),
        ("https://chatgpt.com:443/backend-api/codex/", CODEX),
        ("https://api.openai.com", PLATFORM),
        ("http://127.0.0.1:8000", BaseUrl("http", "127.0.0.1", 8000, "")),
        ("http://localhost", BaseUrl("http", "localhost", 80, "")),
        ("http://[::1]:1", BaseUrl("http", "::1", 1, "")),
    ],
)
def test_base_urls(url: str, expected: BaseUrl) -> None:
    assert parse_base_url(url) == expected


@pytest.mark.parametrize(
    "url", "|chatgpt.com|ftp://x|https://|http://chatgpt.com|http://10.0.0.1|https://u:p@h|https://h?q|https://h:99999".split("|")
)
def test_a_base_url_that_could_leak_a_bearer_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="."):
        parse_base_url(url)


@pytest.mark.parametrize(
    ("setting", "kind", "upstream"),
    [
        ("auto", "chatgpt", "codex"),
        ("auto", "api_key", "platform"),
        ("codex", "chatgpt", "codex"),
        ("codex", "api_key", "codex"),
        ("platform", "chatgpt", "platform"),
        ("platform", "api_key", "platform"),
    ],
)
def test_the_upstream_goes_by_the_account_unless_forced(setting: str, kind: str, upstream: str) -> None:
    assert choose(setting, kind) == upstream


SERVED: list[tuple[Upstream, str, str, str]] = [
    ("codex", "POST", "/v1/responses", "/backend-api/codex/responses"),
    ("codex", "POST", "/v1/responses/", "/backend-api/codex/responses"),
    ("codex", "POST", "/responses", "/backend-api/codex/responses"),
    ("codex", "POST", "/v1/chat/completions", "/backend-api/codex/responses"),
    ("codex", "POST", "/v1/responses?a=b&c", "/backend-api/codex/responses?a=b&c"),
    ("codex", "POST", "/v1/responses/compact", "/backend-api/codex/responses/compact"),
    ("codex", "GET", "/v1/models?client_version=0.169.0", "/backend-api/codex/models?client_version=0.169.0"),
    ("codex", "GET", "/backend-api/wham/accounts/check", "/backend-api/wham/accounts/check"),
    ("codex", "GET", "/backend-api/wham/usage?a=b", "/backend-api/wham/usage?a=b"),
    ("platform", "POST", "/v1/chat/completions", "/v1/chat/completions"),
    ("platform", "POST", "/chat/completions", "/v1/chat/completions"),
    ("platform", "GET", "/v1/models/gpt-5.5", "/v1/models/gpt-5.5"),
    ("platform", "DELETE", "/v1/files/file-1?x=%2F", "/v1/files/file-1?x=%2F"),
]


@pytest.mark.parametrize(("upstream", "method", "path", "expected"), SERVED)
def test_paths_that_are_served(upstream: Upstream, method: str, path: str, expected: str) -> None:
    assert target(upstream, BASES[upstream], method, path) == expected


REFUSED: list[tuple[Upstream, str, str, int, str]] = [
    ("codex", "GET", "/", 404, "Invalid URL (GET /)"),
    ("codex", "POST", "/v1/x", 404, "Invalid URL (POST /v1/x)"),
    ("codex", "GET", "/v1/../v1/models", 404, "Invalid URL"),
    ("codex", "POST", "//v1/responses", 404, "Invalid URL"),
    ("codex", "POST", "/v1//responses", 404, "Invalid URL"),
    ("codex", "OPTIONS", "*", 404, "Invalid URL"),
    ("codex", "POST", "/v1/Responses", 404, "Invalid URL"),
    ("codex", "PATCH", "/v1/responses", 405, "Not allowed to PATCH"),
    ("codex", "POST", "/v1/embeddings", 404, "an account with an API key serves it"),
    ("codex", "POST", "/v1/completions", 404, "an account with an API key serves it"),
    ("codex", "GET", "/v1/responses/resp_1", 404, "an account with an API key serves it"),
    ("platform", "GET", "/", 404, "Invalid URL"),
    ("platform", "GET", "/v1", 404, "Invalid URL"),
    ("platform", "GET", "/v1/../admin", 404, "Invalid URL"),
]


@pytest.mark.parametrize(("upstream", "method", "path", "status", "message"), REFUSED)
def test_paths_that_are_refused(upstream: Upstream, method: str, path: str, status: int, message: str) -> None:
    refusal = target(upstream, BASES[upstream], method, path)
    assert isinstance(refusal, OpenAIError)
    assert refusal.status == status and message in refusal.message


@given(st.sampled_from(["codex", "platform"]), st.text(alphabet="/.%2eEv1responsmdl?#@:\\", max_size=24))
def test_no_path_escapes_the_base(upstream: Upstream, rest: str) -> None:
    found = target(upstream, BASES[upstream], "POST", "/" + rest)
    if isinstance(found, str):
        inside = found.partition("?")[0].removeprefix(BASES[upstream].path).removeprefix("/backend-api")
        assert inside in {served.path for served in CODEX_PATHS.values()} if upstream == "codex" else inside.startswith("/v1/")
        assert ".." not in inside.split("/")


@pytest.mark.parametrize("header", ["Content-Type", "originator", "X-Codex-Turn-Metadata", "session-id", "OpenAI-Beta"])
def test_headers_that_reach_the_backend(header: str) -> None:
    assert passes_to_codex(header)


@pytest.mark.parametrize("header", ["Upgrade", "Sec-WebSocket-Key", "sec-websocket-extensions"])
def test_headers_that_reach_it_with_a_websocket_only(header: str) -> None:
    assert passes_to_codex(header, upgrade=True) and not passes_to_codex(header)


@pytest.mark.parametrize(
    "header", ["x-stainless-os", "x-title", "http-referer", "X-Nanobot-Internal-Request-Type", "x-codexy", "origin"]
)
def test_headers_that_stay_here(header: str) -> None:
    assert not passes_to_codex(header)
