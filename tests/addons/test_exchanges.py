"""What an exchange takes from its flow, where the whole proxy would be much ado."""

import json
from typing import Any

import pytest
from mitmproxy import flow as mitmproxy_flow
from mitmproxy import http
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow, tutils

from addons.exchanges import Call, exchange_of
from addons.incoming import Incoming
from addons.keys import KEY
from addons.parallel import QUEUED
from addons.traffic.exchange import Client, Exchange
from addons.traffic.headers import NO_HEADERS

ASKED = {"model": "gpt-5.5", "stream": True}


def flow_of(status: int = 200, body: bytes = b"{}", **metadata: Any) -> http.HTTPFlow:
    request = tutils.treq(method=b"POST", path=b"/v1/responses", content=json.dumps(ASKED).encode())
    flow = tflow.tflow(req=request, resp=tutils.tresp(status_code=status, content=body))
    flow.client_conn.proxy_mode = ProxyMode.parse("reverse:https://example.com")
    flow.metadata.update(metadata)
    return flow


def told(flow: http.HTTPFlow, *, stopped: bool = False) -> Exchange:
    incoming = Incoming(1.0, 0.0, Client("", "pytest/1", "127.0.0.1"), "POST", "/v1/responses", "responses", NO_HEADERS)
    return exchange_of(flow, Call(incoming, with_bodies=True), None, None, 2.0, stopped=stopped)


def test_whose_key_it_was_and_how_long_it_waited() -> None:
    call = told(flow_of(**{KEY: "laptop", QUEUED: 1.5}))
    assert (call.client.label, call.client.agent, call.queued) == ("laptop", "pytest/1", 1.5)
    assert (call.model_asked, call.stream) == ("gpt-5.5", True)


ENDS: dict[str, tuple[int, bytes, str, str]] = {
    "an envelope": (400, b'{"error":{"message":"no","type":"t","code":"c"}}', "c", "no"),
    "a detail": (403, b'{"detail":"no"}', "", "no"),
    "a web page": (502, b"<html>", "upstream_error", "address answered 502 with a web page instead of JSON"),
}


@pytest.mark.parametrize(("status", "body", "code", "message"), ENDS.values(), ids=ENDS)
def test_a_refusal_in_whatever_shape(status: int, body: bytes, code: str, message: str) -> None:
    call = told(flow_of(status, body))
    assert call.outcome == "refused", "it was never sent"
    assert call.error and (call.error.code, call.error.message) == (code, message)


def test_who_hung_up() -> None:
    flow = flow_of()
    flow.error = mitmproxy_flow.Error("server closed connection")
    assert told(flow).error == ("", "upstream_error", "server closed connection")
    flow.client_conn.state = ConnectionState.CLOSED
    assert (told(flow).outcome, told(flow).error) == ("client_left", None)


def test_one_that_the_proxy_does_not_live_to_see() -> None:
    flow = flow_of()
    flow.response = None
    call = told(flow, stopped=True)
    assert (call.outcome, call.status, call.id) == ("cut", None, f"req_{flow.id}")
