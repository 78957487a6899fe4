"""What was changed of a request, and to which model it went: noted on the flow as it happens, told in the answer's headers."""

import re
from collections.abc import Iterable

from mitmproxy import http

from addons import heads
from addons.guard import guarded_head
from addons.wire.plan import Edit

EDITS, MODEL = "codex.edits", "codex.model"

# Header lines of more than 8 KiB are refused by many servers and clients.
MAX_HEADER = 4000
_NOT_PRINTABLE = re.compile(r"[^ -~]")


def note(flow: http.HTTPFlow, edits: Iterable[Edit]) -> None:
    """Plain data, because a flow with objects in its metadata cannot be saved."""
    flow.metadata.setdefault(EDITS, []).extend([[edit.verb, edit.what, edit.why] for edit in edits])


class CodexEdits:
    """Tells them with every answer, refusals too: what was changed may be why."""

    @guarded_head
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if not flow.response:
            return
        told = {}
        if model := flow.metadata.get(MODEL):
            told["x-codex-model"] = in_a_header(model)
        if edits := flow.metadata.get(EDITS):
            told["x-codex-edits"] = in_a_header(", ".join([f"{verb} {what}" for verb, what, _ in edits]))
        if told:
            heads.put(flow.response.headers, told)


def in_a_header(text: str) -> str:
    """Names of models and unknown parameters are the client's own words: a line end among them would end the header line."""
    short = text if len(text) <= MAX_HEADER else f"{text[:MAX_HEADER]}, and more"
    return _NOT_PRINTABLE.sub("?", short)
