import json
import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addons.traffic.exchange import Body, Chunk
from addons.traffic.secrets import find, find_in_body, redacted, redacted_body, redacted_text
from tests.addons.traffic.spelling import cut_up, said_in, said_in_pieces
from tests.addons.traffic.tokens import escaped, tokens, unescaped

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"
HEX = "0123456789abcdef" * 2
KEY = "sk-proj-SENTINEL456def789jkl012"

SECRETS = {
    "a jwt": (JWT, "[redacted jwt]"),
    "a jwt in the middle of a word": (f"x{JWT}", "x[redacted jwt]"),
    "an encrypted jwt": ("eyJlbmMiOiJBMTI4R0NNIn0..aXY.Y2lwaGVy.dGFn", "[redacted jwt]"),
    "a jwt that is not signed": ("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", "[redacted jwt]"),
    "a bearer": ("Authorization: Bearer abc-123.def/456", "Authorization: Bearer [redacted bearer]"),
    "a bearer with a jwt": (f"bearer {JWT}", "bearer [redacted bearer]"),
    "a bearer of one long word": ("Bearer " + "abcdefghij" * 3, "Bearer [redacted bearer]"),
    "a bearer in a query": ("q=Bearer%20abcdef123456", "q=Bearer%20[redacted bearer]"),
    "a key": (f'{{"key": "{KEY}"}}', '{"key": "[redacted key]"}'),
    "a key of hexadecimal digits": (f"key=sk-{HEX}", "key=[redacted key]"),
    "such a key behind a word with a dash": (f"desk-sk-{HEX}", "de[redacted key]"),
    "a session": ("sess-Abc123def456GHI789jkl012", "[redacted key]"),
    "a personal access token": ("at-Abc123def456GHI789jkl012", "[redacted token]"),
    "a refresh token": ("rt.1.Abc123def456GHI789jkl012", "[redacted token]"),
    "github": ("ghp_Abc123def456GHI789jkl012mno345", "[redacted key]"),
    "aws": ("AKIAIOSFODNN7EXAMPLE", "[redacted key]"),
    "google": ("AIza" + "Sy0123456789abcdefghijklmnopqrstuvw", "[redacted key]"),
    "a private key": (
        "-----BEGIN RSA PRIVATE KEY-----\\nMIIEow+/\\nabcd==\\n-----END RSA PRIVATE KEY-----\\n",
        "[redacted private key]\\n",
    ),
    "a private key that is cut off": ("-----BEGIN PRIVATE KEY-----\nMIIEow", "[redacted private key]"),
    "two of a kind": (f"{KEY} {KEY}", "[redacted key] [redacted key]"),
    "an escaped character": (JWT.replace("h", "\\u0068", 1), "[redacted jwt]"),
    "an escaped mark": ("\\u0065\\u0079J" + JWT[3:], "[redacted jwt]"),
    "an escaped last character": (JWT[:-1] + "\\u006c", "[redacted jwt]"),
    "json within json": ('{"text": "{\\"key\\": \\"' + KEY.replace("-", "\\\\u002d", 1) + '\\"}"}', None),
    "an escaped blank": ("Bearer\\u0020abcdef123456", "Bearer\\u0020[redacted bearer]"),
    "an escaped slash": ("Bearer abcdef\\/123456", "Bearer [redacted bearer]"),
}


@pytest.mark.parametrize(("text", "wanted"), SECRETS.values(), ids=SECRETS)
def test_it_is_found(text: str, wanted: str | None) -> None:
    assert redacted_text(text) == (wanted or '{"text": "{\\"key\\": \\"[redacted key]\\"}"}')


HARMLESS = {
    "words with a mark in them": "task-force-recommendations, that-is-to-say-nothing, risk-assessment-framework-for-all",
    "a date in a name": "risk-2025-11-21-first-draft-of-the-report",
    "a task's id": "task-3f2504e0-4f89-11d3-9a0c-0305e82c3301",
    "a css class": "flat-button-primary-large-with-icon",
    "a phrase": "use Bearer authentication, as a bearer of news; Bearer token.",
    "a placeholder that is short": "sk-placeholder",
    "base64 of an object": "data:application/json;base64,eyJhIjoxfQ==",
    "what was taken out": "[redacted jwt] Bearer [redacted bearer] [redacted private key]",
    "a public key": "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
    "encrypted reasoning": "gAAAAABpH1xQ" + "Ab1-_" * 40,
    "nothing": "",
}


@pytest.mark.parametrize("text", HARMLESS.values(), ids=HARMLESS)
def test_it_is_let_alone(text: str) -> None:
    assert redacted_text(text) == text


def test_half_a_surrogate_pair_comes_out_as_something_that_can_be_written() -> None:
    redacted_text("a\ud83d").encode()


