"""The rules of a deployment, from `mitm_config/policy.yaml`: read again when the file changes, refused whole if it is wrong."""

import difflib
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader
from ruamel.yaml import YAML, MappingNode, SequenceNode

from addons import bounded_yaml
from addons.at_rest import EMPTY_REST, REST, Stamp, read_at_rest, stamp_of
from addons.bounded_yaml import BadYaml
from addons.hosts import validate_origins
from addons.keys import BadKeys, Key, validate_keys
from addons.pool import DEFAULT_RULES, Rules
from addons.pool.strategies import MAX_WEIGHT, STRATEGIES, Member, Strategy
from addons.traffic.patterns import BadPattern, validate_patterns
from addons.wire.aliases import NO_ALIASES, Aliases, validate_aliases

logger = logging.getLogger(__name__)

DEFAULT_FILE = "mitm_config/policy.yaml"
ROOT = Path(__file__).resolve().parent.parent
# A policy is written by hand; one of this size is some other file.
MAX_SIZE = 1 << 20
# Seconds. The longest answer takes half an hour (`codex_total_timeout`), and who stops a proxy wants it to stop.
MAX_GRACE = 3600


class BadPolicy(ValueError):
    """What is wrong, and where: the names that lead to it from the top of the file, and numbers where there are lists. `entry` is
    one below that, which the message names itself."""

    def __init__(self, message: str, *where: str | int, entry: str | None = None) -> None:
        steps = [f"number {step + 1}" if isinstance(step, int) else step for step in where]
        super().__init__(": ".join([*steps, message]))
        self.where = where if entry is None else (*where, entry)


class BeingWritten(BadPolicy):
    """Nobody can say what it will say."""


class AccountRules(NamedTuple):
    """In which order the accounts are used, where there are several."""

    pool: Rules = DEFAULT_RULES
    members: Mapping[str, Member] = {}
    """By name; an account that is not among them has no priority and the weight of one."""


class ShutdownRules(NamedTuple):
    # Less than the 30 s after which Kubernetes kills, and the 90 s of systemd. Docker's 10 s are not enough for most answers.
    grace: float = 25.0
    """Seconds that requests have to come to their end when the proxy is asked to end."""


class Policy(NamedTuple):
    aliases: Aliases = NO_ALIASES
    show_reasoning: bool = True
    accounts: AccountRules = AccountRules()
    keys: tuple[Key, ...] | None = None
    """None: the file does not speak of keys. Empty: it does, and there is none."""
    origins: frozenset[str] = frozenset()
    redact_patterns: tuple[str, ...] = ()
    """Regular expressions for what is not recorded, beyond what looks like a secret."""
    shutdown: ShutdownRules = ShutdownRules()


def parse(text: str) -> Policy:
    """Raises BadPolicy."""
    try:
        document = bounded_yaml.read(text)
    except BadYaml as e:
        raise BadPolicy(str(e)) from e
    try:
        rules = _known(document, _SECTIONS)
        return Policy(**{key: _SECTIONS[key](value) for key, value in rules.items()})
    except BadPolicy as e:
        raise BadPolicy(f"line {_line_of(text, e.where)}: {e}") from e


def _line_of(text: str, where: Sequence[str | int]) -> int:
    """Of the last step that is there: what is missing is missing in what is around it."""
    node, line = YAML(typ="safe", pure=True).compose(text), 1
    for step in where:
        if isinstance(node, MappingNode):
            found = next(((name, value) for name, value in node.value if name.value == str(step)), None)
        elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
            found = node.value[step], node.value[step]
        else:
            found = None
        if not found:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def _aliases(value: Any) -> Aliases:
    aliases, problems = validate_aliases(value)
    if problems:
        raise BadPolicy(problems[0].message, "aliases", *([problems[0].alias] if problems[0].alias else []))
    return aliases


def _switch(value: Any, *where: str) -> bool:
    if not isinstance(value, bool):
        raise BadPolicy(f"{_shown(value)} is neither true nor false", *where)
    return value


def _accounts(value: Any) -> AccountRules:
    told = _known(value, {"strategy", "affinity", "order"}, "accounts")
    strategy: Any = told.get("strategy", DEFAULT_RULES.strategy)
    if not isinstance(strategy, str) or strategy not in STRATEGIES:
        raise BadPolicy(f"{_shown(strategy)} is not one of {', '.join(STRATEGIES)}", "accounts", "strategy")
    affinity = _switch(told.get("affinity", DEFAULT_RULES.affinity), "accounts", "affinity")
    order = told.get("order", {})
    if not isinstance(order, dict):
        raise BadPolicy("it must be a mapping, account: {priority: ..., weight: ...}", "accounts", "order")
    members = {str(name): _member(str(name), rules) for name, rules in order.items()}
    return AccountRules(Rules(cast(Strategy, strategy), affinity), members)


