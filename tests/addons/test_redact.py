from collections.abc import Iterator

import pytest
from mitmproxy import http
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import taddons, tflow, tutils

from addons.engine.secret_headers import as_sent
from addons.redact import CREDENTIALS, FOR_THE_CLIENT, FROM_ANSWERS, FROM_REQUESTS, CodexRedact, account_said, owner_of
from addons.serve import CodexServe


@pytest.fixture(autouse=True)
def options() -> Iterator[taddons.context]:
    with taddons.context() as tctx:
        Loader(tctx.master).add_option("codex_issuer_url", str, "https://auth.openai.com", "")
        CodexServe(None).load(Loader(tctx.master))
        yield tctx


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


def test_the_same_key_is_the_same_owner_wherever_it_stands() -> None:
    owners = {owner_of(http.Headers([(name.encode(), b"sk-1"), (b"user-agent", name.encode())])) for name in CREDENTIALS}
    assert owners == {owner_of(http.Headers([(b"Authorization", b"Bearer sk-1")]))} and "sk-1" not in str(owners)


def test_other_keys_are_other_owners_and_no_key_is_one() -> None:
    keys = [b"Bearer sk-1", b"Bearer sk-2", b"Bearer ", b"Basic sk-1", b"Bearer \xff"]
    assert len({owner_of(http.Headers([(b"authorization", key)])) for key in keys}) == len(keys)
    assert owner_of(http.Headers()) == owner_of(http.Headers([(b"cookie", b"sk-1"), (b"authorization", b"")]))


def test_the_account_that_a_cli_names_is_kept_beside_the_flow() -> None:
    flow = flow_of("reverse:https://api.openai.com")
    CodexRedact().requestheaders(flow)
    assert account_said(flow) == "CANARY"
    assert account_said(tflow.tflow()) is None


class TestForward:
    @pytest.fixture
    def flow(self, options: taddons.context) -> http.HTTPFlow:
        options.options.update(codex_mode="forward")
        flow = flow_of("regular")
        flow.request.authority = ""
        return flow

    def test_secrets_reach_those_whom_they_are_for_and_nobody_else(self, flow: http.HTTPFlow) -> None:
        request, answer = flow.request.headers.copy(), flow.response and flow.response.headers.copy()
        redact = CodexRedact()
        redact.requestheaders(flow)
        redact.responseheaders(flow)
        assert flow.response and answer
        shown = [value for name, value in flow.response.headers.items(multi=True) if name.lower() in FOR_THE_CLIENT]
        assert "CANARY" not in str(flow.request.get_state()) and set(shown) == {"[passed on by codex-mitm]"}
        del request["proxy-authorization"]  # which was for this proxy
        assert sorted(as_sent(flow.request).headers.items(multi=True)) == sorted(request.items(multi=True))
        assert sorted(as_sent(flow.response).headers.items(multi=True)) == sorted(answer.items(multi=True))

    def test_what_the_sign_in_service_hears_and_says_is_not_kept(self, flow: http.HTTPFlow) -> None:
        """`store_streamed_bodies` would put it back when it has gone through."""
        flow.request.host, flow.request.headers["host"] = "auth.openai.com", "auth.openai.com"
        redact = CodexRedact()
        redact.requestheaders(flow)
        redact.request(flow)
        redact.responseheaders(flow)
        redact.response(flow)
        assert flow.response and flow.request.stream is True and flow.response.stream is True
        assert (flow.request.raw_content, flow.response.raw_content) == (None, None)

    def test_other_bodies_are(self, flow: http.HTTPFlow) -> None:
        redact = CodexRedact()
        redact.requestheaders(flow)
        redact.request(flow)
        redact.response(flow)
        assert flow.response and flow.request.raw_content and flow.response.raw_content and not flow.request.stream
