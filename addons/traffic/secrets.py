"""What looks like a secret, found in any text or body and taken out of it. Pure, and in linear time.

A secret is looked for at its mark (`eyJ`, `sk-`), which `bytes.find` reaches at memory speed, in 3 ms for 4 MiB; meanwhile no other
thread runs. At the mark one regular expression takes the whole run of characters that a secret could have. It never gives back what
it took (possessive quantifiers), and the search goes on behind it, so that no byte is looked at more than a few times.

JSON can write any character as an escape, and JSON within JSON can do it again: a body that has such escapes is searched a second
time as it reads without them, and what is found there is cut out where it stands.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from addons.traffic.exchange import Body, Chunk


class Span(NamedTuple):
    start: int
    end: int
    kind: str


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

KINDS = (
    # RFC 7519: base64url of `{"`, then two more parts; an encrypted one has five. What is left of a third part may be nothing.
    Kind("jwt", (b"eyJ",), re.compile(rb"(eyJ" + _WORD + rb"++(?:\." + _WORD + rb"*+){2,}+)|" + _WORD + rb"++")),
    # OpenAI's, and those of all who have copied them.
    Kind("key", (b"sk-", b"sess-"), re.compile(rb"((?:sk|sess)-" + _KEY + rb")|" + _WORD + rb"++"), _is_key),
    # A personal access token of ChatGPT, a refresh token.
    Kind("token", (b"at-", b"rt_", b"rt."), re.compile(rb"((?:at-|rt[_.])[A-Za-z0-9_.-]{20,}+)|" + _WORD + rb"++"), _is_mixed_key),
    # RFC 6750, 2.1. "Bearer authentication" is a phrase and no secret: one plain word is let through.
    Kind(
        "bearer",
        (b"Bearer", b"bearer", b"BEARER"),
        re.compile(rb"(?i:bearer)(?:[ \t]|%20)++(?![A-Za-z]{1,20}+[.=]?+(?![A-Za-z0-9._~+/=-]))([A-Za-z0-9._~+/=-]{8,}+)|[Bb]"),
    ),
    # What else programs hand to a model by mistake: GitHub, GitLab, Slack, AWS, Google, Hugging Face, npm.
    Kind(
        "key",
        (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_", b"glpat-", b"xoxb-", b"xoxp-", b"xapp-", b"hf_", b"npm_"),
        re.compile(rb"([a-z]{2,6}[_-]" + _KEY + rb")|" + _WORD + rb"++"),
        _is_mixed_key,
    ),
    Kind("key", (b"AKIA", b"ASIA"), re.compile(rb"(A[KS]IA[A-Z0-9]{16})(?![A-Za-z0-9])|A")),
    Kind("key", (b"AIza",), re.compile(rb"(AIza" + _WORD + rb"{30,}+)|A")),
    # RFC 7468. In JSON its lines end with `\n`, written out.
    Kind(
        "private key",
        (b"-----BEGIN ",),
        re.compile(
            rb"(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----(?:[A-Za-z0-9+/=\s]|\\{1,8}[rnt])*+(?:-----END [A-Z0-9 ]{0,40}-----)?)"
            rb"|-"
        ),
    ),
)

# Printable ASCII as JSON may escape it, and once more for each level of JSON within JSON.
_ESCAPE = re.compile(rb"\\{1,8}(?:u00([2-7][0-9A-Fa-f])|/)")

# Where the middle of a body is missing, a secret may be cut in two. Whatever could be half of one goes; a JWT has 2 to 4 KiB.
_MAX_HALF = 8192
_HALF = re.compile(rb"[A-Za-z0-9._~+/=-]*+")

type Patterns = Sequence[re.Pattern[bytes]]


class BadPattern(ValueError):
    """A user's pattern that is no regular expression."""


def compile_patterns(texts: Iterable[str]) -> list[re.Pattern[bytes]]:
    """The user's own, for bytes. Raises BadPattern. They run as they are written: a slow one slows the recording down."""
    compiled = []
    for text in texts:
        try:
            compiled.append(re.compile(text.encode()))
        except re.error as e:
            raise BadPattern(f"not a regular expression: {text} ({e})") from e
    return compiled


