"""What this suite needs of mitmproxy's HTTP layers that no hook offers. The only package that knows their insides.

    put_on_the_wire(flow, ...)    secret headers that reach the upstream's socket and never the flow
    hand_over(message, ...)       the same for a request or an answer that passes through
    watch(flow, ...)              keep-alives while upstream is silent, deadlines, and an answer where upstream gives none
    resend(flow)                  the response hook asks for the request to go out once more; the second answer streams
    hold_head(flow, ...)          an answer that streams keeps its head back until its first byte comes out of the stages
    answer_instead(flow, ...)     meanwhile: another answer takes its place, with its own status
    end_answer(flow, ...)         the client has what it asked for: end its body here, and stop upstream
    fail_answer(flow, ...)        the same with last words
    cut_off(flow)                 the same without an end: the client's connection is broken off
    pause(flow, ...)              what upstream says waits for a while
    in_pieces(flow, ...)          what it says at once is not looked at at once
    body_was_too_large(flow)      `body_size_limit`, kept in memory and answered politely
    head_begun(client)            since when a request head has been coming in
    ask_before_shutdown(ask)      mitmproxy is asked to end, and waits for somebody to let it (`shut_down`)
    close_after_answers()         meanwhile: each answer is the last on its connection
    exchanges(handler)            what is under way on a connection; idle_for(handler): for how long nothing has happened there
    end_exchanges(handler)        they get what is left to say; hang_up(handler, peer): and no more
    say_only(is_said)             of what mitmproxy's log says of connections; say_all() undoes it
    (always)                      JSON instead of HTML for what mitmproxy refuses by itself, and no request bytes in its log
    (always)                      the same in less time: packets (reading.py), events (turns.py, passing_on.py), hooks
                                  (dispatch.py), heads (headers.py, messages.py), options (settings.py), the start
                                  (authority.py)

Written against mitmproxy 12.2, HTTP/1.1 on both sides (`serve.py` sets `http2` to false). `install()` compares every function
that it wraps with the signature it was written for and refuses a mitmproxy that looks different, rather than run beside it.
"""

import inspect
from asyncio import StreamReader
from collections.abc import Callable
from typing import Any

from h11._readers import ChunkedReader
from mitmproxy import hooks, http, log, optmanager
from mitmproxy.addonmanager import AddonManager
from mitmproxy.certs import CertStore
from mitmproxy.master import Master
from mitmproxy.proxy.commands import StartHook
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.events import CommandCompleted
from mitmproxy.proxy.layers.http import HttpLayer, HttpStream, _http1
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler
from mitmproxy.proxy.server import ConnectionHandler

from addons.engine import (
    authority,
    body_limit,
    chunks,
    connection,
    contexts,
    dispatch,
    ending,
    headers,
    messages,
    originals,
    passing_on,
    reading,
    refusals,
    settings,
    stream,
    talk,
    telling,
    turns,
)
from addons.engine.body_limit import body_was_too_large
from addons.engine.connection import head_begun
from addons.engine.course import (
    HELD_AT_MOST,
    Cause,
    Lapse,
    Limits,
    Watch,
    answer_instead,
    client_has_its_head,
    cut_off,
    end_answer,
    fail_answer,
    failure_of,
    head_is_held,
    hold_head,
    in_pieces,
    is_resending,
    pause,
    resend,
    was_sent,
    watch,
)
from addons.engine.ending import (
    ask_before_shutdown,
    close_after_answers,
    end_exchanges,
    exchanges,
    hang_up,
    idle_for,
    shut_down,
    transport_of,
    was_ended,
)
from addons.engine.on_flow import OnFlow
from addons.engine.refusals import PROXY_STOPPED, error_response, json_response, no_answer
from addons.engine.secret_headers import hand_over, is_on_the_wire, put_on_the_wire, take_off_the_wire
from addons.engine.talk import say_all, say_only

__all__ = [
    "HELD_AT_MOST",
    "PROXY_STOPPED",
    "Cause",
    "EngineMismatch",
    "Lapse",
    "Limits",
    "OnFlow",
    "Watch",
    "answer_instead",
    "ask_before_shutdown",
    "body_was_too_large",
    "client_has_its_head",
    "close_after_answers",
    "cut_off",
    "end_answer",
    "end_exchanges",
    "error_response",
    "exchanges",
    "fail_answer",
    "failure_of",
    "hand_over",
    "hang_up",
    "head_begun",
    "head_is_held",
    "hold_head",
    "idle_for",
    "in_pieces",
    "install",
    "is_on_the_wire",
    "is_resending",
    "json_response",
    "no_answer",
    "pause",
    "put_on_the_wire",
    "resend",
    "say_all",
    "say_only",
    "shut_down",
    "take_off_the_wire",
    "transport_of",
    "was_ended",
    "was_sent",
    "watch",
]


class EngineMismatch(Exception):
    """This mitmproxy is not the one that the engine was written for. Install one within pyproject.toml's bounds."""


