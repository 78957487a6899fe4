"""What looks like a secret, found in any text or body and taken out of it. Pure, and in linear time.

Nearly every body has none, and a body is searched for that first: eight passes for the traces without which there is no secret of a
family, 1 ms for 4 MiB each; meanwhile no other thread runs. Where there is a trace, a secret is looked for at its mark (`eyJ`,
`sk-`), and there one regular expression takes the whole run of characters that a secret could have. It never gives back what it
took (possessive quantifiers), and the search goes on behind it, so that no byte is looked at more than a few times.

What can be read in another way is searched again as it reads then (readings.py), and what is found is cut out where it stands.
"""

import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from addons.traffic.exchange import Body
from addons.traffic.readings import Reading, as_it_stands, spelled, unescaped, wholly_unescaped


class Span(NamedTuple):
    start: int
    end: int
    kind: str
    """Empty for the second place and the next ones of what stands in several: it is named in the first."""


# Where in each of these texts what the user wants out stands. It may raise, see searching.py.
type Search = Callable[[Sequence[bytes]], Sequence[Sequence[tuple[int, int]]]]
YOURS = "by your pattern"


class Kind(NamedTuple):
    name: str
    marks: tuple[bytes, ...]
    run: re.Pattern[bytes]
    """At a mark. It always matches, because the search goes on behind it; its first group is the secret, if there is one."""
    is_secret: Callable[[bytes, bool], bool] = lambda secret, inside_a_word: True
    """A second look at it, and whether a letter or digit stands before the mark."""


def _is_mixed(secret: bytes) -> bool:
    return all(re.search(characters, secret) for characters in (rb"[0-9]", rb"[a-z]", rb"[A-Z]"))


def _is_key(secret: bytes, inside_a_word: bool) -> bool:
    """`task-force-recommendations` has a mark in it, `risk-2025-11-21-first-draft` too; keys are random letters and digits."""
    if _is_mixed(secret):
        return True
    return (not inside_a_word or b"-sk-" in secret) and _FOUR_DIGITS.match(secret) is not None


def _is_mixed_key(secret: bytes, inside_a_word: bool) -> bool:
    """For marks that many words have: `at-` is the end of `that-`."""
    return _is_mixed(secret)


_FOUR_DIGITS = re.compile(rb"(?:[^0-9]*+[0-9]){4}")
_WORD = rb"[A-Za-z0-9_-]"
_KEY = _WORD + rb"{20,}+"
_PREFIXED = re.compile(rb"([a-z]{2,6}[_-]" + _KEY + rb")|" + _WORD + rb"++")
# "Bearer authentication" is a phrase and no secret: one plain word is let through.
_BEARER = re.compile(rb"(?i:bearer)(?:[ \t]|%20)++(?![A-Za-z]{1,20}+[.=]?+(?![A-Za-z0-9._~+/=-]))([A-Za-z0-9._~+/=-]{8,}+)|[Bb]")

# What follows a trace is at least this much of a secret, or it is none.
_START = rb"(?=[A-Za-z0-9_.-]{20})"


class Family(NamedTuple):
    trace: re.Pattern[bytes]
    """Every secret of these kinds has it. It begins with letters that are rare, which is what makes a search fast."""
    kinds: tuple[Kind, ...]


