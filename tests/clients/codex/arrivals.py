"""A mitmproxy script that says in the log how each body arrives; to be loaded before the addons, which decode it."""

import logging

from mitmproxy import http


def requestheaders(flow: http.HTTPFlow) -> None:
    coding = flow.request.headers.get("content-encoding", "identity")
    logging.getLogger(__name__).info("%s arrives as %s", flow.request.method, coding)
