"""mitmweb and the console: what they show of a call, and how much of the past they keep. In mitmdump there is nothing to do.

mitmproxy drops what streams, and its view keeps every flow for ever. Here a streamed answer is put onto its flow when it is over,
the beginning and the end of it, and the oldest flows leave the view.
"""

from collections.abc import Sequence
from itertools import accumulate, islice
from typing import Any
from weakref import WeakKeyDictionary

from mitmproxy import contentviews, ctx, http

from addons import engine
from addons.annotate import comment, mark
from addons.contentview import CodexContentview
from addons.traffic.exchange import Exchange
from addons.traffic.tee import Tee, capped

# Of a streamed answer, on its flow.
CONTENT_LIMIT = 1 << 20

# Both are the view's. A browser shows so many lines without effort, and a page of a few megabytes for each.
MAX_FLOWS = 500
MAX_BYTES = 200 << 20

# In mitmweb's list. All calls go to the same path; the comment tells one from another.
COLUMNS = ("icon", "path", "comment", "method", "status", "size", "time")


class CodexView:
    """After `CodexTraffic`, which tells it what there is to show."""

    def __init__(self) -> None:
        self.contentview = CodexContentview()
        self.sizes: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        """Of the flows that are over, in bytes."""

    def running(self) -> None:
        contentviews.add(self.contentview)
        if "web_columns" in ctx.options.keys() and not ctx.options.has_changed("web_columns"):
            ctx.options.update(web_columns=list(COLUMNS))

    @property
    def is_there(self) -> bool:
        return ctx.master.addons.get("view") is not None

    def show(self, flow: http.HTTPFlow, exchange: Exchange, streamed: Tee | None) -> None:
        if not flow.comment:  # the user's own
            flow.comment = comment(exchange)
        flow.marked = flow.marked or mark(exchange)
        if streamed and self.is_there and flow.response and flow.response.raw_content is None:
            body = capped(streamed.body(), CONTENT_LIMIT)
            gap = b"\n\n: %d bytes are left out here\n\n" % body.left_out if body.truncated else b""
            head, tail = body.chunks[: body.gap], body.chunks[body.gap :]
            pieces = [*head, *([head[-1]._replace(data=gap)] if gap and head else []), *tail]
            # It has been sent. mitmproxy does not send it again: it looks at the content of what did not stream only.
            flow.response.data.content = b"".join(piece.data for piece in pieces)
            self.contentview.remember(flow, [(piece.at, len(piece.data)) for piece in pieces])

    def response(self, flow: http.HTTPFlow) -> None:
        if not flow.websocket and not engine.is_resending(flow):
            self._over(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        self._over(flow)

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        self._over(flow)

    def _over(self, flow: http.HTTPFlow) -> None:
        view = ctx.master.addons.get("view")
        if view is None:
            return
        self.sizes[flow] = size_of(flow)
        # One that is alive would be killed by its removal, and this one is alive until its hooks are through.
        flows = [kept for kept in view.resolve("@all") if kept in self.sizes and not kept.live]
        for old in flows[: too_many([self.sizes[kept] for kept in flows])]:
            view.remove([old])  # one by one: it makes a line in the log of several


def too_many(sizes: Sequence[int], most: int = MAX_FLOWS, most_bytes: int = MAX_BYTES) -> int:
    """How many of them have to go, of which the oldest are the first."""
    fit = sum(total <= most_bytes for total in islice(accumulate(reversed(sizes)), most))
    return len(sizes) - fit


def size_of(flow: http.HTTPFlow) -> int:
    messages = flow.websocket.messages if flow.websocket else ()
    bodies = (flow.request.raw_content, flow.response.raw_content if flow.response else None)
    return sum(len(body) for body in bodies if body) + sum(len(message.content) for message in messages)
