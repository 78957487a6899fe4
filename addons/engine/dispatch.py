"""How an event reaches the addons: in mitmproxy's order and by its rules, without what that costs beside.

mitmproxy makes a coroutine, two generators and a context manager for every addon and every event, and for each line of its log an
event that no addon has listened to for years: a third of the time of a small request. Here it is a look at each addon.
"""

import inspect
import logging
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mitmproxy import exceptions, hooks, log
from mitmproxy.addonmanager import AddonManager, safecall, traverse

from addons.engine.originals import original


async def trigger_event(self: AddonManager, event: hooks.Hook) -> None:
    """An addon that raises costs its sub-addons the event, and nobody else; AddonHalt ends it; OptionsError is the caller's."""
    name, arguments, groups = event.name, event.args(), iter(_groups(self))
    try:
        while True:
            with safecall():
                return await invoke_addon(groups, name, arguments)
    except exceptions.AddonHalt:
        return


async def invoke_addon(groups: Iterator[list[Any]], name: str, arguments: list[Any]) -> None:
    """All that are left. It has the name of mitmproxy's own, from which on `safecall` tells what went wrong."""
    for group in groups:
        for addon in group:
            if hook := getattr(addon, name, None):
                if not callable(hook):
                    _refuse(addon, name, hook)
                    continue
                waiting = hook(*arguments)
                if waiting is not None and inspect.isawaitable(waiting):
                    await waiting


def _refuse(addon: Any, name: str, found: Any) -> None:
    """A module of a hook's name, imported by a script, is no mistake."""
    if not isinstance(found, types.ModuleType):
        raise exceptions.AddonManagerError(f"Addon handler {name} ({addon}) not callable")


@dataclass(frozen=True, slots=True)
class _Known:
    chain: list[Any]
    lists: list[tuple[Any, list[Any]]]
    """Addons with others below them, and which: nobody says when that changes, a script that is loaded anew for instance."""
    groups: list[list[Any]]
    """For each addon of the chain, itself and all below it, in the order in which they hear of things."""


def _groups(manager: AddonManager) -> list[list[Any]]:
    known: _Known | None = vars(manager).get("_codex_known")
    if known is None or known.chain != manager.chain or any(addon.addons != below for addon, below in known.lists):
        groups = [list(traverse([top])) for top in manager.chain]
        lists = [(addon, list(addon.addons)) for group in groups for addon in group if hasattr(addon, "addons")]
        known = vars(manager)["_codex_known"] = _Known(list(manager.chain), lists, groups)
    return known.groups


def tell_of_log(self: log.LegacyLogEvents, record: logging.LogRecord) -> None:
    """`add_log` is deprecated since mitmproxy 9. Whoever still has it hears it."""
    if any(hasattr(addon, "add_log") for addon in traverse(self.master.addons.chain)):
        original(log.LegacyLogEvents, "emit")(self, record)