# (where, name) -> (the parameters it had when this was written, what takes its place)
_WRAPPED: dict[tuple[Any, str], tuple[tuple[str, ...], Callable[..., Any] | property]] = {
    (HttpStream, "send_response"): (("self", "already_streamed"), stream.send_response),
    (HttpStream, "make_server_connection"): (("self",), stream.make_server_connection),
    (HttpStream, "handle_protocol_error"): (("self", "event"), stream.handle_protocol_error),
    (HttpStream, "start_response_stream"): (("self",), telling.start_response_stream),
    (HttpStream, "state_stream_response_body"): (("self", "event"), telling.state_stream_response_body),
    (HttpStream, "_handle_event"): (("self", "event"), stream.handle_event),
    (HttpStream, "check_body_size"): (("self", "request"), body_limit.check_body_size),
    (_http1.Http1Client, "send"): (("self", "event"), connection.send_upstream),
    (_http1.Http1Server, "send"): (("self", "event"), connection.send_to_client),
    (_http1.Http1Connection, "read_body"): (("self", "event"), connection.read_body),
    (_http1.Http1Server, "read_headers"): (("self", "event"), connection.read_request_headers),
    (_http1, "make_error_response"): (("status_code", "message"), refusals.malformed),
    (HttpLayer, "event_to_child"): (("self", "child", "event"), passing_on.event_to_child),
    (ConnectionHandler, "server_event"): (("self", "event"), turns.server_event),
    (ConnectionHandler, "handle_connection"): (("self", "connection"), reading.handle_connection),
    (ConnectionHandler, "log"): (("self", "message", "level", "exc_info"), talk.log),
    (ConnectionHandler, "drain_writers"): (("self",), turns.drain_writers),
    (ProxyConnectionHandler, "handle_hook"): (("self", "hook"), turns.handle_hook),
    (Context, "fork"): (("self",), contexts.fork),
    (AddonManager, "handle_lifecycle"): (("self", "event"), dispatch.handle_lifecycle),
    (AddonManager, "trigger_event"): (("self", "event"), dispatch.trigger_event),
    (AddonManager, "trigger"): (("self", "event"), dispatch.trigger),
    (hooks.Hook, "args"): (("self",), messages.arguments),
    (StartHook, "__new__"): (("cls", "args", "kwargs"), messages.unchecked),
    (CommandCompleted, "__new__"): (("cls", "args", "kwargs"), messages.unchecked),
    (http.Headers, "__init__"): (("self", "fields", "headers"), headers.init),
    (http.Headers, "get"): (("self", "key", "default"), headers.get),
    (http.Headers, "__getitem__"): (("self", "key"), headers.get_item),
    (http.Headers, "__contains__"): (("self", "key"), headers.contains),
    (http.Headers, "__iter__"): (("self",), headers.iterate),
    (http.Headers, "get_all"): (("self", "name"), headers.get_all),
    (http.Headers, "set_all"): (("self", "name", "values"), headers.set_all),
    (http.Headers, "items"): (("self", "multi"), headers.items),
    (http.Headers, "__bytes__"): (("self",), headers.as_bytes),
    (http.Message, "headers"): (("self",), headers.member(http.Message, "headers")),
    (http.Response, "status_code"): (("self",), headers.member(http.Response, "status_code")),
    (optmanager.OptManager, "__getattr__"): (("self", "attr"), settings.get_attribute),
    (CertStore, "from_files"): (("ca_file", "dhparam_file", "passphrase"), authority.from_files),
    (log.LegacyLogEvents, "emit"): (("self", "record"), dispatch.tell_of_log),
    (Master, "shutdown"): (("self",), ending.shutdown),
}
if __debug__:  # with `python -O` mitmproxy checks nothing either
    _WRAPPED[http.MessageData, "__post_init__"] = ("self",), messages.check_types
# Not wrapped, but called or yielded from here.
_CALLED: dict[tuple[Any, str], tuple[str, ...]] = {
    (HttpStream, "check_killed"): ("self", "emit_error_hook"),
    (HttpStream, "state_wait_for_response_headers"): ("self", "event"),
    (HttpStream, "state_consume_response_body"): ("self", "event"),
    (_http1.Http1Client, "done"): ("self", "event"),
    (HttpLayer, "make_stream"): ("self", "stream_id"),
    (HttpLayer, "get_connection"): ("self", "event", "reuse"),
    (HttpLayer, "register_connection"): ("self", "command"),
    (ConnectionHandler, "hook_task"): ("self", "hook"),
    (ConnectionHandler, "wakeup"): ("self", "request"),
    (ConnectionHandler, "open_connection"): ("self", "command"),
    (ConnectionHandler, "close_connection"): ("self", "connection", "half_close"),
}


def install() -> None:
    """Wrap mitmproxy's functions, once in this process. Raises EngineMismatch before anything is touched."""
    if originals.original:
        return
    expected = {key: parameters for key, (parameters, _) in _WRAPPED.items()} | _CALLED
    for (owner, name), parameters in expected.items():
        found = getattr(owner, name, None)
        found = found.fget if isinstance(found, property) else found
        seen = tuple(inspect.signature(found).parameters) if callable(found) else None
        if seen != parameters:
            raise EngineMismatch(f"{owner.__name__}.{name} takes {seen}, not {parameters}: mitmproxy >=12.2,<13 is needed")
    if vars(ChunkedReader()).keys() != chunks.READER:
        raise EngineMismatch(f"h11's ChunkedReader has {sorted(vars(ChunkedReader()))}, not {sorted(chunks.READER)}")
    if reading.WAITER not in StreamReader.__init__.__code__.co_names:
        raise EngineMismatch(f"asyncio's StreamReader has no {reading.WAITER}: Python 3.12 to 3.14 have it")
    for (owner, name), (_, replacement) in _WRAPPED.items():
        originals.original[owner, name] = getattr(owner, name)
        setattr(owner, name, replacement)
