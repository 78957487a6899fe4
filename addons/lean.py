"""In mitmdump: without those of mitmproxy's own addons that have nothing to do under the options as they are.

Every event goes by all of them. Those in the table are taken out of the chain when the proxy runs, and come back to their places
when an option says that there is something for them to do. Their options and commands stay all the time. mitmweb and the console
have all of it always: there people set options and run commands while they look.
"""

import gc
from collections.abc import Callable, Mapping
from typing import Any

from mitmproxy import ctx, hooks
from mitmproxy.options import Options
from mitmproxy.tools.dump import DumpMaster

# Name of the addon -> whether it is needed. What is not in here stays: an addon of a newer mitmproxy, and those that do something
# whatever the options are, or that commands can give something to do (`replay.server`).
NEEDED_IF: Mapping[str, Callable[[Options], Any]] = {
    "anticache": lambda options: options.anticache,
    "anticomp": lambda options: options.anticomp,
    "blocklist": lambda options: options.block_list,
    "dumper": lambda options: options.flow_detail,
    "maplocal": lambda options: options.map_local,
    "mapremote": lambda options: options.map_remote,
    "modifybody": lambda options: options.modify_body,
    "modifyheaders": lambda options: options.modify_headers,
    # Its page, at http://mitm.it, is for who has this proxy as HTTPS_PROXY.
    "onboarding": lambda options: options.onboarding and any(not mode.startswith("reverse:") for mode in options.mode),
    "proxyauth": lambda options: options.proxyauth,
    "save": lambda options: options.save_stream_file,
    "savehar": lambda options: options.hardump,
    "stickyauth": lambda options: options.stickyauth,
    "stickycookie": lambda options: options.stickycookie,
    "upstreamauth": lambda options: options.upstream_auth,
}

# Objects that are made between two looks for garbage. A request makes some hundreds in cycles; with Python's own 700, and all of
# mitmproxy looked through each tenth time, 8 % of a small request were that. This is half as much, in pauses of a millisecond.
YOUNG = 2_000


class CodexLean:
    """It looks when the proxy runs: by then `CodexCallLog` has been configured, which leaves `Dumper` without work."""

    def __init__(self) -> None:
        self.order: list[Any] = []
        """The chain as it was."""
        self.idle: dict[str, Any] = {}
        """What is taken out of it, by name."""

    def running(self) -> None:
        if not ctx.master.addons.get("proxyserver").connections:  # when the script is loaded anew there may be some: they go
            gc.freeze()  # what is there now stays
        gc.set_threshold(YOUNG)
        if not isinstance(ctx.master, DumpMaster):
            return
        manager = ctx.master.addons
        self.order = list(manager.chain)
        for name, needed in NEEDED_IF.items():
            addon = manager.get(name)
            if addon in manager.chain and not needed(ctx.options):
                manager.remove(addon)
                self.idle[name] = addon

    def configure(self, updated: set[str]) -> None:
        for name in [name for name in self.idle if NEEDED_IF[name](ctx.options)]:
            self._put_back(name)

    def done(self) -> None:
        """Also when the script is loaded anew. Where the proxy ends there is nothing left to do."""
        if not ctx.master.should_exit.is_set():
            for name in list(self.idle):
                self._put_back(name)

    def _put_back(self, name: str) -> None:
        """Not by `register`: it would load the addon again, which sets some of its options back to what they are by default."""
        manager, addon = ctx.master.addons, self.idle.pop(name)
        manager.lookup[name] = addon
        behind = self.order[self.order.index(addon) :]
        at = next((n for n, present in enumerate(manager.chain) if present in behind), len(manager.chain))
        # A new list: events that are on their way go by the old one.
        manager.chain = [*manager.chain[:at], addon, *manager.chain[at:]]
        manager.invoke_addon_sync(addon, hooks.ConfigureHook(set(ctx.options.keys())))
