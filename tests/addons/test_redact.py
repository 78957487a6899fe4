import pytest
from mitmproxy import http
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow, tutils

from addons.redact import FROM_ANSWERS, FROM_REQUESTS, CodexRedact


def flow_of(mode: str) -> http.HTTPFlow:
    request = tutils.treq(headers=[(name.title().encode(), b"CANARY") for name in FROM_REQUESTS] + [(b"x-kept", b"1")])
    request.authority = "user:CANARY@example.com"
    answer = tutils.tresp(headers=[(name.encode(), b"CANARY") for name in FROM_ANSWERS for _ in range(2)] + [(b"x-kept", b"1")])
    flow = tflow.tflow(req=request, resp=answer)
    flow.client_conn.proxy_mode = ProxyMode.parse(mode)
    return flow


def test_nothing_that_proves_or_names_anybody_stays() -> None:
    flow, redact = flow_of("reverse:https://api.openai.com"), CodexRedact()
    redact.requestheaders(flow)
    redact.responseheaders(flow)
    assert flow.response
    assert "CANARY" not in str(flow.get_state())
    assert flow.request.headers["x-kept"] == flow.response.headers["x-kept"] == "1"


@pytest.mark.parametrize("mode", ["regular", "socks5"])
def test_other_modes_of_the_same_mitmproxy_are_left_alone(mode: str) -> None:
    flow, redact = flow_of(mode), CodexRedact()
    before = str(flow.get_state())
    redact.requestheaders(flow)
    redact.responseheaders(flow)
    assert str(flow.get_state()) == before
