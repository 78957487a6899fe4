"""The rules of a deployment, from `mitm_config/policy.yaml`: read again when the file changes, refused whole if it is wrong."""

import difflib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader
from ruamel.yaml import YAML, YAMLError

from addons.wire.aliases import NO_ALIASES, Aliases, validate_aliases

logger = logging.getLogger(__name__)

DEFAULT_FILE = "mitm_config/policy.yaml"
ROOT = Path(__file__).resolve().parent.parent
# A policy is written by hand; one of this size is some other file.
MAX_SIZE = 1 << 20


class BadPolicy(ValueError):
    """What is wrong, and where."""


@dataclass(frozen=True)
class Policy:
    aliases: Aliases = NO_ALIASES


def parse(text: str) -> Policy:
    """Raises BadPolicy."""
    try:
        document = YAML(typ="safe", pure=True).load(text)
    except YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        raise BadPolicy(f"line {mark.line + 1}: {getattr(e, 'problem', e)}" if mark else str(e)) from e
    rules = {} if document is None else document
    if not isinstance(rules, dict):
        raise BadPolicy("it must be a mapping, name: value")
    for key in rules:
        if key not in _SECTIONS:
            near = difflib.get_close_matches(str(key), _SECTIONS, n=1)
            raise BadPolicy(f"{key} is not known" + (f", did you mean {near[0]}?" if near else f": only {', '.join(_SECTIONS)}"))
    return Policy(**{key: _SECTIONS[key](value) for key, value in rules.items()})


def _aliases(value: Any) -> Aliases:
    aliases, problems = validate_aliases(value)
    if problems:
        raise BadPolicy(f"aliases: {problems[0]}")
    return aliases


_SECTIONS = {"aliases": _aliases}


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
            "File with the rules of this deployment (model aliases). A relative path is taken from codex-mitm's own folder.",
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
