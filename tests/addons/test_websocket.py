from collections.abc import Iterator

import pytest
from mitmproxy import exceptions, http
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import taddons, tflow, tutils

from addons.websocket import CodexWebsocket, is_relayed


@pytest.fixture(autouse=True)
def tctx() -> Iterator[taddons.context]:
    with taddons.context(CodexWebsocket()) as tctx:
        yield tctx


def flow_of(status: int, *, upgrade: str = "websocket", mode: str = "reverse:https://x") -> http.HTTPFlow:
    request = tutils.treq(path=b"/v1/responses", headers=[(b"upgrade", upgrade.encode()), (b"originator", b"codex_exec")])
    flow = tflow.tflow(req=request, resp=tutils.tresp(status_code=status))
    flow.client_conn.proxy_mode = ProxyMode.parse(mode)
    return flow


def answered(flow: http.HTTPFlow) -> int:
    CodexWebsocket().response(flow)
    assert flow.response
    return flow.response.status_code


def test_an_upgrade_that_took_place_stays() -> None:
    assert answered(flow_of(101)) == 101


@pytest.mark.parametrize("status", [200, 307, 400, 401, 403, 404, 429, 500, 502, 503])
def test_whatever_refused_it_the_cli_is_told_to_use_post(status: int) -> None:
    """A 401 would cost it seven token refreshes, a 404 or 5xx six seconds."""
    assert answered(flow_of(status)) == 426


def test_other_requests_and_other_modes_are_left_alone() -> None:
    assert answered(flow_of(401, upgrade="h2c")) == 401
    assert answered(flow_of(401, mode="regular")) == 401


@pytest.mark.parametrize(
    ("setting", "path", "originator", "expected"),
    [
        ("relay", "/v1/responses", True, True),
        ("relay", "/responses", True, True),
        ("relay", "/v1/responses", False, False),
        ("relay", "/v1/realtime", True, False),
        ("refuse", "/v1/responses", True, False),
    ],
)
def test_whose_is_relayed(tctx: taddons.context, setting: str, path: str, originator: bool, expected: bool) -> None:
    tctx.options.update(codex_websocket=setting)
    headers = [(b"upgrade", b"websocket"), *([(b"originator", b"codex_exec")] if originator else [])]
    assert is_relayed(tutils.treq(path=path.encode(), headers=headers)) is expected


def test_another_setting_is_refused(tctx: taddons.context) -> None:
    with pytest.raises(exceptions.OptionsError, match="codex_websocket: allow is not one of refuse, relay"):
        tctx.options.update(codex_websocket="allow")
