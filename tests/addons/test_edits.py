import pytest
from mitmproxy import http
from mitmproxy.test import tflow

from addons.edits import EDITS, MAX_HEADER, MODEL, CodexEdits, note
from addons.upstreams import told_of
from addons.wire.plan import Edit


def head(*edits: Edit, model: str = "gpt-5.5") -> http.Headers:
    flow = tflow.tflow(resp=http.Response.make(200))
    flow.metadata[MODEL] = model
    note(flow, edits)
    CodexEdits().responseheaders(flow)
    assert flow.response
    return http.Headers([field for field in flow.response.headers.fields if field[0].startswith(b"x-codex")])


def test_an_answer_says_what_was_done() -> None:
    headers = head(Edit("mapped", "model", "an alias"), Edit("dropped", "temperature"))
    assert dict(headers) == {"x-codex-model": "gpt-5.5", "x-codex-edits": "mapped model, dropped temperature"}
    assert "x-codex-edits" not in head()


def test_a_flow_with_edits_can_be_saved_and_has_the_reasons() -> None:
    flow = tflow.tflow()
    note(flow, [Edit("mapped", "model", "an alias")])
    note(flow, [Edit("dropped", "header x-title", "no use")])
    assert http.HTTPFlow.from_state(flow.get_state()).metadata[EDITS] == [
        ["mapped", "model", "an alias"],
        ["dropped", "header x-title", "no use"],
    ]


def test_a_line_that_would_be_too_long_says_that_there_is_more() -> None:
    headers = head(*[Edit("dropped", f"parameter_{n}") for n in range(1000)])
    assert len(headers["x-codex-edits"]) < MAX_HEADER + 20 and headers["x-codex-edits"].endswith(", and more")


@pytest.mark.parametrize("what", ["a\r\nx-evil: 1", "ü😀", "\ud83d", "x" * 9000])
def test_a_clients_own_words_do_not_break_the_head(what: str) -> None:
    """The name of an unknown parameter is the client's; a header line takes neither line ends nor what has no Latin-1."""
    headers = head(Edit("dropped", what), model=what)
    assert b"\r" not in bytes(headers).replace(b"\r\n", b"") and bytes(headers).count(b"\r\n") == 2
    assert len(bytes(headers)) < 2 * MAX_HEADER + 200


@pytest.mark.parametrize(
    ("dropped", "told"),
    [
        (["X-Title", "HTTP-Referer"], ["x-title", "http-referer"]),
        (["X-Stainless-Lang", "X-Stainless-OS", "x-title"], ["x-stainless-*", "x-title"]),
        (["Accept-Encoding", "Priority", "TE"], []),
    ],
    ids=["each by name", "a family as one", "those of the connection not at all"],
)
def test_headers_that_stay_here_are_told_of(dropped: list[str], told: list[str]) -> None:
    assert told_of(dropped) == told
