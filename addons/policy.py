"""The rules of a deployment, from `mitm_config/policy.yaml`: read again when the file changes, refused whole if it is wrong."""

import difflib
import logging
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader
from ruamel.yaml import YAML, YAMLError

from addons.pool import DEFAULT_RULES, Rules
from addons.pool.strategies import MAX_WEIGHT, STRATEGIES, Member
from addons.wire.aliases import NO_ALIASES, Aliases, validate_aliases

logger = logging.getLogger(__name__)

DEFAULT_FILE = "mitm_config/policy.yaml"
ROOT = Path(__file__).resolve().parent.parent
# A policy is written by hand; one of this size is some other file.
MAX_SIZE = 1 << 20


class BadPolicy(ValueError):
    """What is wrong, and where."""


@dataclass(frozen=True)
class AccountRules:
    """In which order the accounts are used, where there are several."""

    pool: Rules = DEFAULT_RULES
    members: Mapping[str, Member] = field(default_factory=dict)
    """By name; an account that is not among them has no priority and the weight of one."""


@dataclass(frozen=True)
class Policy:
    aliases: Aliases = NO_ALIASES
    show_reasoning: bool = True
    accounts: AccountRules = AccountRules()


def parse(text: str) -> Policy:
    """Raises BadPolicy."""
    try:
        document = YAML(typ="safe", pure=True).load(text)
    except YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        raise BadPolicy(f"line {mark.line + 1}: {getattr(e, 'problem', e)}" if mark else str(e)) from e
    rules = _known(document, "", _SECTIONS)
    return Policy(**{key: _SECTIONS[key](value) for key, value in rules.items()})


def _aliases(value: Any) -> Aliases:
    aliases, problems = validate_aliases(value)
    if problems:
        raise BadPolicy(f"aliases: {problems[0]}")
    return aliases


def _switch(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise BadPolicy(f"{name}: {value} is neither true nor false")
    return value


def _accounts(value: Any) -> AccountRules:
    told = _known(value, "accounts", {"strategy", "affinity", "order"})
    strategy = told.get("strategy", DEFAULT_RULES.strategy)
    if strategy not in STRATEGIES:
        raise BadPolicy(f"accounts: strategy: {strategy} is not one of {', '.join(STRATEGIES)}")
    affinity = _switch(told.get("affinity", DEFAULT_RULES.affinity), "accounts: affinity")
    order = told.get("order", {})
    if not isinstance(order, dict):
        raise BadPolicy("accounts: order: it must be a mapping, account: {priority: ..., weight: ...}")
    return AccountRules(Rules(strategy, affinity), {str(name): _member(str(name), rules) for name, rules in order.items()})


def _member(name: str, value: Any) -> Member:
    at = f"accounts: order: {name}"
    told = _known(value, at, {"priority", "weight"})
    for key, number in told.items():
        if type(number) is not int or (key == "weight" and not 1 <= number <= MAX_WEIGHT):
            raise BadPolicy(
                f"{at}: {key}: {number} is not a whole number" + (f" from 1 to {MAX_WEIGHT}" if key == "weight" else "")
            )
    return Member(name, **told)


def _known(value: Any, at: str, keys: Collection[str]) -> dict[str, Any]:
    """A mapping with nothing in it that nobody knows: a word that is misspelt must not be a rule that is missing."""
    told = {} if value is None else value
    if not isinstance(told, dict):
        raise BadPolicy(f"{at}: it must be a mapping, name: value" if at else "it must be a mapping, name: value")
    for key in told:
        if key not in keys:
            near = difflib.get_close_matches(str(key), keys, n=1)
            hint = f", did you mean {near[0]}?" if near else f": only {', '.join(sorted(keys))}"
            raise BadPolicy((f"{at}: " if at else "") + f"{key} is not known{hint}")
    return told


_SECTIONS: dict[str, Callable[[Any], Any]] = {
    "aliases": _aliases,
    "show_reasoning": lambda value: _switch(value, "show_reasoning"),
    "accounts": _accounts,
}


class CodexPolicy:
    """`current()` is asked once per request: one `stat`, and a read when the file has changed."""

    def __init__(self) -> None:
        self.path = Path()
        self.stamp: tuple[int, int] | None = None
        self.policy = Policy()

    def load(self, loader: Loader) -> None:
        loader.add_option(
            "codex_policy",
            str,
            DEFAULT_FILE,
            "File with the rules of this deployment (model aliases, the order of accounts). A relative path is taken from "
            "codex-mitm's own folder.",
        )

    def configure(self, updated: set[str]) -> None:
        if "codex_policy" in updated:
            self.path, self.stamp = ROOT / Path(ctx.options.codex_policy).expanduser(), None
            try:
                self._read()
            except (OSError, BadPolicy) as e:
                raise exceptions.OptionsError(f"codex_policy: {self.path}: {e}") from e

    def current(self) -> Policy:
        if self._stamp() != self.stamp:
            try:
                self._read()
                logger.info("rules read from %s", self.path)
            except (OSError, BadPolicy) as e:
                logger.error("%s is not used, the rules before it stay: %s", self.path, e)
        return self.policy

    def _read(self) -> None:
        self.stamp = self._stamp()  # before reading, and kept if it is refused: said once, not per request
        with self.path.open(encoding="utf-8") as file:
            self.policy = parse(file.read(MAX_SIZE))

    def _stamp(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size