@settings(deadline=None)
@given(st.binary(max_size=60), tokens(), st.binary(max_size=60), st.randoms(use_true_random=False))
def test_wherever_it_stands_and_however_it_is_written(before: bytes, token: tuple[str, str], behind: bytes, random: Random) -> None:
    text, secret = token
    for written in (text, escaped(text, lambda i: random.random() < 0.2)):
        out = redacted(before + written.encode() + behind)
        assert secret.encode() not in out and secret.encode() not in unescaped(out)
        assert find(out) == [], "what was redacted is clean"


ODD = st.text(alphabet="eyJsk-at.Br \\u0065/_A1ab", max_size=80) | st.text(max_size=60)


@settings(deadline=None)
@given(ODD)
def test_once_is_enough(text: str) -> None:
    once = redacted_text(text)
    assert redacted_text(once) == once


def bodies_of(data: bytes, cuts: list[int]) -> Body:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    pieces = zip(edges, edges[1:], strict=False)
    return Body(tuple(Chunk(float(number), data[a:b]) for number, (a, b) in enumerate(pieces)))


@settings(deadline=None)
@given(st.binary(max_size=40), tokens(), st.binary(max_size=40), st.lists(st.integers(0, 400), max_size=8))
def test_however_the_stream_is_cut_it_is_found_and_every_moment_kept(
    before: bytes, token: tuple[str, str], behind: bytes, cuts: list[int]
) -> None:
    whole = before + token[0].encode() + behind
    body = bodies_of(whole, cuts)
    out = redacted_body(body)
    assert out.data == redacted(whole)
    assert [chunk.at for chunk in out.chunks] == [chunk.at for chunk in body.chunks]


def test_a_body_without_a_secret_is_not_touched() -> None:
    body = bodies_of(b"The quick brown fox", [3, 9])
    assert redacted_body(body) == body


@pytest.mark.parametrize("cut", range(1, len(JWT)))
def test_of_a_secret_that_lies_across_what_is_missing_no_half_stays(cut: int) -> None:
    body = Body((Chunk(0.0, b'{"a": "' + JWT[:cut].encode()), Chunk(1.0, JWT[cut:].encode() + b'"}')), left_out=1, gap=1)
    out = redacted_body(body)
    assert out.data == b'{"a": "[redacted half][redacted half]"}'
    assert (out.left_out, out.gap) == (1, 1)


@settings(deadline=None)
@given(tokens(), st.lists(st.integers(0, 400), min_size=1, max_size=12), st.booleans(), st.booleans())
def test_what_a_model_spells_over_several_events_is_found(
    token: tuple[str, str], cuts: list[int], chat: bool, in_arguments: bool
) -> None:
    text, secret = token
    said = f'the key is "{text}" and'
    if in_arguments:  # JSON, whose quotes are escaped in the event
        said = json.dumps({"command": said})
    body = said_in_pieces(cut_up(said, cuts), chat)
    out = redacted_body(body)
    assert secret not in said_in(out) and "[redacted " in said_in(out)
    assert said_in(out).startswith(said[: said.index(text)]) and said_in(out).endswith(said[said.index(text) + len(text) :])
    assert out.moments == body.moments and find_in_body(out.data) == []


@pytest.mark.parametrize("edge", range(1, 9))
def test_of_what_is_spelled_across_what_is_missing_no_half_stays(edge: int) -> None:
    pieces = cut_up(JWT, [6 * n for n in range(1, 9)])
    whole = said_in_pieces(["see ", *pieces, " there"], chat=False)
    body = Body((*whole.chunks[: 1 + edge], *whole.chunks[1 + edge :]), left_out=1, gap=1 + edge)
    left = re.findall(rb'"delta": "(.*?)"', redacted_body(body).data)
    assert b"".join(left) == b"see [redacted half][redacted half] there"


def test_an_escape_at_the_edge_of_what_is_missing_goes_whole() -> None:
    body = Body((Chunk(0.0, b'{"a": "x\\nabc'), Chunk(1.0, b' z"}')), left_out=1, gap=1)
    assert redacted_body(body).data == b'{"a": "x[redacted half] z"}'


HOSTILE = {
    "pieces": b'"delta":"eyJ"' * 100_000,
    "pieces with escapes": b'"delta":"\\u0065yJ"' * 50_000,
    "marks": b"eyJ" * 1_400_000,
    "keys": b"sk-" * 1_400_000,
    "dots": b"eyJ" + b"." * 4_000_000,
    "jwt beginnings": b"eyJa.b " * 600_000,
    "backslashes": b"\\u00" + b"\\" * 4_000_000,
    "blanks": b"Bearer" + b" " * 4_000_000,
    "bearers": b"Bearer " * 600_000,
    "private keys": b"-----BEGIN PRIVATE KEY-----" * 150_000,
    "one key": b"sk-" + b"a" * 4_000_000,
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_four_megabytes_made_to_be_slow(data: bytes) -> None:
    """With a step for every pair of characters this would take days."""
    assert find_in_body(redacted_body(Body.whole(data)).data) == []
