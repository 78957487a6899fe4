"""The view "Codex" as mitmproxy meets it, the comment and the mark on a flow, and how much of the past stays in a view."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import contentviews, http
from mitmproxy.addons import view as mitmproxy_view
from mitmproxy.test import taddons, tflow, tutils
from mitmproxy.utils import emoji

from addons import view
from addons.annotate import MARKS, comment, mark
from addons.edits import EDITS
from addons.traffic.exchange import Attempt, Exchange
from addons.traffic.tee import Tee
from addons.view import CodexView, too_many
from tests.addons.traffic.calls import call, refused

REQUEST = b'{"model":"gpt-5.5","input":"hello","stream":true}'
STREAM = (
    b'data: {"type":"response.output_text.delta","delta":"Hel"}\n\ndata: {"type":"response.output_text.delta","delta":"lo"}\n\n'
)


@pytest.fixture
def shown() -> Iterator[CodexView]:
    """In a mitmproxy that has a view."""
    ours = CodexView()
    with taddons.context(mitmproxy_view.View(), ours):
        ours.running()
        yield ours


def flow_of(path: str = "/backend-api/codex/responses", answer: bytes | None = None, **headers: str) -> http.HTTPFlow:
    kind = headers.get("content_type", "text/event-stream; charset=utf-8")
    request = tutils.treq(
        method=b"POST", path=path.encode(), content=REQUEST, headers=http.Headers(content_type="application/json")
    )
    response = tutils.tresp(headers=http.Headers(content_type=kind))
    response.data.content = answer
    flow = tflow.tflow(req=request, resp=response)
    flow.live = False
    return flow


def shown_by(flow: http.HTTPFlow, message: http.Message) -> tuple[str | None, str]:
    result = contentviews.prettify_message(message, flow)
    return result.view_name, result.text


def streamed(*chunks: tuple[float, bytes]) -> Tee:
    tee = Tee()
    for at, data in chunks:
        tee.add(at, data)
    return tee


def test_it_is_chosen_for_a_conversation_by_itself(shown: CodexView) -> None:
    flow = flow_of(answer=STREAM)
    flow.metadata[EDITS] = [["dropped", "temperature", "it is fixed"]]
    assert flow.response
    name, text = shown_by(flow, flow.request)
    assert name == "Codex" and "── changed by codex-mitm\ndropped temperature: it is fixed" in text
    name, text = shown_by(flow, flow.response)
    assert name == "Codex" and "── answer\nHello" in text


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/v1/models", "application/json"), ("/v1/responses", "image/png"), ("/v1/embeddings", "application/json")],
)
def test_it_leaves_other_things_to_others(path: str, kind: str, shown: CodexView) -> None:
    flow = flow_of(path, b'{"x":1}', content_type=kind)
    assert flow.response and shown_by(flow, flow.response)[0] != "Codex"


def test_a_streamed_answer_comes_onto_its_flow_with_its_moments(shown: CodexView) -> None:
    flow = flow_of()
    half = STREAM.index(b"data", 1)
    shown.show(flow, call(), streamed((0.5, STREAM[:half]), (1.25, STREAM[half:])))
    assert flow.response and flow.response.raw_content == STREAM
    assert "0.50s – 1.25s" in shown_by(flow, flow.response)[1]
    flow.response.content = b'data: {"type":"response.output_text.delta","delta":"edited"}\n\n'
    assert "edited" in shown_by(flow, flow.response)[1], "the moments belong to other bytes now"


def test_of_a_long_one_the_beginning_and_the_end_do(shown: CodexView) -> None:
    flow = flow_of()
    event = b'data: {"type":"response.output_text.delta","delta":"%s"}\n\n'
    shown.show(flow, call(), streamed((0.1, event % b"first"), *[(0.2, event % (b"x" * 50_000))] * 60, (0.3, event % b"last")))
    assert flow.response and flow.response.raw_content
    content = flow.response.raw_content
    assert view.CONTENT_LIMIT <= len(content) < view.CONTENT_LIMIT + 100
    assert b"first" in content[:200] and b"last" in content[-200:] and b"bytes are left out here" in content
    assert "first" in shown_by(flow, flow.response)[1]


def test_a_body_that_is_there_already_is_let_alone(shown: CodexView) -> None:
    flow = flow_of(answer=b"kept by store_streamed_bodies")
    shown.show(flow, call(), streamed((0.1, STREAM)))
    assert flow.response and flow.response.raw_content == b"kept by store_streamed_bodies"


def test_without_a_view_nothing_comes_onto_a_flow() -> None:
    ours, flow = CodexView(), flow_of()
    with taddons.context(ours):
        ours.running()
        ours.show(flow, call(), streamed((0.1, STREAM)))
        ours.response(flow)
    assert flow.response and flow.response.raw_content is None and flow.comment


COMMENTS: dict[str, tuple[Exchange, str, str]] = {
    "went well": (call(), "gpt-6-luna · 812→344 tok · first token 0.92s · ada", ""),
    "refused": (refused(), "gpt-6-luna · ada · usage_limit_reached: The usage limit has been reached", ":no_entry:"),
    "left": (call(outcome="client_left", tokens=None), "gpt-6-luna · first token 0.92s · ada · client left", ":door:"),
    "again": (
        call(attempts=(Attempt("ada", 0.1), Attempt("bob", 0.2)), account="bob", tokens=None, first_token=None),
        "gpt-6-luna · bob · 2 attempts",
        "",
    ),
    "never sent": (call(model_used="", account="", tokens=None, first_token=None), "gpt-4.1-nano", ""),
}


@pytest.mark.parametrize(("exchange", "text", "marked"), COMMENTS.values(), ids=COMMENTS)
def test_what_is_told_at_a_glance(exchange: Exchange, text: str, marked: str) -> None:
    assert (comment(exchange), mark(exchange)) == (text, marked)


def test_mitmproxy_knows_the_marks() -> None:
    assert [name for name in MARKS.values() if name and name not in emoji.emoji] == []


def test_what_a_user_has_written_stays(shown: CodexView) -> None:
    flow = flow_of()
    flow.comment, flow.marked = "mine", ":heart:"
    shown.show(flow, refused(), None)
    assert (flow.comment, flow.marked) == ("mine", ":heart:")


@given(st.lists(st.integers(0, 50)), st.integers(1, 10), st.integers(1, 200))
def test_the_latest_that_fit_stay(sizes: list[int], most: int, most_bytes: int) -> None:
    gone = too_many(sizes, most, most_bytes)
    kept = sizes[gone:]
    assert len(kept) <= most and sum(kept) <= most_bytes
    assert gone == 0 or len(kept) == most or sum(sizes[gone - 1 :]) > most_bytes, "none goes without need"


def test_the_oldest_leave_the_view_and_none_that_is_alive(shown: CodexView, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view.too_many, "__defaults__", (3, view.MAX_BYTES))
    flows: list[Any] = [flow_of(answer=STREAM) for _ in range(6)]
    flows[0].live = True
    for flow in flows:
        mitmproxy_view.ctx.master.addons.get("view").add([flow])
    for flow in flows[1:]:
        shown.response(flow)
    left = mitmproxy_view.ctx.master.addons.get("view").resolve("@all")
    assert left == [flows[0], *flows[3:]] and flows[0].error is None
