"""Files that are no policy, or nearly one: none breaks the proxy, none keeps it busy, and none lets anybody in whose key is not in
the policy that is in force.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mitmproxy import http
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import taddons, tflow, tutils

from addons.at_rest import EMPTY_REST, read_at_rest
from addons.gate import CodexGate
from addons.policy import BadPolicy, CodexPolicy, Policy, parse
from addons.redact import CodexRedact

KEYS = ("cmx-one-CANARY", "cmx-two-CANARY", "cmx-three-CANARY")
HASHES = [hashlib.sha256(key.encode()).hexdigest() for key in KEYS]

# Every section and every field there is, with two of the keys.
GOOD = f"""\
aliases: {{gpt-4o: "@smallest", /gpt-4.*/: "@default"}}
show_reasoning: false
accounts:
  strategy: fill-first
  affinity: true
  order:
    work: {{priority: 1, weight: 2}}
keys:
  - label: one
    hash: "sha256:{HASHES[0]}"
    requests_per_minute: 60
    tokens_per_minute: 1000
    parallel: 2
    models: [gpt-4o, /gpt-5.*/]
  - label: two
    hash: "sha256:{HASHES[1]}"
origins: [https://chat.example.com]
redact_patterns: ["ACME-[0-9]+"]
shutdown: {{grace: 5}}
"""


# --- bounded work -----------------------------------------------------------------------------------------------------


class TooMuchWork(BaseException):
    """Not an Exception: nobody may take it for a fault of the file."""


@contextmanager
def at_most(calls: int) -> Iterator[None]:
    """Of Python functions. They are the same on every machine, and the end of what would never end."""
    left, tool, kind = calls, 4, sys.monitoring.events.PY_START

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise TooMuchWork

    sys.monitoring.use_tool_id(tool, "at_most")
    sys.monitoring.register_callback(tool, kind, count)
    sys.monitoring.set_events(tool, kind)
    try:
        yield
    finally:
        sys.monitoring.set_events(tool, 0)
        sys.monitoring.register_callback(tool, kind, None)
        sys.monitoring.free_tool_id(tool)


def references(levels: int, line: str) -> str:
    """Each level stands for nine of the one before it."""
    first = "a0: &a0 {x: 1}\n"
    return first + "".join(line.format(n=n, nine=", ".join([f"*a{n - 1}"] * 9)) for n in range(1, levels))


LONG = "x" * 50_000
BOMBS: dict[str, str] = {
    "a billion laughs": references(12, "a{n}: &a{n} [{nine}]\n"),
    "a billion merges": references(12, "a{n}: &a{n}\n  <<: [{nine}]\n"),
    "a name of many names": f"? [&a {LONG}, {'*a, ' * 5000}]\n: 1",
    "an alias of many names": f"aliases:\n  ? [&a {LONG}, {'*a, ' * 5000}]\n  : 1",
    "a reference to itself": "keys: &a [*a]",
    "a mapping in itself": "&a {aliases: *a}",
    "lists in lists": "[" * 5000,
    "mappings in mappings": "{" * 5000,
    "lists that are broken off": "[a, " * 5000,
    "one mark after the other": '["",' * 3000,
    "questions": "? " * 10_000,
    "dashes": "- " * 10_000,
    "indented ever more": "\n".join(" " * n + "a:" for n in range(300)),
    "entries without end": f"origins: [{'https://a.example, ' * 3000}]",
    "models of many keys": "keys:\n- &k {label: a, hash: x, models: &m ["
    + ", ".join(f"m{n}" for n in range(900))
    + "]}\n"
    + f"- {{label: b, hash: 'sha256:{HASHES[0]}', models: *m}}\n" * 900,
    "a number in hex": f"show_reasoning: 0x{'f' * 50_000}",
    "a number for a name": f"? 0x{'f' * 5000}\n: 1",
    "a number for a weight": f"accounts: {{order: {{a: {{weight: 0x{'f' * 5000}}}}}}}",
    "a number in digits": f"show_reasoning: {'9' * 50_000}",
    "a number in sixties": f"%YAML 1.1\n---\nshow_reasoning: 1{':59' * 5000}",
    "a number of a label": f"keys: [{{label: 0b{'1' * 50_000}}}]",
    "a repetition without end": "aliases: {'/a{999999999999999}/': x}",
    "a repetition in models": f"keys: [{{label: a, hash: 'sha256:{HASHES[0]}', models: ['/a{{99999999999}}/']}}]",
    "half of a character": 'aliases: {"\\ud800": x}',
    "half of one in a word": 'accounts: {strategy: "\\udfff"}',
    "a character that is none": "aliases: {}\n\0",
    "a name twice": "aliases: &a {}\norigins: &a []",
    "a tag of Python": "keys: !!python/object/apply:os.system [true]",
    "a tag that is a lie": "show_reasoning: !!int x",
    "a date that is none": "show_reasoning: 2001-99-99",
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_with_its_line_and_in_a_time_that_does_not_grow_with_it(text: str) -> None:
    with at_most(3_000_000 + 100 * len(text)), pytest.raises(BadPolicy, match=r"^line \d+: ") as raised:
        parse(text)
    assert len(str(raised.value)) < 1000
    str(raised.value).encode()  # or no log could print it


def test_a_large_policy_is_none() -> None:
    """A thousand keys with all that a key can have, and a thousand aliases."""
    text = "keys:\n" + "".join(
        f"""\
  - label: key-of-somebody-{n}
    hash: "sha256:{n:064x}"
    requests_per_minute: 10000
    tokens_per_minute: 100000000
    parallel: 100
    models: [gpt-5.5, gpt-5.5-mini, /gpt-4.*/]
"""
        for n in range(1000)
    )
    text += "aliases:\n" + "".join(f"  a-name-for-a-model-{n}: '@smallest'\n" for n in range(1000))
    assert len(parse(text).keys or ()) == 1000


def test_references_are_no_sin() -> None:
    policy = parse(
        f"keys:\n- {{label: a, hash: 'sha256:{HASHES[0]}', models: &few [gpt-5, gpt-4]}}\n"
        f"- {{label: b, hash: 'sha256:{HASHES[1]}', models: *few}}"
    )
    assert [key.may_ask_for("gpt-4") for key in policy.keys or ()] == [True, True]


# --- whatever a file says ---------------------------------------------------------------------------------------------

LOOKALIKES = str.maketrans({"k": "к", "e": "е", "a": "а", "s": "ѕ", ":": "：", "-": "–", " ": "\u00a0"})
PIECES = [
    *GOOD.splitlines(),
    *("keys:", "keys: []", "keys: null", "key: []", "Keys: []", "keys: {}", "kеys: []", "?", "---", "...", "<<: *a", "&a", "!!set"),
    f'- {{label: three, hash: "sha256:{HASHES[2]}"}}',
    f'- {{label: three, hash: "SHA256:{HASHES[2]}"}}',
    f'- {{label: three, hash: "sha256:{HASHES[2].upper()}"}}',
    f"- {{label: three, hash: {KEYS[2]}}}",
    f'    hash: "sha256:{"0" * 64}"',
]

Change = Callable[[list[str], int, int], list[str]]
CHANGES: dict[str, Change] = {
    "leave out": lambda lines, at, n: lines[:at] + lines[at + 1 :],
    "twice": lambda lines, at, n: lines[: at + 1] + lines[at:],
    "insert": lambda lines, at, n: [*lines[:at], PIECES[n % len(PIECES)], *lines[at:]],
    "indent": lambda lines, at, n: [*lines[:at], " " * (n % 5) + lines[at], *lines[at + 1 :]],
    "outdent": lambda lines, at, n: [*lines[:at], lines[at].lstrip(), *lines[at + 1 :]],
    "lookalikes": lambda lines, at, n: [*lines[:at], lines[at].translate(LOOKALIKES), *lines[at + 1 :]],
    "cut": lambda lines, at, n: [*lines[:at], lines[at][: n % (len(lines[at]) + 1)]],
    "swap": lambda lines, at, n: [*lines[:at], lines[n % len(lines)], *lines[at + 1 :]],
    "hex": lambda lines, at, n: [*lines[:at], lines[at].replace(HASHES[0], HASHES[n % 3]), *lines[at + 1 :]],
    "letter": lambda lines, at, n: [*lines[:at], lines[at].replace(lines[at][n % len(lines[at]) :][:1], "x", 1), *lines[at + 1 :]],
}


@st.composite
def nearly(draw: st.DrawFn) -> bytes:
    lines = GOOD.splitlines()
    for change in draw(st.lists(st.sampled_from(list(CHANGES)), max_size=4)):
        lines = [line for line in lines if line] or ["keys: []"]
        lines = CHANGES[change](lines, draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, 1000)))
    return "\n".join(lines).encode()


FILES = st.one_of(
    nearly(),
    st.lists(st.sampled_from(PIECES), max_size=6).map("\n".join).map(str.encode),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=40),
    st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff\xfe" + "keys: []".encode("utf-16-le"), b"keys: []\r", b"---\n---", b"[" * 500]),
)


def in_force(content: bytes, before: Policy) -> Policy:
    """What `CodexPolicy` promises: the rules of this file, or those before it."""
    try:
        return parse(content.decode("utf-8-sig"))
    except (UnicodeDecodeError, BadPolicy) as e:
        assert isinstance(e, UnicodeDecodeError) or str(e).startswith("line ")
        return before


def let_in(gate: CodexGate, **headers: str) -> bool:
    """The hooks that a request meets at its head."""
    fields = [(b"host", b"localhost"), *[(name.encode(), value.encode()) for name, value in headers.items()]]
    flow = tflow.tflow(req=tutils.treq(path=b"/v1/models", headers=http.Headers(fields)))
    flow.client_conn.proxy_mode = ProxyMode.parse("reverse:https://x")
    flow.client_conn.sockname = ("127.0.0.1", 9090)
    CodexRedact().requestheaders(flow)
    gate.requestheaders(flow)
    assert flow.response is None or flow.response.status_code == 401
    return flow.response is None


async def test_after_a_policy_with_keys_nobody_gets_in_but_by_a_key_of_the_policy_in_force(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(GOOD)
    policy, moment = CodexPolicy(), 1_000_000_000
    gate = CodexGate(policy, {})
    known = parse(GOOD)
    admitted = refused = 0

    with taddons.context(Proxyserver(), policy, gate) as tctx:
        tctx.options.update(server=False, listen_host="127.0.0.1", mode=["reverse:https://x"])
        tctx.options.update(codex_policy=str(file))
        assert let_in(gate, authorization=f"Bearer {KEYS[0]}") and not let_in(gate)

        @settings(max_examples=250, deadline=None)
        @given(FILES)
        def whatever_it_says(content: bytes) -> None:
            nonlocal known, moment, admitted, refused
            file.write_bytes(content)
            moment += 1
            os.utime(file, (moment, moment))  # long ago: nobody is writing it any more
            known = in_force(content, known)
            digests = {key.digest.hex() for key in known.keys or ()}
            assert not let_in(gate)
            assert not let_in(gate, authorization="Bearer cmx-of-nobody")
            for key, digest in zip(KEYS, HASHES, strict=True):
                assert let_in(gate, authorization=f"Bearer {key}") == let_in(gate, **{"x-api-key": key}) == (digest in digests)
                admitted, refused = admitted + (digest in digests), refused + (digest not in digests)

        whatever_it_says()
    assert admitted > 50 and refused > 50, "or it has shown nothing"


@settings(max_examples=200, deadline=None)
@given(FILES)
def test_a_key_that_a_policy_has_stands_in_its_file(content: bytes) -> None:
    policy = in_force(content, Policy())
    assert all(key.digest.hex().encode() in content for key in policy.keys or ())


# --- a file that is being written -------------------------------------------------------------------------------------


def test_what_is_half_there_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(GOOD[: len(GOOD) // 2])
    slept: list[float] = []

    def finish(seconds: float) -> None:
        """Somebody else's turn; then it is old."""
        slept.append(seconds)
        file.write_text(GOOD)
        os.utime(file, (1e9, 1e9))

    found = read_at_rest(file, 1 << 20, sleep=finish)
    assert found and found[1].decode() == GOOD and len(slept) == 1


def test_what_never_rests_is_not_believed(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("keys: []")
    assert read_at_rest(file, 1 << 20, sleep=lambda _: file.write_text(GOOD)) is None


def test_what_is_empty_is_believed_after_a_while(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("")
    assert read_at_rest(file, 1 << 20) is None
    age = file.stat().st_mtime - EMPTY_REST
    os.utime(file, (age, age))
    found = read_at_rest(file, 1 << 20)
    assert found and found[1] == b""


def test_a_change_in_the_same_tick_of_the_clock_is_seen(tmp_path: Path) -> None:
    """One key for another: the same size, and written right after the first was read."""
    file = tmp_path / "policy.yaml"
    policy = CodexPolicy()
    policy.path = file
    for n in range(20):
        file.write_text(f'keys: [{{label: a, hash: "sha256:{n:064x}"}}]')
        (key,) = policy.current().keys or ()
        assert int.from_bytes(key.digest) == n
