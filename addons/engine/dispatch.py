"""How an event reaches the addons: in mitmproxy's order and by its rules, without what that costs beside.

mitmproxy makes a coroutine, two generators and a context manager for every addon and every event, and for each line of its log an
event that no addon has listened to for years: a third of the time of a small request. Here it is a call of each that has the hook.
"""

import inspect
import logging
import types
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from mitmproxy import exceptions, flow, hooks, log
from mitmproxy.addonmanager import AddonManager, safecall, traverse
from mitmproxy.addons.script import Script

from addons.engine.originals import original


async def handle_lifecycle(self: AddonManager, event: hooks.Hook) -> None:
    await tell_addons(self, event.name, event.args())


async def tell_addons(manager: AddonManager, name: str, arguments: list[Any]) -> None:
    """Behind each event of a flow comes another one, that it has changed."""
    known = _known(manager)
    await _tell_those(known.that_have(name), arguments)
    if known.that_have("update") and isinstance(arguments[0], flow.Flow):
        await _tell_those(_known(manager).that_have("update"), [[arguments[0]]])


async def trigger_event(self: AddonManager, event: hooks.Hook) -> None:
    await _tell_those(_known(self).that_have(event.name), event.args())
    if event.name == "running":
        _forget(self)


async def _tell_those(have_it: list[list[Any]], arguments: list[Any]) -> None:
    """An addon that raises costs its sub-addons the event, and nobody else; AddonHalt ends it; OptionsError is the caller's."""
    groups = iter(have_it)
    while True:
        try:
            return await invoke_addon(groups, arguments)
        except exceptions.AddonHalt:
            return
        except Exception:
            with safecall():  # it decides what is told of it, and what goes on
                raise


async def invoke_addon(groups: Iterator[list[Any]], arguments: list[Any]) -> None:
    """All that are left. It has the name of mitmproxy's own, from which on `safecall` tells what went wrong."""
    for group in groups:
        for hook in group:
            waiting = hook(*arguments)
            if waiting is not None and (type(waiting) is types.CoroutineType or inspect.isawaitable(waiting)):
                await waiting


def trigger(self: AddonManager, event: hooks.Hook) -> None:
    """For what an addon does when options change, or it is loaded: it may have other hooks afterwards."""
    try:
        original[AddonManager, "trigger"](self, event)
    finally:
        _forget(self)


class _Known(NamedTuple):
    chain: list[Any]
    lists: list[tuple[Any, str, Any]]
    """Addons with others below them, in which member, and which: nobody says when that changes, by a script that is loaded anew for
    instance."""
    groups: list[list[Any]]
    """For each addon of the chain, itself and all below it, in the order in which they hear of things."""
    hooks: dict[str, list[list[Any]]]
    """Of those groups, by the name of the event. Ten of sixty addons have the same one, and a call makes eight events."""

    def that_have(self, name: str) -> list[list[Any]]:
        have_it = self.hooks.get(name)
        if have_it is None:
            found = [[hook for addon in group if (hook := _hook(addon, name))] for group in self.groups]
            have_it = self.hooks[name] = [group for group in found if group]
        return have_it


def _hook(addon: Any, name: str) -> Any:
    hook = getattr(addon, name, None)
    # A module of a hook's name, imported by a script, is no mistake.
    if not hook or callable(hook) or isinstance(hook, types.ModuleType):
        return hook if callable(hook) else None
    return partial(_refuse, f"Addon handler {name} ({addon}) not callable")


def _refuse(why: str, *_: Any) -> None:
    raise exceptions.AddonManagerError(why)


def _known(manager: AddonManager) -> _Known:
    known: _Known | None = vars(manager).get("_codex_known")
    if known is not None and known.chain == manager.chain:
        for addon, member, below in known.lists:
            if getattr(addon, member) != below:
                break
        else:
            return known
    groups = [list(traverse([top])) for top in manager.chain]
    above = [addon for group in groups for addon in group if hasattr(addon, "addons")]
    # The addons of a `Script` are made when they are asked for, of this. That is two functions for each event.
    lists = [(addon, "ns", addon.ns) if type(addon) is Script else (addon, "addons", list(addon.addons)) for addon in above]
    known = vars(manager)["_codex_known"] = _Known(list(manager.chain), lists, groups, {})
    return known


def _forget(manager: AddonManager) -> None:
    vars(manager).pop("_codex_known", None)


def tell_of_log(self: log.LegacyLogEvents, record: logging.LogRecord) -> None:
    """`add_log` is deprecated since mitmproxy 9. Whoever still has it hears it."""
    if _known(self.master.addons).that_have("add_log"):
        original[log.LegacyLogEvents, "emit"](self, record)
