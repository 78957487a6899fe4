"""Secret headers that reach a socket and never the flow.

Whatever looks at flows (mitmweb, save_stream_file, hardump, other scripts) thus has nothing to leak, at any moment.
"""

from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary

from mitmproxy import http

_secret: WeakKeyDictionary[http.Message, Mapping[str, Sequence[str]]] = WeakKeyDictionary()


def put_on_the_wire(flow: http.HTTPFlow, headers: Mapping[str, str]) -> None:
    """Send these headers with the flow's request, in place of any of the same name, without writing them on the flow."""
    _secret[flow.request] = {name: [value] for name, value in headers.items()}


def hand_over(message: http.Message, headers: Mapping[str, Sequence[str]]) -> None:
    """The same for either direction and for headers that come more than once, as cookies do."""
    _secret[message] = dict(headers)


def take_off_the_wire(flow: http.HTTPFlow) -> None:
    _secret.pop(flow.request, None)


def is_on_the_wire(flow: http.HTTPFlow) -> bool:
    return flow.request in _secret


def as_sent[Message: http.Message](message: Message) -> Message:
    """The message with its secret headers: for the connection, and for nobody else."""
    secret = _secret.get(message)
    if not secret:
        return message
    sent = _twin(message)
    sent.data = _twin(message.data)
    sent.data.headers = _twin(message.headers)
    for name, values in secret.items():
        sent.headers.set_all(name, values)
    return sent


def _twin[Thing](thing: Thing) -> Thing:
    """`copy.copy` of what is an object with members and nothing else, which has not to be found out first."""
    twin: Thing = object.__new__(type(thing))
    vars(twin).update(vars(thing))
    return twin