def find(data: bytes, patterns: Patterns = ()) -> list[Span]:
    """Every secret in `data`, in order and without overlaps."""
    found = _find_plain(data, patterns)
    if b"\\u00" in data or b"\\/" in data:
        found += _find_escaped(data, patterns)
    return _merged(found)


def redacted(data: bytes, patterns: Patterns = ()) -> bytes:
    spans = find(data, patterns)
    return _without(data, 0, spans) if spans else data


def redacted_text(text: str, patterns: Patterns = ()) -> str:
    """Always something that UTF-8 can write, whatever came in."""
    return redacted(text.encode("utf-8", "replace"), patterns).decode("utf-8", "replace")


def redacted_body(body: Body, patterns: Patterns = ()) -> Body:
    """Searched as one, however it was cut into chunks; each chunk keeps its moment, and may become empty."""
    head, tail = body.chunks[: body.gap], body.chunks[body.gap :]
    if not body.truncated:
        return Body(tuple(_redacted_chunks(body.chunks, patterns, ())))
    before, behind = _joined(head), _joined(tail)
    last, first = _half(before[-_MAX_HALF:][::-1]), _half(behind[:_MAX_HALF])
    kept_head = _redacted_chunks(head, patterns, [Span(len(before) - last, len(before), "half")] if last else ())
    kept_tail = _redacted_chunks(tail, patterns, [Span(0, first, "half")] if first else ())
    return Body((*kept_head, *kept_tail), body.left_out, body.gap)


def _half(text: bytes) -> int:
    """How many characters at its beginning could belong to a secret."""
    found = _HALF.match(text)
    return found.end() if found else 0


def _redacted_chunks(chunks: Sequence[Chunk], patterns: Patterns, more: Iterable[Span]) -> list[Chunk]:
    data = _joined(chunks)
    spans = _merged([*find(data, patterns), *more])
    if not spans:
        return list(chunks)
    out, at, first = [], 0, 0
    for chunk in chunks:
        end = at + len(chunk.data)
        while first < len(spans) and spans[first].end <= at:
            first += 1
        last = first
        while last < len(spans) and spans[last].start < end:
            last += 1
        out.append(Chunk(chunk.at, _without(chunk.data, at, spans[first:last])))
        at = end
    return out


def _joined(chunks: Sequence[Chunk]) -> bytes:
    return b"".join(chunk.data for chunk in chunks)


def _without(data: bytes, at: int, spans: Sequence[Span]) -> bytes:
    """`data`, which stands at `at`, without what of these spans lies in it. A span is named where it begins."""
    out, done = [], 0
    for span in spans:
        out.append(data[done : max(span.start - at, done)])
        if span.start >= at:
            out.append(b"[redacted %b]" % span.kind.encode())
        done = min(span.end - at, len(data))
    return b"".join([*out, data[done:]])


def _find_plain(data: bytes, patterns: Patterns) -> list[Span]:
    spans = [span for kind in KINDS for mark in kind.marks for span in _find_kind(data, kind, mark)]
    return spans + [
        Span(match.start(), match.end(), "by your pattern")
        for pattern in patterns
        for match in pattern.finditer(data)
        if match.end() > match.start()
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


def _find_escaped(data: bytes, patterns: Patterns) -> list[Span]:
    """Searches the text that the escapes stand for, and says where in `data` it was."""
    pieces, starts, shifts = [], [0], [0]
    done = length = 0
    for escape in _ESCAPE.finditer(data):
        pieces.append(data[done : escape.start()])
        pieces.append(bytes.fromhex(escape[1].decode()) if escape[1] else b"/")
        length += len(pieces[-2]) + 1
        done = escape.end()
        starts.append(length)
        shifts.append(done - length)
    plain = b"".join([*pieces, data[done:]])

    def place(position: int) -> int:
        return position + shifts[bisect_right(starts, position) - 1]

    # The end of a span is the place of its last character and what that is written with.
    return [Span(place(s.start), _end(data, place(s.end - 1)), s.kind) for s in _find_plain(plain, patterns)]


def _end(data: bytes, last: int) -> int:
    escape = _ESCAPE.match(data, last)
    return escape.end() if escape else last + 1


def _merged(spans: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.start < merged[-1].end:
            merged[-1] = merged[-1]._replace(end=max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return merged
