"""How mitmweb and the console show a conversation: the view "Codex", which they choose by themselves for what is one."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from mitmproxy import contentviews, flow, http

from addons.edits import EDITS
from addons.upstreams import bare_path

if TYPE_CHECKING:
    from addons.wire.readable_answer import Piece

# mitmproxy's own view of JSON has 1.
PRIORITY = 2.0

CONVERSATIONS = ("/responses", "/chat/completions")
READABLE = ("application/json", "text/event-stream")


class CodexContentview(contentviews.Contentview):
    name = "Codex"
    syntax_highlight = "none"

    def __init__(self) -> None:
        self.moments: WeakKeyDictionary[flow.Flow, Sequence[tuple[float, int]]] = WeakKeyDictionary()

    def remember(self, flow: http.HTTPFlow, moments: Sequence[tuple[float, int]]) -> None:
        """When the pieces of its answer came, with the length of each."""
        self.moments[flow] = moments

    def prettify(self, data: bytes, metadata: contentviews.Metadata) -> str:
        # 2 ms of each start, and mitmdump shows nobody anything.
        from addons.wire.readable_answer import answer_text
        from addons.wire.readable_request import request_text

        if isinstance(metadata.http_message, http.Request):
            return request_text(data, changes(metadata.flow))
        moments = self.moments.get(metadata.flow, ()) if metadata.flow else ()
        return answer_text(pieces(data, moments))

    def render_priority(self, data: bytes, metadata: contentviews.Metadata) -> float:
        shown = metadata.flow
        if not data or not isinstance(shown, http.HTTPFlow) or not metadata.http_message:
            return -1
        is_one = shown.request.method == "POST" and bare_path(shown.request.path).endswith(CONVERSATIONS)
        return PRIORITY if is_one and metadata.content_type in READABLE else -1


def changes(shown: flow.Flow | None) -> list[str]:
    edits: Iterable[Sequence[str]] = shown.metadata.get(EDITS, ()) if shown else ()
    return [f"{verb} {what}: {why}" for verb, what, why in edits]


def pieces(data: bytes, moments: Sequence[tuple[float, int]]) -> "list[Piece]":
    """The data as it came; all of it at once if it is not what was remembered, as when a user has edited it."""
    if sum(length for _, length in moments) != len(data):
        return [(None, data)]
    ends = pairwise(accumulate((length for _, length in moments), initial=0))
    return [(at, data[start:end]) for (at, _), (start, end) in zip(moments, ends, strict=True)]
