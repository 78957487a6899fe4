"""A script for mitmproxy, before the entry: who is slow with a request is cut off after a second."""

from mitmproxy import ctx


def running() -> None:
    slow = ctx.master.addons.get("codexslow")
    slow.head, slow.body = 0.6, 1.0
