"""They do what mitmproxy's own headers do, one name at a time."""

from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http

from addons import heads

NAMES = st.sampled_from([b"host", b"Host", b"X-One", b"x-one", b"x-two", b"Origin", b"x-\xff"])
HEADS = st.lists(st.tuples(NAMES, st.binary(max_size=4)), max_size=8).map(lambda fields: http.Headers(fields))
VALUES = st.dictionaries(st.sampled_from(["Host", "x-one", "x-three", "origin"]), st.text(max_size=4))
FEW = st.lists(st.sampled_from(["host", "x-one", "x-three"]), unique=True).map(tuple)


@given(HEADS, FEW)
def test_what_is_told(headers: http.Headers, names: tuple[str, ...]) -> None:
    assert heads.told(headers, heads.in_bytes(names)) == {name: headers[name] for name in names if name in headers}


@given(HEADS)
def test_what_is_there(headers: http.Headers) -> None:
    assert heads.has(headers, b"x-one") == ("x-one" in headers)


@given(HEADS)
def test_a_family_is_told(headers: http.Headers) -> None:
    assert heads.family(headers, b"x-") == {name.lower(): headers[name] for name in headers if name.lower().startswith("x-")}


@given(HEADS, VALUES)
def test_what_is_put(headers: http.Headers, values: dict[str, str]) -> None:
    expected = headers.copy()
    for name, value in values.items():
        expected[name] = value.encode("utf-8", "surrogateescape")
    heads.put(headers, values)
    assert headers.fields == expected.fields


@given(HEADS, FEW)
def test_what_is_taken_off(headers: http.Headers, names: tuple[str, ...]) -> None:
    expected = headers.copy()
    for name in names:
        expected.pop(name, None)
    heads.take_off(headers, heads.in_bytes(names))
    assert headers.fields == expected.fields


@given(HEADS)
def test_a_family_is_taken_off(headers: http.Headers) -> None:
    expected = headers.copy()
    for name in [name for name in headers if name.lower().startswith("x-")]:
        del expected[name]
    heads.take_off_family(headers, b"x-")
    assert headers.fields == expected.fields
