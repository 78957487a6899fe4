"""Secrets as they are found in the wild, made at random."""

import base64
import re
from collections.abc import Callable

from hypothesis import strategies as st

BASE62 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@st.composite
def jwts(draw: st.DrawFn) -> str:
    header = _base64url(b'{"alg":"RS256","kid":"%b"}' % draw(st.binary(max_size=12)).hex().encode())
    payload = _base64url(b'{"sub":"%b"}' % draw(st.binary(min_size=4, max_size=60)).hex().encode())
    return f"{header}.{payload}.{_base64url(draw(st.binary(min_size=16, max_size=64)))}"


@st.composite
def keys(draw: st.DrawFn) -> str:
    prefix = draw(st.sampled_from(["sk-", "sk-proj-", "sess-", "at-", "rt_", "ghp_", "github_pat_"]))
    # So long that chance alone makes sure of letters of both kinds and digits; these four make it certain.
    return f"{prefix}{draw(st.text(BASE62, min_size=24, max_size=60))}aB3{draw(st.text(BASE62, min_size=1, max_size=8))}7"


@st.composite
def opaque(draw: st.DrawFn) -> tuple[str, str]:
    """How it stands in the text, and the part that must not survive."""
    secret = draw(st.text(BASE62 + "-._~+/", min_size=12, max_size=60)) + "9x"
    return f"{draw(st.sampled_from(['Bearer', 'bearer', 'BEARER']))}{draw(st.sampled_from([' ', '  ', '%20']))}{secret}", secret


def tokens() -> st.SearchStrategy[tuple[str, str]]:
    return st.one_of(jwts().map(lambda t: (t, t)), keys().map(lambda t: (t, t)), opaque())


def escaped(text: str, which: Callable[[int], bool]) -> str:
    """Some of the characters as JSON may write them."""
    return "".join(f"\\u{ord(c):04x}" if which(i) else c for i, c in enumerate(text))


def unescaped(data: bytes) -> bytes:
    return re.sub(rb"\\u00([2-7][0-9a-fA-F])", lambda found: bytes.fromhex(found[1].decode()), data)