def _member(name: str, value: Any) -> Member:
    where = "accounts", "order", name
    told = _known(value, {"priority", "weight"}, *where)
    for key, number in told.items():
        if type(number) is not int or (key == "weight" and not 1 <= number <= MAX_WEIGHT):
            bounds = f" from 1 to {MAX_WEIGHT}" if key == "weight" else ""
            raise BadPolicy(f"{_shown(number)} is not a whole number{bounds}", *where, key)
    return Member(name, **told)


def _keys(value: Any) -> tuple[Key, ...]:
    try:
        return validate_keys(value)
    except BadKeys as e:
        raise BadPolicy(str(e), "keys", *e.where) from e


def _origins(value: Any) -> frozenset[str]:
    try:
        return validate_origins(value)
    except ValueError as e:
        raise BadPolicy(str(e), "origins") from e


def _redact_patterns(value: Any) -> tuple[str, ...]:
    try:
        return validate_patterns(value)
    except BadPattern as e:
        raise BadPolicy(str(e), "redact_patterns", *([] if e.number is None else [e.number])) from e


def _shutdown(value: Any) -> ShutdownRules:
    told = _known(value, {"grace"}, "shutdown")
    grace = told.get("grace", ShutdownRules().grace)
    if type(grace) not in (int, float) or not 0 <= grace <= MAX_GRACE:
        raise BadPolicy(f"{_shown(grace)} is not a number of seconds from 0 to {MAX_GRACE}", "shutdown", "grace")
    return ShutdownRules(grace)


def _known(value: Any, keys: Collection[str], *where: str) -> dict[str, Any]:
    """A mapping with nothing in it that nobody knows: a word that is misspelt must not be a rule that is missing."""
    told = {} if value is None else value
    if not isinstance(told, dict):
        raise BadPolicy("it must be a mapping, name: value", *where)
    for key in told:
        if key not in keys:
            near = difflib.get_close_matches(str(key), keys, n=1)
            hint = f", did you mean {near[0]}?" if near else f": only {', '.join(sorted(keys))}"
            raise BadPolicy(f"{_shown(key)} is not known{hint}", *where, entry=str(key))
    return told


def _shown(value: Any) -> str:
    """A list or a mapping may be as large as the file, and larger where it has references."""
    return str(value)[:100] if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"


_SECTIONS: dict[str, Callable[[Any], Any]] = {
    "aliases": _aliases,
    "show_reasoning": lambda value: _switch(value, "show_reasoning"),
    "accounts": _accounts,
    "keys": _keys,
    "origins": _origins,
    "redact_patterns": _redact_patterns,
    "shutdown": _shutdown,
}


class CodexPolicy:
    """`current()` is asked at a request's head, and when it is over: one `stat`, and a read when the file has changed. That waits,
    with all that goes on, until nobody is writing it: for the blink of an eye, and only where a change is as young as that.
    `lately()` is asked in between, when an account is lent.
    """

    def __init__(self) -> None:
        self.path = Path()
        self.stamp: Stamp | None = None
        self.policy = Policy()
        """As it was found when somebody looked last."""
        self.looked_at = float("-inf")

    def load(self, loader: Loader) -> None:
        loader.add_option(
            "codex_policy",
            str,
            DEFAULT_FILE,
            "File with the rules of this deployment (model aliases, the order of accounts, keys and origins of clients, what is "
            "not recorded, the time it has to end in). A relative path is taken from codex-mitm's own folder.",
        )

    def configure(self, updated: set[str]) -> None:
        if "codex_policy" in updated:
            self.path, self.stamp = ROOT / Path(ctx.options.codex_policy).expanduser(), None
            try:
                self._read(empty_rest=0.0)  # there is nothing to go on with
            except (OSError, BadPolicy) as e:
                raise exceptions.OptionsError(f"codex_policy: {self.path}: {e}") from e

    def lately(self) -> Policy:
        """Of a busy proxy somebody has just looked: a change has to rest for as long as this before it is believed at all."""
        return self.policy if time.monotonic() - self.looked_at < REST else self.current()

    def current(self) -> Policy:
        self.looked_at = time.monotonic()
        if stamp_of(self.path) != self.stamp:
            try:
                self._read()
                logger.info("rules read from %s", self.path)
            except BeingWritten:
                pass  # whoever comes next looks again
            except (OSError, BadPolicy) as e:
                logger.error("%s is not used, the rules before it stay: %s", self.path, e)
        return self.policy

    def _read(self, empty_rest: float = EMPTY_REST) -> None:
        """Raises OSError, BadPolicy."""
        self.stamp = stamp_of(self.path)  # kept if it is refused: said once, not per request
        found = read_at_rest(self.path, MAX_SIZE + 1, empty_rest)
        if found is None:
            self.stamp = None
            raise BeingWritten("it changes all the time")
        self.stamp, content = found
        if len(content) > MAX_SIZE:
            raise BadPolicy(f"it has more than {MAX_SIZE >> 20} MiB")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as e:
            raise BadPolicy(f"line {content.count(b'\n', 0, e.start) + 1}: it is not UTF-8") from e
        self.policy = parse(text)
