"""What mitmproxy itself must be set to, so that `mitmdump -s addons/codex_auth.py` is a reverse proxy for OpenAI on loopback."""

import difflib
import logging
from collections.abc import Iterable

from mitmproxy import ctx, exceptions

logger = logging.getLogger(__name__)

# Set unless the user has set it (-p, --listen-host, --mode, --set, config.yaml).
DEFAULTS: dict[str, object] = {
    "mode": ["reverse:https://api.openai.com"],
    "listen_host": "127.0.0.1",
    "listen_port": 9090,
    # A dozen photographs as base64 in one request; the Codex backend closes connections at 16 MiB messages already.
    "body_size_limit": "64m",
}
# The upstream is chosen per request, so no connection may be made before one has come; and one request at a time on an
# HTTP/1.1 connection is what `engine.resend` is written for.
NEEDED: dict[str, object] = {"connection_strategy": "lazy", "http2": False}


class CodexServe:
    def __init__(self, ca_file: str | None) -> None:
        self.ca_file = ca_file
        self.served = False

    def configure(self, updated: set[str]) -> None:
        if ctx.options.stream_large_bodies:
            raise exceptions.OptionsError("stream_large_bodies: a request must be whole to be sent again after a refresh")
        if ctx.options.proxy_debug:
            raise exceptions.OptionsError("proxy_debug: it logs every byte that is sent, the bearer included")
        if not self.served:
            self.served = True
            ctx.options.update(**self._settings())

    def _settings(self) -> dict[str, object]:
        defaults = DEFAULTS | {"ssl_verify_upstream_trusted_ca": self.ca_file}
        unset = {name: value for name, value in defaults.items() if not ctx.options.has_changed(name)}
        return unset | NEEDED

    def running(self) -> None:
        for message in misspelt(ctx.options.deferred, ctx.options.keys()):
            logger.warning("%s", message)


def misspelt(unknown: Iterable[str], known: Iterable[str]) -> list[str]:
    """mitmproxy keeps options that nobody has declared and says nothing about them. These are meant for us."""
    ours = [name for name in known if name.startswith("codex_")]
    messages = []
    for name in unknown:
        near = difflib.get_close_matches(name, ours, n=1)
        if name.startswith("codex_") or near:
            messages.append(f"unknown option {name}" + (f": did you mean {near[0]}?" if near else ""))
    return messages
