"""One call as one line of the log, for people and for machines. Pure.

Nothing of what was said is in it, and nothing that looks like a secret: a model's name, or a program's, can be anything.
"""

from collections.abc import Callable
from typing import Any

from addons.annotate import comment
from addons.traffic.exchange import Exchange
from addons.traffic.queries import short
from addons.traffic.secrets import redacted_text
from addons.traffic.stories import client_name
from addons.traffic.tail import MARKS
from addons.traffic.text import printable, seconds

# Of a message or a name, and of the line; all of it is in the record.
MAX_TEXT, MAX_NAME, MAX_LINE = 300, 64, 500
# What is searched for secrets before it is cut to that: so much that none is cut in two, and no more than takes no time.
SEARCHED = 4096


def line_of(call: Exchange) -> str:
    """`00000001 laptop 200 1.42s · gpt-6-luna · 812→344 tok · first token 0.92s · ada`."""
    state = MARKS.get(call.outcome) or (str(call.status) if call.status is not None else "none")
    head = f"{short(call.id)} {client_name(call.client)[:MAX_NAME]} {state} {seconds(call.ended)}"
    asked = "" if call.model_used or call.model_asked else f"{call.method} {call.endpoint}"
    return redacted_text(printable(" · ".join(filter(None, (head, asked, comment(call))))[:SEARCHED]))[:MAX_LINE]


def fields_of(call: Exchange) -> dict[str, Any]:
    """Names may join, none is renamed; null is what did not happen or is not known. Spans of time are in seconds."""
    tokens, error = call.tokens, call.error
    told = {
        "id": call.id,
        "method": call.method,
        "path": call.endpoint,
        "dialect": call.dialect or None,
        "stream": call.stream,
        "key": call.client.label or None,
        "agent": call.client.agent or None,
        "address": call.client.address or None,
        "model_asked": call.model_asked or None,
        "model": call.model_used or None,
        "account": call.account or None,
        "upstream": call.upstream or None,
        "attempts": len(call.attempts),
        "edits": len(call.edits),
        "status": call.status,
        "outcome": call.outcome,
        "error_code": error and (error.code or error.type),
        "error_message": error and error.message,
        "tokens_in": tokens and tokens.input_tokens,
        "tokens_cached": tokens and tokens.cached_tokens,
        "tokens_out": tokens and tokens.output_tokens,
        "tokens_reasoning": tokens and tokens.reasoning_tokens,
        "queued": call.queued,
        "first_byte": call.first_byte,
        "first_token": call.first_token,
        "duration": call.ended,
    }
    texts = "\n".join(value[:SEARCHED] for value in told.values() if isinstance(value, str))
    # One search of all, which nearly always finds nothing, takes a tenth of the time of one each.
    clean = _same if redacted_text(texts) == texts else redacted_text
    return {name: _written(value, clean) for name, value in told.items()}


def _written(value: Any, clean: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return clean(value[:SEARCHED])[:MAX_TEXT]
    return round(value, 6) if isinstance(value, float) else value


def _same(text: str) -> str:
    return text