FAMILIES = (
    Family(
        re.compile(rb"J(?<=eyJ)"),
        # RFC 7519: base64url of `{"`, then two more parts; an encrypted one has five. What is left of a third part may be nothing.
        (Kind("jwt", (b"eyJ",), re.compile(rb"(eyJ" + _WORD + rb"++(?:\." + _WORD + rb"*+){2,}+)|" + _WORD + rb"++")),),
    ),
    Family(
        re.compile(rb"-(?:----BEGIN |" + _START + rb"(?:(?<=sk-)|(?<=sess-)|(?<=at-)|(?<=glpat-)|(?<=xox[bp]-)|(?<=xapp-)))"),
        (
            # OpenAI's, and those of all who have copied them.
            Kind("key", (b"sk-", b"sess-"), re.compile(rb"((?:sk|sess)-" + _KEY + rb")|" + _WORD + rb"++"), _is_key),
            # A personal access token of ChatGPT.
            Kind("token", (b"at-",), re.compile(rb"(at-[A-Za-z0-9_.-]{20,}+)|" + _WORD + rb"++"), _is_mixed_key),
            # GitLab, Slack.
            Kind("key", (b"glpat-", b"xoxb-", b"xoxp-", b"xapp-"), _PREFIXED, _is_mixed_key),
            # RFC 7468. In JSON its lines end with `\n`, written out.
            Kind(
                "private key",
                (b"-----BEGIN ",),
                re.compile(
                    rb"(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----(?:[A-Za-z0-9+/=\s]|\\{1,8}[rnt])*+"
                    rb"(?:-----END [A-Z0-9 ]{0,40}-----)?)|-"
                ),
            ),
        ),
    ),
    # A refresh token.
    Family(
        re.compile(rb"rt[_.]" + _START),
        (Kind("token", (b"rt_", b"rt."), re.compile(rb"(rt[_.][A-Za-z0-9_.-]{20,}+)|" + _WORD + rb"++"), _is_mixed_key),),
    ),
    # RFC 6750, 2.1.
    Family(re.compile(rb"earer(?=[ \t]|%20)"), (Kind("bearer", (b"Bearer", b"bearer"), _BEARER),)),
    # What else programs hand to a model by mistake: GitHub, Hugging Face, npm, AWS, Google. And who shouts.
    Family(
        re.compile(rb"g(?:h[pousr]_" + _START + rb"|ithub_pat_)"),
        (Kind("key", (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_"), _PREFIXED, _is_mixed_key),),
    ),
    Family(re.compile(rb"hf_" + _START), (Kind("key", (b"hf_",), _PREFIXED, _is_mixed_key),)),
    Family(re.compile(rb"npm_" + _START), (Kind("key", (b"npm_",), _PREFIXED, _is_mixed_key),)),
    Family(
        re.compile(rb"A(?:[KS]IA[A-Z0-9]|Iza|RER(?:[ \t]|%20))"),
        (
            Kind("bearer", (b"BEARER",), _BEARER),
            Kind("key", (b"AKIA", b"ASIA"), re.compile(rb"(A[KS]IA[A-Z0-9]{16})(?![A-Za-z0-9])|A")),
            Kind("key", (b"AIza",), re.compile(rb"(AIza" + _WORD + rb"{30,}+)|A")),
        ),
    ),
)

# Where the middle of a body is missing, a secret may be cut in two. Whatever could be half of one goes; a JWT has 2 to 4 KiB.
_MAX_HALF = 8192
_BEGINNING_OF_A_HALF = re.compile(rb"[A-Za-z0-9._~+/=-]*+")
# Backwards, and with the backslash of an escape whose letter it takes.
_END_OF_A_HALF = re.compile(_BEGINNING_OF_A_HALF.pattern + rb"\\*+")


def find(data: bytes) -> list[Span]:
    """Every secret in `data`, in order and without overlaps."""
    found = _find_as_it_stands(data)
    if reading := unescaped(data):
        found += _placed(reading, _find_as_it_stands(reading.text))
    return _merged(found) if found else found


def find_in_body(data: bytes) -> list[Span]:
    """Also what is spelled over several events of a stream."""
    found = find(data)
    for reading in spelled(data):
        found += _placed(reading, find(reading.text))
    return _merged(found)


def find_yours(texts: Sequence[bytes], search: Search) -> list[list[Span]]:
    """What the user wants out of each of these texts or bodies, in whatever way a person could read it. One search for all."""
    read = [(number, reading) for number, data in enumerate(texts) for reading in _as_read(data)]
    spans: list[list[Span]] = [[] for _ in texts]
    for (number, reading), places in zip(read, search([reading.text for _, reading in read]), strict=True):
        spans[number] += _placed(reading, (Span(start, end, YOURS) for start, end in places))
    return spans


def _as_read(data: bytes) -> Iterator[Reading]:
    for reading in (as_it_stands(data), *spelled(data)):
        yield reading
        if plain := wholly_unescaped(reading):
            yield plain


def redacted(data: bytes, yours: Iterable[Span] = ()) -> bytes:
    spans = [*find(data), *yours]
    return _without(data, 0, _merged(spans)) if spans else data


def redacted_text(text: str, yours: Iterable[Span] = ()) -> str:
    """Always something that UTF-8 can write, whatever came in."""
    return redacted(text.encode("utf-8", "replace"), yours).decode("utf-8", "replace")


def redacted_body(body: Body, search: Search | None = None) -> Body:
    """Searched as one, however it was cut into chunks; each chunk keeps its moment, and may become empty."""
    if body.truncated:
        edge = sum(body.lengths[: body.gap])
        spans = _find_in(body.data[:edge], search, _half_at_the_end)
        spans += [
            Span(start + edge, end + edge, kind) for start, end, kind in _find_in(body.data[edge:], search, _half_at_the_beginning)
        ]
    else:
        spans = _find_in(body.data, search)
    return _without_those(body, spans) if spans else body


type _Halves = Callable[[bytes], tuple[int, int]]


def _half_at_the_end(text: bytes) -> tuple[int, int]:
    found = _END_OF_A_HALF.match(text[-_MAX_HALF:][::-1])
    return (len(text) - found.end() if found else len(text)), len(text)


def _half_at_the_beginning(text: bytes) -> tuple[int, int]:
    found = _BEGINNING_OF_A_HALF.match(text[:_MAX_HALF])
    return 0, found.end() if found else 0


def _find_halves(data: bytes, half: _Halves) -> list[Span]:
    readings = (as_it_stands(data), *spelled(data))
    return [span for reading in readings for span in _placed(reading, [Span(*half(reading.text), "half")])]


def _find_in(data: bytes, search: Search | None, half: _Halves | None = None) -> list[Span]:
    spans = find_in_body(data)
    if half:
        spans += _find_halves(data, half)
    if search:
        spans += find_yours([data], search)[0]
    return _merged(spans)


def _without_those(body: Body, spans: Sequence[Span]) -> Body:
    pieces, at, first = [], 0, 0
    for length in body.lengths:
        end = at + length
        while first < len(spans) and spans[first].end <= at:
            first += 1
        last = first
        while last < len(spans) and spans[last].start < end:
            last += 1
        pieces.append(_without(body.data[at:end], at, spans[first:last]))
        at = end
    return Body.of(b"".join(pieces), body.moments, array("Q", map(len, pieces)), body.left_out, body.gap)


def _without(data: bytes, at: int, spans: Sequence[Span]) -> bytes:
    """`data`, which stands at `at`, without what of these spans lies in it. A span is named where it begins."""
    out, done = [], 0
    for span in spans:
        out.append(data[done : max(span.start - at, done)])
        if span.start >= at and span.kind:
            out.append(b"[redacted %b]" % span.kind.encode())
        done = min(span.end - at, len(data))
    return b"".join([*out, data[done:]])


def _find_as_it_stands(data: bytes) -> list[Span]:
    return [
        span
        for family in FAMILIES
        if family.trace.search(data)
        for kind in family.kinds
        for mark in kind.marks
        for span in _find_kind(data, kind, mark)
    ]


def _find_kind(data: bytes, kind: Kind, mark: bytes) -> list[Span]:
    spans = []
    at = data.find(mark)
    while at >= 0:
        match = kind.run.match(data, at)
        assert match, f"the pattern for {kind.name} has to match at its mark"
        if match[1] is not None and kind.is_secret(match[1], data[at - 1 : at].isalnum()):
            spans.append(Span(match.start(1), match.end(1), kind.name))
        # Behind it; but a run may end with another mark, as in `Bearer 1234Bearer 5678`.
        at = data.find(mark, max(match.end() - len(mark), at + 1))
    return spans


def _placed(reading: Reading, spans: Iterable[Span]) -> list[Span]:
    """These spans of the reading, where they stand."""
    return [
        Span(start, end, "" if number else span.kind)
        for span in spans
        for number, (start, end) in enumerate(reading.places(span.start, span.end))
    ]


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.start < merged[-1].end:
            merged[-1] = merged[-1]._replace(end=max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return merged
