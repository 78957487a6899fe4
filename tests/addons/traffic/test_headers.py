import pytest

from addons.redact import FROM_ANSWERS, FROM_REQUESTS
from addons.traffic.headers import MAX_HEADERS, Headers


@pytest.mark.parametrize("name", [*FROM_REQUESTS, *FROM_ANSWERS, "X-Codex-Turn-State", "x-anything"])
def test_of_what_may_hold_a_credential_only_the_name_is_kept(name: str) -> None:
    headers = Headers([(name, "CANARY")])
    assert headers.kept == () and headers.names == (name.lower(),)
    assert "CANARY" not in repr(headers)


def test_what_may_be_kept_is_kept_in_its_order() -> None:
    headers = Headers([("X-Request-Id", "req_1"), ("x-ratelimit-remaining", "7"), ("Content-Type", "text/html")])
    assert headers.kept == (("x-request-id", "req_1"), ("x-ratelimit-remaining", "7"), ("content-type", "text/html"))
    assert (headers.get("content-type"), headers.get("server", "none")) == ("text/html", "none")


def test_a_server_that_sends_headers_without_end() -> None:
    assert len(Headers([(f"x-{n}", "") for n in range(10 * MAX_HEADERS)]).names) == MAX_HEADERS
