"""Secret headers that reach the upstream's socket and never the flow.

Whatever looks at flows (mitmweb, save_stream_file, hardump, other scripts) thus has nothing to leak, at any moment.
"""

from collections.abc import Mapping
from weakref import WeakKeyDictionary

from mitmproxy import http

_secret: WeakKeyDictionary[http.Request, Mapping[str, str]] = WeakKeyDictionary()


def put_on_the_wire(flow: http.HTTPFlow, headers: Mapping[str, str]) -> None:
    """Send these headers with the flow's request, in place of any of the same name, without writing them on the flow."""
    _secret[flow.request] = dict(headers)


def take_off_the_wire(flow: http.HTTPFlow) -> None:
    _secret.pop(flow.request, None)


def is_on_the_wire(flow: http.HTTPFlow) -> bool:
    return flow.request in _secret


def as_sent(request: http.Request) -> http.Request:
    """The request with its secret headers: for the connection, and for nobody else."""
    secret = _secret.get(request)
    if not secret:
        return request
    sent = request.copy()
    for name, value in secret.items():
        sent.headers[name] = value
    return sent
