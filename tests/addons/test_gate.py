"""The gate's decisions, without a proxy: keys and policies that are wrong, hosts, origins, the name of a model."""

import hmac
import string
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import taddons, tflow, tutils
from ruamel.yaml import YAML

from addons import hosts
from addons.asked_model import asked_model
from addons.gate import CodexGate
from addons.keys import BadKeys, Key, digest_of, find, from_environment, validate_keys
from addons.policy import BadPolicy, CodexPolicy, parse
from tests.addons.hooks import over

HASH = "sha256:" + "ab" * 32
GOOD = {"label": "laptop", "hash": HASH}


# --- keys in a policy -------------------------------------------------------------------------------------------------


def test_a_key_with_everything() -> None:
    limits = {"requests_per_minute": 60, "tokens_per_minute": 1000, "parallel": 4}
    (key,) = validate_keys([GOOD | limits | {"models": ["gpt-5", "/gpt-4.*/"]}])
    assert (key.label, key.digest.hex(), *key.limits) == ("laptop", "ab" * 32, 60, 1000, 4)
    assert [key.may_ask_for(name) for name in ("gpt-5", "gpt-4o", "gpt-5-pro", "")] == [True, True, False, False]
    assert validate_keys([GOOD])[0].may_ask_for("anything")


WRONG: dict[str, tuple[str, str]] = {
    "no list": ("keys: {laptop: x}", "line 1: keys: it must be a list"),
    "nothing": ("aliases: {}\nkeys:", "line 2: keys: it must be a list"),
    "a key itself": ("keys:\n  - cmx-x", "line 2: keys: number 1: a key must be a mapping"),
    "no label": (f'keys:\n  - hash: "{HASH}"', "line 2: keys: number 1: label: it must be up to 64 letters"),
    "a number for a label": (f'keys:\n  - hash: "{HASH}"\n    label: 5', "line 3: keys: number 1: label: "),
    "no hash": ("keys:\n  - label: a", "line 2: keys: number 1: hash: it must be sha256:"),
    "a short hash": ("keys:\n  - label: a\n    hash: sha256:ab", "line 3: keys: number 1: hash: it must be sha256:"),
    "a misspelt limit": (
        f'keys:\n  - label: a\n    hash: "{HASH}"\n    request_per_minute: 1',
        "line 4: keys: number 1: request_per_minute: not known",
    ),
    "a limit of nothing": (f'keys: [{{label: a, hash: "{HASH}", tokens_per_minute: 0}}]', "tokens_per_minute: it must be a whole"),
    "a limit that is true": (f'keys: [{{label: a, hash: "{HASH}", requests_per_minute: true}}]', "requests_per_minute: it must"),
    "no slot at all": (f'keys: [{{label: a, hash: "{HASH}", parallel: 0}}]', "parallel: it must be a whole"),
    "no models": (f'keys: [{{label: a, hash: "{HASH}", models: []}}]', "models: it must be a list"),
    "a number for a model": (f'keys: [{{label: a, hash: "{HASH}", models: [4.1]}}]', "models: a name must be a string"),
    "a pattern that is none": (f'keys: [{{label: a, hash: "{HASH}", models: ["/(/"]}}]', "models: /(/: is no regular expression"),
    "a label twice": (
        f'keys:\n- {{label: a, hash: "{HASH}"}}\n- {{label: a, hash: "sha256:{"cd" * 32}"}}',
        "line 3: keys: number 2: label: there are two keys a",
    ),
    "a key twice": (
        f'keys:\n- {{label: a, hash: "{HASH}"}}\n- {{label: b, hash: "{HASH}"}}',
        "line 3: keys: number 2: hash: it is",
    ),
    "keys twice": ("keys: []\nkeys: []", 'line 2: found duplicate key "keys"'),
    "keys misspelt": ("aliases: {}\nkey: []", "line 2: key is not known, did you mean keys?"),
    "an origin with a path": ("origins: [https://a.example/x]", "line 1: origins: https://a.example/x is no origin"),
    "every origin": ('origins: ["*"]', "origins: * is no origin"),
    "no origin": ("origins: ['null']", "origins: null is no origin"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_named_with_its_line(text: str, message: str) -> None:
    with pytest.raises(BadPolicy) as raised:
        parse(text)
    assert message in str(raised.value)


def test_a_key_in_the_place_of_its_hash_is_not_repeated() -> None:
    with pytest.raises(BadPolicy) as raised:
        parse("keys: [{label: a, hash: cmx-CANARY}]")
    assert "CANARY" not in str(raised.value)


def test_a_policy_without_keys_is_another_thing_than_one_with_none() -> None:
    assert parse("aliases: {}").keys is None and parse("keys: []").keys == ()


# Whatever YAML can make of a file: anything below `keys`, with entries that are nearly right among it.
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.just(HASH), st.just("a"))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["label", "hash", "models", "requests_per_minute", "x"]), inner, max_size=5),
    ),
    max_leaves=12,
)


