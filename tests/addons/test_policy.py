import asyncio
import logging
import time
from pathlib import Path

import pytest
from mitmproxy import exceptions
from mitmproxy.test import taddons

from addons.policy import DEFAULT_FILE, BadPolicy, CodexPolicy, parse
from addons.wire.models import parse_catalog, resolve
from tests.proxy import ROOT

CATALOG = parse_catalog({"models": [{"slug": slug, "priority": n} for n, slug in enumerate(("gpt-9-large", "gpt-9-small"))]})


def test_nothing_is_no_rules() -> None:
    assert parse("").aliases.target(["gpt-4.1"]) is None


WRONG = {
    "not YAML": ("aliases: {", "line 1"),
    "a list": ("- a", "must be a mapping"),
    "a key that nobody knows": ("alias: {}", "alias is not known, did you mean aliases?"),
    "another": ("zzz: 1", "zzz is not known: only accounts, aliases, keys, origins, redact_patterns, show_reasoning, shutdown"),
    "a strategy that is none": ("accounts: {strategy: best}", "accounts: strategy: best is not one of round-robin, fill-first"),
    "a weight of nothing": ("accounts: {order: {a: {weight: 0}}}", "accounts: order: a: weight: 0 is not a whole number from 1"),
    "a misspelt rule": (
        "accounts: {order: {a: {prioritty: 1}}}",
        "accounts: order: a: prioritty is not known, did you mean priority?",
    ),
    "accounts that are a list": ("accounts: [a]", "accounts: it must be a mapping"),
    "a word for a switch": ("show_reasoning: maybe", "show_reasoning: maybe is neither true nor false"),
    "aliases that are a list": ("aliases: [a]", "aliases"),
    "a number for a name": ("aliases: {4.1: x}", "aliases: 4.1"),
    "no model": ("aliases: {a: ''}", "aliases: a"),
    "a pattern that is none": ("aliases: {/(/: x}", "aliases: /(/"),
    "a grace time that is a word": ("shutdown: {grace: soon}", "shutdown: grace: soon is not a number of seconds from 0"),
    "a grace time without end": ("shutdown: {grace: 99999}", "shutdown: grace: 99999 is not a number"),
    "a switch for a grace time": ("shutdown: {grace: true}", "shutdown: grace: True is not a number"),
    "one pattern to redact": ("redact_patterns: ACME", "redact_patterns: it must be a list"),
    "one that is a number": ("redact_patterns: [ACME, 12]", "line 1: redact_patterns: number 2: it must be a text"),
    "one that does not compile": (
        "redact_patterns:\n  - ok\n  - a(",
        "line 3: redact_patterns: number 2: a( is not a regular expression (missing )",
    ),
    "one that matches nothing at all": ("redact_patterns: ['x*']", "number 1: x* matches the empty string"),
    "one that is a book": (f"redact_patterns: [{'a' * 2001}]", "number 1: it has 2001 characters, more than 2000"),
    "too many of them": (f"redact_patterns: [{'a, ' * 51}]", "redact_patterns: it has 51 entries, more than 50"),
    "a choice that is none": ("aliases: {a: '@largest'}", "@largest"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_named(text: str, message: str) -> None:
    with pytest.raises(BadPolicy) as raised:
        parse(text)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "name", ["gpt-4.1-nano", "gpt-4.1-mini", "gpt-4.1", "gpt-4o", "gpt-4o-mini", "gpt-3.5-turbo", "gpt-5-nano"]
)
def test_what_programs_ask_for_by_default_lands_on_the_smallest(name: str) -> None:
    rules = parse((ROOT / DEFAULT_FILE).read_text())
    assert resolve(name, rules.aliases, CATALOG).slug == "gpt-9-small"


@pytest.mark.parametrize("name", ["gpt-5", "gpt-5-codex"])
def test_and_the_larger_ones_on_the_first(name: str) -> None:
    rules = parse((ROOT / DEFAULT_FILE).read_text())
    assert resolve(name, rules.aliases, CATALOG).slug == "gpt-9-large"


async def test_read_again_refused_and_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("aliases: {a: one}")
    policy = CodexPolicy()
    with taddons.context(policy) as tctx, caplog.at_level(logging.INFO):
        tctx.configure(policy, codex_policy=str(file))
        assert policy.current().aliases.target(["a"]) == "one"
        file.write_text("aliases: {a: two, b: three}")
        assert policy.current().aliases.target(["a"]) == "two"
        for change in (lambda: file.write_text("aliases: 5"), file.unlink):
            change()
            caplog.clear()
            assert [policy.current().aliases.target(["a"]) for _ in range(3)] == ["two"] * 3
            assert len(caplog.records) == 1, "said once, not per request"
        file.write_text("aliases: {a: four}")
        assert policy.current().aliases.target(["a"]) == "four"


async def test_a_change_is_seen_in_the_middle_of_a_request_too(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("aliases: {a: one}")
    policy = CodexPolicy()
    with taddons.context(policy) as tctx:
        tctx.configure(policy, codex_policy=str(file))
        file.write_text("aliases: {a: two}")
        assert policy.lately().aliases.target(["a"]) == "two", "nobody has looked yet"
        file.write_text("aliases: {a: three}")
        assert policy.current().aliases.target(["a"]) == policy.lately().aliases.target(["a"]) == "three"
        file.write_text("aliases: {a: four}")
        deadline = time.monotonic() + 10
        while policy.lately().aliases.target(["a"]) != "four":
            assert time.monotonic() < deadline
            await asyncio.sleep(0.001)


async def test_a_file_that_is_wrong_at_the_start_ends_it(tmp_path: Path) -> None:
    policy = CodexPolicy()
    with taddons.context(policy) as tctx, pytest.raises(exceptions.OptionsError, match="codex_policy: .*nowhere.yaml"):
        tctx.configure(policy, codex_policy=str(tmp_path / "nowhere.yaml"))
