"""What the proxy last heard of each account's plan, from the file in which it remembers that (addons/roster.py writes it).

`parse` takes whatever is found there: what cannot be read is not known, and nothing of it is worth an error.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auth import durable
from auth.store import own_folder

STATE_FILE = "state.json"
# As in addons/roster.py.
MAX_SIZE = 4 << 20


@dataclass(frozen=True, slots=True)
class Window:
    """`used` in percent, as of when it was heard; `ends_at` is when it begins anew."""

    name: str
    used: float
    ends_at: float

    def left(self, now: float) -> float:
        return 100.0 if now >= self.ends_at else max(0.0, 100.0 - self.used)


@dataclass(frozen=True, slots=True)
class Plan:
    windows: tuple[Window, ...]
    heard_at: float
    credits: str = ""


def read(env: Mapping[str, str]) -> dict[str, Plan]:
    """By account. Empty where no proxy has run."""
    return parse(_bytes(own_folder(env) / STATE_FILE))


def parse(raw: bytes) -> dict[str, Plan]:
    try:
        accounts = _object(_object(json.loads(raw)).get("accounts"))
    except (ValueError, RecursionError):
        return {}
    found = {name: _plan(_object(_object(told).get("quota"))) for name, told in accounts.items()}
    return {name: plan for name, plan in found.items() if plan}


def _plan(told: Mapping[str, Any]) -> Plan | None:
    windows = tuple(filter(None, (_window(name, _object(window)) for name, window in _object(told.get("windows")).items())))
    heard_at = _number(told.get("heard_at"))
    return Plan(windows, heard_at, _credits(_object(told.get("credits")))) if windows and heard_at else None


def _window(name: str, told: Mapping[str, Any]) -> Window | None:
    used, minutes, heard_at = _number(told.get("used_percent")), _number(told.get("minutes")), _number(told.get("heard_at"))
    if used is None or minutes is None or heard_at is None:
        return None
    return Window(name, used, _number(told.get("resets_at")) or heard_at + minutes * 60)


def _credits(told: Mapping[str, Any]) -> str:
    if told.get("unlimited") is True:
        return "unlimited"
    balance = told.get("balance")
    return str(balance) if told.get("has") is True and isinstance(balance, str | int | float) else ""


def _bytes(path: Path) -> bytes:
    try:
        return durable.read_bounded(path, MAX_SIZE)
    except OSError:
        return b""


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12 else None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