@given(VALUES)
def test_what_stands_under_keys_is_never_taken_for_no_keys(value: Any) -> None:
    try:
        found = validate_keys(value)
    except BadKeys:
        return
    assert isinstance(value, list) and len(found) == len(value)


TAGS = (
    "!!int ''",
    "!!bool x",
    "!!timestamp x",
    "!!binary =",
    "!!python/object:os.system x",
    "&a [*a]",
    "<<: 1",
    "2001-99-99",
    "1:99",
)
LINES = st.lists(
    st.one_of(
        st.sampled_from(
            ["keys:", "keys: []", "  - label: a", f'    hash: "{HASH}"', "aliases:", "---", "...", "%YAML 1.1", "? {a: b}"]
        ),
        st.sampled_from([f"{where}{tag}" for tag in TAGS for where in ("", "keys: ", "  - ", "origins: ", "aliases: ")]),
        st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Z", "C"]), max_size=12),
    ),
    max_size=8,
)


@given(LINES)
def test_no_file_breaks_the_parser_and_none_that_speaks_of_keys_opens_the_gate(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        policy = parse(text)
    except BadPolicy:
        return
    document = YAML(typ="safe", pure=True).load(text)
    assert (policy.keys is not None) == (isinstance(document, dict) and "keys" in document)


# --- which key it is --------------------------------------------------------------------------------------------------


def test_a_key_is_found_among_others_wherever_it_stands() -> None:
    listed = [Key(label, digest_of(f"cmx-{label}")) for label in "abc"]
    for label in "abc":
        found = find(listed, [digest_of("something else"), digest_of(f"cmx-{label}")])
        assert found and found.label == label
    assert find(listed, [digest_of("cmx-d"), digest_of("cmx-A")]) is None
    assert find(listed, []) is None and find([], [digest_of("cmx-a")]) is None


def test_every_key_is_compared_with_and_by_a_function_that_takes_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long an answer takes must not tell how much of a key was right, or which of them."""
    compared: list[bytes] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append(a)
        return a == b

    monkeypatch.setattr(hmac, "compare_digest", compare)
    listed = [Key(label, digest_of(label)) for label in "abcd"]
    for brought in ("a", "d", "x"):
        compared.clear()
        find(listed, [digest_of(brought)])
        assert compared == [key.digest for key in listed]


def test_the_key_from_the_environment() -> None:
    found = from_environment({"PROXY_API_KEY": " sk-1\n"})
    assert found and (found.label, found.digest) == ("default", sha256(b"sk-1").digest())
    assert from_environment({}) is None and from_environment({"PROXY_API_KEY": ""}) is None


@pytest.mark.parametrize("value", [" ", "\n", "CANARY key", "CANARYé", "CANARY\x00"])
def test_a_key_that_no_header_can_carry_is_no_key_and_not_none_either(value: str) -> None:
    with pytest.raises(ValueError, match="PROXY_API_KEY: ") as raised:
        from_environment({"PROXY_API_KEY": value})
    assert "CANARY" not in str(raised.value)


def test_what_is_kept_of_a_key_is_its_digest() -> None:
    assert "CANARY" not in repr(from_environment({"PROXY_API_KEY": "CANARY"}))


# --- a head that nobody has looked at ---------------------------------------------------------------------------------


async def test_a_request_whose_head_was_passed_over_is_refused(tmp_path: Path) -> None:
    """mitmproxy calls nobody after a hook that raises, a hook of another script's too."""
    (tmp_path / "policy.yaml").write_text("")
    policy = CodexPolicy()
    gate = CodexGate(policy, {})
    with taddons.context(Proxyserver(), policy, gate) as tctx:
        tctx.options.update(server=False, listen_host="127.0.0.1", mode=["reverse:https://x"])
        tctx.options.update(codex_policy=str(tmp_path / "policy.yaml"))
        for seen, status in ((True, None), (False, 500)):
            flow = tflow.tflow(req=tutils.treq(headers=[(b"host", b"localhost")]))
            flow.client_conn.proxy_mode = ProxyMode.parse("reverse:https://x")
            flow.client_conn.sockname = ("127.0.0.1", 9090)
            if seen:
                gate.requestheaders(flow)
            await over(gate.request(flow))
            assert (flow.response and flow.response.status_code) == status


# --- hosts and origins ------------------------------------------------------------------------------------------------


NAMES = hosts.names_of(["192.168.1.5", "0.0.0.0", "::", "", "oauth-proxy", "[FE80::1]"])


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:9090", "127.0.0.1", "127.0.0.1:1", "[::1]:9090", "[0:0:0:0:0:0:0:1]", "localhost.", "localhost:"]
    + ["192.168.1.5:9090", "[::ffff:192.168.1.5]", "oauth-proxy:9090", "OAuth-Proxy", "[fe80::1]:80", " localhost "],
)
def test_our_own_names_are_served(host: str) -> None:
    assert hosts.is_served(host, NAMES)


