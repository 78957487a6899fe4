"""Timers of a connection: an exchange is looked at again (stream.py) when its next moment has come."""

import time

from mitmproxy.proxy import commands, layer
from mitmproxy.proxy.layers.http import HttpLayer, HttpStream

from addons.engine.clock import next_moment
from addons.engine.course import Course

Commands = layer.CommandGenerator[None]


def http_layer(self: HttpStream) -> HttpLayer:
    parent = self.context.layers[self.context.layers.index(self) - 1]
    assert isinstance(parent, HttpLayer)
    return parent


def timers_of(parent: HttpLayer) -> dict[commands.RequestWakeup, float]:
    """Those that run for a client connection. They are not for one exchange: short ones would leave thousands behind. None can be
    taken back, so another is set only for what is earlier than all that run, and an exchange uses what one before it has left."""
    running: dict[commands.RequestWakeup, float] = vars(parent).setdefault("_codex_timers", {})
    return running


# Seconds by which two timers must differ for the second to be worth setting.
GRAIN = 0.05


def set_timer(self: HttpStream, course: Course) -> Commands:
    """See to it that the exchange is looked at in its next moment, or before."""
    moment, parent = next_moment(course), http_layer(self)
    running = timers_of(parent)
    if moment is None or (running and min(running.values()) <= moment + GRAIN):
        return
    timer = commands.RequestWakeup(max(0.0, moment - time.monotonic()))
    running[timer] = moment
    yield timer
    # Set on behalf of another exchange, maybe: HttpLayer has just written down that it is ours.
    parent.command_sources[timer] = self
