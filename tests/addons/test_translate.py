import json
from typing import Any

import pytest
from mitmproxy import http

from addons.guard import Refused
from addons.translate import MAX_HEADER, dumped, explain, parsed_object
from addons.wire.plan import Answering, Edit, Plan


@pytest.mark.parametrize(
    "body",
    [b'{"a":1}', b'{"a":"\\ud83d"}', b'{"a":"\\uDE00x"}', '{"a":"\u2028é😀"}'.encode(), b"{}"],
    ids=["plain", "a high half", "a low half", "beyond ASCII", "empty"],
)
def test_a_body_comes_out_as_it_went_in(body: bytes) -> None:
    assert json.loads(dumped(parsed_object(body))) == json.loads(body)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b"null", b'{"a":"\\ud8"}', b"\xff", b"[" * 100_000 + b'"\\ud800'])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(Refused) as refused:
        parsed_object(body)
    assert refused.value.error.status == 400


def head(*edits: Edit, **body: Any) -> http.Headers:
    headers = http.Headers()
    explain(headers, Plan({"model": "gpt-5.5"} | body, edits, Answering("chat", False, "gpt-4.1")))
    return headers


def test_an_answer_says_what_was_done() -> None:
    headers = head(Edit("mapped", "model", "an alias"), Edit("dropped", "temperature"))
    assert dict(headers) == {"x-codex-model": "gpt-5.5", "x-codex-edits": "mapped model, dropped temperature"}
    assert "x-codex-edits" not in head()


def test_a_line_that_would_be_too_long_says_that_there_is_more() -> None:
    headers = head(*[Edit("dropped", f"parameter_{n}") for n in range(1000)])
    assert len(headers["x-codex-edits"]) < MAX_HEADER + 20 and headers["x-codex-edits"].endswith(", and more")


@pytest.mark.parametrize("what", ["a\r\nx-evil: 1", "ü😀", "\ud83d", "x" * 9000])
def test_a_clients_own_words_do_not_break_the_head(what: str) -> None:
    """The name of an unknown parameter is the client's; a header line takes neither line ends nor what has no Latin-1."""
    headers = head(Edit("dropped", what), model=what)
    assert b"\r" not in bytes(headers).replace(b"\r\n", b"") and bytes(headers).count(b"\r\n") == 2
    assert len(bytes(headers)) < 2 * MAX_HEADER + 200