@pytest.mark.parametrize(
    "host",
    ["", ":", ":9090", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "localhost:9090:1", "localhost/x"]
    + ["evil@localhost", "localhost@evil.example", "localhost, evil.example", "localhost evil", "0.0.0.0", "[::]", "127.1", "*"]
    + ["192.168.1.6", "[::1", "::1]", "localhost:999999", "localhost#x", "localhost?x", "xn--localhost-", "\x00localhost"],
)
def test_nobody_elses_are(host: str) -> None:
    assert not hosts.is_served(host, NAMES)


@given(st.text(string.printable, max_size=30))
def test_only_a_name_that_is_ours_is_served(host: str) -> None:
    if hosts.is_served(host, NAMES):
        assert hosts.host_of(host) in hosts.LOOPBACK | NAMES


@pytest.mark.parametrize(
    ("origin", "scheme", "host", "own"),
    [
        ("http://localhost:9090", "http", "localhost:9090", True),
        ("http://LOCALHOST:9090", "http", "localhost:9090", True),
        ("http://localhost", "http", "localhost:80", True),
        ("https://[::1]", "https", "[::1]:443", True),
        ("http://localhost:9091", "http", "localhost:9090", False),
        ("http://127.0.0.1:9090", "http", "localhost:9090", False),
        ("https://localhost:9090", "http", "localhost:9090", False),
        ("http://localhost:9090.evil.example", "http", "localhost:9090", False),
        ("null", "http", "localhost:9090", False),
        ("", "http", "", False),
        ("null", "http", "", False),
    ],
)
def test_which_page_is_our_own(origin: str, scheme: str, host: str, own: bool) -> None:
    assert hosts.is_own(origin, scheme, host) is own


@pytest.mark.parametrize("name", ["oauth-proxy", "proxy.example.com", "192.168.1.5", "::1", "[::1]", "my_proxy"])
def test_a_name_for_codex_hosts(name: str) -> None:
    assert hosts.bad_name(name) is None


@pytest.mark.parametrize("name", ["*", "", "http://x", "x:9090", "x/y", "a b", "[x]"])
def test_no_name_for_codex_hosts(name: str) -> None:
    assert hosts.bad_name(name)


@pytest.mark.parametrize(
    ("listening", "exposed"),
    [
        (["127.0.0.1"], []),
        (["127.0.0.2", "localhost", "::1"], []),
        ([""], ["0.0.0.0"]),
        (["0.0.0.0", "127.0.0.1"], ["0.0.0.0"]),
        (["::"], ["::"]),
        (["192.168.1.5", "myhost"], ["192.168.1.5", "myhost"]),
    ],
)
def test_who_can_reach_it(listening: list[str], exposed: list[str]) -> None:
    assert hosts.exposed(listening) == exposed


# --- the name of a model ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (b'{"model": "a"}', "a"),
        (b'{"model": "a", "input": {"model": "b"}}', "a"),
        (b'{"model": "a", "model": "b"}', None),
        (b'{"model": "a", "Model": "b"}', None),
        (b'{"model": "a", "\\u006dodel": "b"}', None),
        (b'{"model": 5}', None),
        (b"{}", None),
        (b"[]", None),
        (b'["model"]', None),
        (b"", None),
        (b"\xff", None),
        ('{"model": "a"}'.encode("utf-16"), None),
        (b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\na\r\n--x--', None),
        (b'{"a":' * 100_000, None),
    ],
)
def test_the_model_that_a_body_asks_for(body: bytes, model: str | None) -> None:
    assert asked_model(body) == model
