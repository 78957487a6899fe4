"""What machines ask all day long: whether the proxy is alive, whether it could serve, its numbers.

None of it is a call: it is not recorded, takes no slot, counts against no limit and has no line in the log.
"""

from mitmproxy import http

from addons.guard import is_ours

HEALTH, READY, METRICS = "/healthz", "/readyz", "/metrics"
PATHS = frozenset({HEALTH, READY, METRICS})

METHODS = ("GET", "HEAD")


def is_probe(flow: http.HTTPFlow) -> bool:
    return flow.request.method in METHODS and bare(flow.request.path) in PATHS and is_ours(flow)


def bare(path: str) -> str:
    return path.partition("?")[0]
