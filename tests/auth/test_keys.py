"""`python -m auth key add`: the key is told once, its hash goes into a policy, and nothing else of that file changes."""

import difflib
import re
import stat
from hashlib import sha256
from pathlib import Path

import pytest

from addons.keys import digest_of
from addons.policy import DEFAULT_FILE, parse
from auth import keys
from auth.errors import BadSetting
from tests.auth.program import Program, posix
from tests.proxy import ROOT

POLICY = (ROOT / DEFAULT_FILE).read_bytes()


def added(before: bytes, after: bytes) -> list[str]:
    """The lines that are new; none may be gone."""
    lines = list(difflib.ndiff(before.decode().splitlines(), after.decode().splitlines()))
    assert [line for line in lines if line.startswith("- ")] == []
    return [line[2:] for line in lines if line.startswith("+ ")]


def test_the_key_is_shown_with_an_entry_to_paste(program: Program) -> None:
    ran = program.run("key", "add", "laptop")
    assert ran.code == 0, ran.err
    key, _, entry = ran.out.partition("\n")
    assert re.fullmatch(r"cmx-[\w-]{43}", key)
    assert [(found.label, found.digest) for found in parse(entry).keys or ()] == [("laptop", digest_of(key))]


def test_or_goes_into_the_policy_which_keeps_its_comments(program: Program) -> None:
    policy = program.home / "policy.yaml"
    policy.write_bytes(POLICY)
    ran = program.run("key", "add", "laptop", "--policy", str(policy))
    assert ran.code == 0, ran.err
    key = ran.out.strip()
    assert added(POLICY, policy.read_bytes()) == [
        "keys:",
        "  - label: laptop",
        f"    hash: sha256:{sha256(key.encode()).hexdigest()}",
    ]
    assert key not in policy.read_text()
    once_more = program.run("key", "add", "laptop", "--policy", str(policy))
    assert (once_more.code, once_more.out) == (1, "") and "has a key laptop" in once_more.err


@posix
def test_whoever_could_read_the_policy_still_can(program: Program) -> None:
    policy = program.home / "policy.yaml"
    policy.write_bytes(POLICY)
    policy.chmod(0o644)
    assert program.run("key", "add", "laptop", "--policy", str(policy)).code == 0
    assert stat.S_IMODE(policy.stat().st_mode) == 0o644


@posix
def test_a_policy_that_cannot_be_written_stays_and_no_key_is_told(program: Program) -> None:
    policy = program.home / "policy.yaml"
    policy.write_bytes(POLICY)
    ran = program.run("key", "add", "laptop", "--policy", str(policy), room=1024)
    assert (ran.code, ran.out) == (1, "") and "could not be written" in ran.err
    assert policy.read_bytes() == POLICY


@pytest.mark.parametrize("label", ["", "a b", "a/b", "x" * 65, "a\nb", "ü"])
def test_a_label_must_fit_into_logs(label: str, program: Program) -> None:
    ran = program.run("key", "add", label)
    assert (ran.code, ran.out) == (2, "")


PLACES = {
    "an empty file": b"",
    "comments only": b"# nothing yet\n",
    "an empty list": b"keys: []\naliases: {a: b} # c\n",
    "keys: without any": b"keys:\naliases: {a: b}\n",
    "a mark of its encoding": b"\xef\xbb\xbfshow_reasoning: true\n",
    "another key": b'keys:\n  - label: old # mine\n    hash: "sha256:%s"\n' % (b"ab" * 32),
    "digits for a label": b"aliases: {a: b}\n",
}


@pytest.mark.parametrize("content", PLACES.values(), ids=PLACES)
def test_wherever_it_is_added_the_proxy_reads_it(content: bytes) -> None:
    new = keys.make("123" if content == PLACES["digits for a label"] else "new")
    text = keys.with_entry(content, new, Path("policy.yaml")).decode()
    found = parse(text).keys
    assert found and (found[-1].label, found[-1].digest) == (new.label, digest_of(new.key))
    assert all(comment in text for comment in re.findall("#.*", content.decode("utf-8-sig")))


WRONG = {
    "a list": b"- a\n",
    "no YAML": b"keys: [\n",
    "no text": b"\xff\xfe\x00",
    "keys that are none": b"keys: 5\n",
    "tags that lie": b"a: !!int ''\n",
    "very deep": b"[" * 5000,
    "very large": b"#" * (keys.MAX_SIZE + 1),
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
def test_what_is_no_policy_is_left_alone(content: bytes) -> None:
    with pytest.raises(BadSetting, match=r"policy\.yaml"):
        keys.with_entry(content, keys.make("new"), Path("policy.yaml"))


def test_no_two_keys_are_the_same() -> None:
    assert len({keys.make("a").key for _ in range(100)}) == 100
