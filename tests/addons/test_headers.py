"""Heads are read and written as mitmproxy does it: whatever is done to them is done by both."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http
from mitmproxy.test import tutils

from addons import engine
from addons.engine.originals import original

engine.install()

# mitmproxy's own, with none of the engine's functions.
AsEver = type("AsEver", (http.Headers,), {name: found for (owner, name), found in original.items() if owner is http.Headers})

# ASCII in both cases, two names that are the same for Unicode and not for HTTP (the sign for Kelvin and a k), and no text at all.
NAMES = ["x-one", "X-One", "x-two", "k", "\u212a", "x-gr\u00fc\u00dfe", "X-GR\u00dc\u00dfE", "", "x-\udcff"]
VALUES = ["1", "", "two, three", "\u4e16", "\udcff"]


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


names = st.sampled_from(NAMES) | st.sampled_from(NAMES).map(as_bytes)
values = st.sampled_from(VALUES) | st.sampled_from(VALUES).map(as_bytes)
fields = st.lists(st.tuples(st.sampled_from(NAMES).map(as_bytes), st.sampled_from(VALUES).map(as_bytes)), max_size=6)
Doing = Callable[[http.Headers], Any]
doings: st.SearchStrategy[Doing] = st.one_of(
    st.builds(lambda name: lambda of: of.get(name), names),
    st.builds(lambda name, other: lambda of: of.get(name, other), names, values),
    st.builds(lambda name: lambda of: of[name], names),
    st.builds(lambda name: lambda of: name in of, names),
    st.builds(lambda name: lambda of: of.get_all(name), names),
    st.builds(lambda name, value: lambda of: of.__setitem__(name, value), names, values),
    st.builds(lambda name, those: lambda of: of.set_all(name, those), names, st.lists(values, max_size=3)),
    st.builds(lambda name: lambda of: of.__delitem__(name), names),
    st.builds(lambda name, value: lambda of: of.add(name, value), names, values),
    st.builds(lambda name, value: lambda of: of.insert(1, name, value), names, values),
    st.builds(lambda name: lambda of: of.pop(name, None), names),
    st.builds(lambda those: lambda of: setattr(of, "fields", tuple(those)), fields),
    st.builds(
        lambda those: lambda of: of.update(those), st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES), max_size=3)
    ),
    st.sampled_from(
        [
            list,
            len,
            bytes,
            dict,
            lambda of: list(of.items()),
            lambda of: list(of.items(multi=True)),
            lambda of: list(of.keys(multi=True)),
            lambda of: of.copy().fields,
        ]
    ),
)


@given(fields, st.lists(doings, max_size=8))
def test_whatever_is_done_to_a_head_has_the_same_outcome(those: list[tuple[bytes, bytes]], what: list[Doing]) -> None:
    ours, theirs = http.Headers(those), AsEver(those)
    for doing in what:
        assert outcome(doing, ours) == outcome(doing, theirs)
        assert ours.fields == theirs.fields


def outcome(doing: Doing, of: http.Headers) -> Any:
    try:
        return doing(of)
    except KeyError as e:
        return repr(e)


@given(fields, st.sampled_from([tuple, list, iter, lambda those: [list(field) for field in those]]), st.booleans())
def test_a_head_is_made_of_the_same_things(those: list[tuple[bytes, bytes]], kind: Callable[[Any], Any], named: bool) -> None:
    more: dict[str, str] = {"x_one": "named"} if named else {}
    assert http.Headers(kind(those), **more).fields == AsEver(kind(those), **more).fields


@pytest.mark.parametrize("wrong", [[("x", b"1")], [(b"x", "1")], [(b"x", None)], [5]])
def test_what_is_no_head_is_refused_as_ever(wrong: Any) -> None:
    for kind in (http.Headers, AsEver):
        with pytest.raises(TypeError):
            kind(wrong)


@pytest.mark.parametrize("wrong", [5, ("x",)])
@pytest.mark.parametrize("do", [lambda of, it: of.get(it), lambda of, it: it in of, lambda of, it: of.set_all(it, ["1"])])
def test_what_is_no_name_is_refused_as_ever(do: Callable[[http.Headers, Any], Any], wrong: Any) -> None:
    for headers in (http.Headers(x="1"), AsEver(x="1")):
        with pytest.raises(TypeError):
            do(headers, wrong)


def test_the_head_of_a_message_can_be_put_in_another_ones_place() -> None:
    message = tutils.treq()
    message.headers = http.Headers(a="1")
    assert message.headers is message.data.headers and message.headers["a"] == "1"
    assert http.Message.headers.__doc__
