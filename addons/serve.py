"""What mitmproxy itself must be set to, so that `mitmdump -s addons/codex_auth.py` is a reverse proxy for OpenAI on loopback, or
with `codex_mode=forward` a plain proxy that shows what a client says to OpenAI and changes nothing."""

import asyncio
import difflib
import logging
from collections.abc import Iterable

from mitmproxy import connection, ctx, exceptions
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.utils import asyncio_utils

logger = logging.getLogger(__name__)

MODES = ("reverse", "forward")

# Set unless the user has set it (-p, --listen-host, --mode, --set, config.yaml).
DEFAULTS: dict[str, object] = {
    "mode": ["reverse:https://api.openai.com"],
    "listen_host": "127.0.0.1",
    "listen_port": 9090,
    # A dozen photographs as base64 in one request; the Codex backend closes connections at 16 MiB messages already.
    "body_size_limit": "64m",
}
# A plain proxy measures nobody's bodies.
FORWARD: dict[str, object] = DEFAULTS | {"mode": ["regular"], "body_size_limit": None}
# The upstream is chosen per request, so no connection may be made before one has come; and one request at a time on an
# HTTP/1.1 connection is what `engine.resend` and `engine.put_on_the_wire` are written for.
# An https upstream makes mitmproxy listen on UDP too; without HTTP/3 it answers nobody there, and asks nobody in it.
# mitmproxy would put upstream's name in place of the one by which a client knows this proxy, before any addon sees it.
NEEDED: dict[str, object] = {"connection_strategy": "lazy", "http2": False, "http3": False, "keep_host_header": True}

LISTENING = {"mode", "listen_host", "listen_port"}


class CodexServe:
    """First in the list.

    mitmproxy 12.2 begins to listen one turn of its event loop before it loads scripts, with the options as they were: as a
    forward proxy on all addresses, port 8080. So the listeners are made anew with the right options. What the wrong ones
    say meanwhile (that they listen, or that port 8080 is taken) is kept from the log, and whoever reaches them is turned away.
    """

    def __init__(self, ca_file: str | None) -> None:
        self.ca_file = ca_file
        self.is_set_up = False
        self.mode = ""
        self.modes: list[ProxyMode] = []
        self.listening: asyncio.Task[None] | None = None

    def load(self, loader: Loader) -> None:
        # A line for each look at models and plans is of no use to anybody; what goes wrong there is told by whoever asked.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        loader.add_option(
            "codex_mode",
            str,
            "reverse",
            "reverse serves clients whose base URL is this proxy, on an account of its own. forward is for clients whose "
            "HTTPS_PROXY it is: their requests are shown, without their credentials, and are not changed.",
            choices=MODES,
        )

    def configure(self, updated: set[str]) -> None:
        if ctx.options.codex_mode not in MODES:  # mitmproxy shows choices, and takes anything
            raise exceptions.OptionsError(f"codex_mode: {ctx.options.codex_mode} is not one of {', '.join(MODES)}")
        if self.is_set_up and ctx.options.codex_mode != self.mode:
            raise exceptions.OptionsError("codex_mode: it is chosen when the proxy starts, and stays until it ends")
        if ctx.options.stream_large_bodies:
            raise exceptions.OptionsError("stream_large_bodies: a request must be whole to be sent again after a refresh")
        if ctx.options.proxy_debug:
            raise exceptions.OptionsError("proxy_debug: it logs every byte that is sent, the bearer included")
        if not self.is_set_up:
            self.is_set_up = True
            self.mode = ctx.options.codex_mode
            changed = self._set_up()
            if changed & LISTENING:
                self.modes = [ProxyMode.parse(mode) for mode in ctx.options.mode]
                self.listening = asyncio_utils.create_task(_listen_anew(self.modes), name="codex listeners", keep_ref=True)

    def _set_up(self) -> set[str]:
        defaults = (FORWARD if self.mode == "forward" else DEFAULTS) | {"ssl_verify_upstream_trusted_ca": self.ca_file}
        wanted = {name: value for name, value in defaults.items() if not ctx.options.has_changed(name)} | NEEDED
        changed = {name for name, value in wanted.items() if getattr(ctx.options, name) != value}
        ctx.options.update(**wanted)
        return changed

    def running(self) -> "asyncio.Task[None]":
        """Returns a task, which mitmproxy waits for at the start. A reload of the script calls it too, and would go no further than
        this addon if it were a coroutine function."""
        return asyncio_utils.create_task(self._check_start(), name="codex start", keep_ref=True)

    async def _check_start(self) -> None:
        if self.listening:
            await self.listening  # a port that is taken is an error of the start, and ends it
        for message in misspelt(ctx.options.deferred, ctx.options.keys()):
            logger.warning("%s", message)

    def client_connected(self, client: connection.Client) -> None:
        # By identity: the wrong listener may be of the same mode as the right one, on another address.
        if self.listening and not self.listening.done() and not any(client.proxy_mode is mode for mode in self.modes):
            client.error = "codex-mitm is still starting"


async def _listen_anew(modes: list[ProxyMode]) -> None:
    servers = ctx.master.addons.get("proxyserver").servers
    talkers = [logging.getLogger(name) for name in ("mitmproxy.addons.proxyserver", "mitmproxy.proxy.mode_servers")]
    for talker in talkers:
        talker.addFilter(_silence)
    try:
        await servers.update([])
    finally:
        for talker in talkers:
            talker.removeFilter(_silence)
    await servers.update(modes)


def _silence(record: logging.LogRecord) -> bool:
    return False


def misspelt(unknown: Iterable[str], known: Iterable[str]) -> list[str]:
    """mitmproxy keeps options that nobody has declared and says nothing about them. These are meant for us."""
    ours = [name for name in known if name.startswith("codex_")]
    messages = []
    for name in unknown:
        near = difflib.get_close_matches(name, ours, n=1)
        if name.startswith("codex_") or near:
            messages.append(f"unknown option {name}" + (f": did you mean {near[0]}?" if near else ""))
    return messages
