"""`explain`: the story of one call, in sentences."""

import time
from collections.abc import Callable, Iterator

from addons.traffic.exchange import Attempt, Exchange, QuotaWindow
from addons.traffic.queries import short
from addons.traffic.remedies import remedy
from addons.traffic.text import BOLD, RED, Page, date_and_time, percent, plural, printable, seconds, wrap
from addons.wire.quota import kind_of

# More of them are counted.
SHOWN_EDITS = 12

ENDINGS = {
    "complete": "The answer is complete",
    "incomplete": "The answer ended early, which the client was told",
    "failed": "It failed",
    "cut": "The answer broke off in the middle, which the client was told",
    "client_left": "The client left before the end",
    "refused": "It was refused",
}


def explain(exchange: Exchange, page: Page) -> None:
    head = f"{short(exchange.id)}  {date_and_time(exchange.started)}  {exchange.method} {exchange.endpoint}"
    page.line(page.paint(printable(head), BOLD))
    for tell in STORY:
        for text in tell(exchange):
            page.lines(wrap(text, "  ", "  "))
    for text in _ending(exchange):
        page.lines(page.paint(line, RED) if exchange.failed else line for line in wrap(text, "  ", "  "))


def sentences(exchange: Exchange) -> list[str]:
    """The same without a line's width, for whoever lays it out otherwise."""
    return [printable(text) for tell in (*STORY, _ending) for text in tell(exchange)]


def _who(exchange: Exchange) -> Iterator[str]:
    label, agent, address = exchange.client
    who = label or agent or "A client"
    known = f" ({agent})" if agent and agent != who else ""
    where = f" from {address}" if address else ""
    asked = f" asked for {exchange.model_asked}" if exchange.model_asked else " asked"
    spoken = f" in the {exchange.dialect} dialect" if exchange.dialect else ""
    yield f"{who}{known}{where}{asked}{spoken}{', streamed' if exchange.stream else ''}."


def _where(exchange: Exchange) -> Iterator[str]:
    if not exchange.account:
        yield "No account was chosen for it."
        return
    used = exchange.model_used
    model = f"{used} on " if used and used != exchange.model_asked else ""
    at = f" at {exchange.upstream}" if exchange.upstream else ""
    why = f": {exchange.account_why}" if exchange.account_why else ""
    yield f"It went to {model}account {exchange.account}{at}{why}."


def _edits(exchange: Exchange) -> Iterator[str]:
    if not exchange.edits:
        yield "Nothing was changed in the request."
        return
    yield f"{plural(len(exchange.edits), 'thing')} {'was' if len(exchange.edits) == 1 else 'were'} changed in the request:"
    for edit in exchange.edits[:SHOWN_EDITS]:
        yield f"- {edit.verb} {edit.what}{f': {edit.why}' if edit.why else ''}"
    if more := len(exchange.edits) - SHOWN_EDITS:
        if more > 0:
            yield f"- and {more} more"


def _attempts(exchange: Exchange) -> Iterator[str]:
    if len(exchange.attempts) > 1:
        yield f"It took {len(exchange.attempts)} attempts:"
        for number, attempt in enumerate(exchange.attempts, 1):
            yield f"{number}. {_attempt(attempt)}"


def _attempt(attempt: Attempt) -> str:
    waited = f"after a wait of {seconds(attempt.waited)}, " if attempt.waited else ""
    got = f"answered {attempt.status}" if attempt.status is not None else attempt.failure or "no answer"
    outcome = f", {attempt.outcome}" if attempt.outcome else ""
    return f"{waited}{seconds(attempt.started)} in, account {attempt.account}: {got}{outcome}"


def _timing(exchange: Exchange) -> Iterator[str]:
    queued = f"it waited {seconds(exchange.queued)} in the queue, " if exchange.queued else ""
    first = f"first byte after {seconds(exchange.first_byte)}, " if exchange.first_byte is not None else ""
    token = f"first token after {seconds(exchange.first_token)}, " if exchange.first_token is not None else ""
    silence = f"; the longest silence was {seconds(exchange.longest_gap)}" if exchange.longest_gap is not None else ""
    text = f"{queued}{first}{token}done after {seconds(exchange.ended)}{silence}."
    yield text[0].upper() + text[1:]


def _cost(exchange: Exchange) -> Iterator[str]:
    tokens = exchange.tokens
    if tokens:
        cached = f" ({percent(tokens.cached_tokens, tokens.input_tokens)} of it from the cache)" if tokens.cached_tokens else ""
        thought = f" ({tokens.reasoning_tokens} of it reasoning)" if tokens.reasoning_tokens else ""
        estimated = ", by the proxy's own estimate" if tokens.estimated else ""
        yield f"It cost {tokens.input_tokens} tokens in{cached} and {tokens.output_tokens} out{thought}{estimated}."
    if exchange.quota:
        yield f"The plan after it: {'; '.join(_window(window) for window in exchange.quota)}."


def _window(window: QuotaWindow) -> str:
    return f"{kind_of(window.minutes)} {window.used_percent:.0f} % used{resets(window.resets_at)}"


def resets(at: float | None) -> str:
    return f", resets {time.strftime('%d %b %H:%M', time.localtime(at))}" if at else ""


def _unknown(exchange: Exchange) -> Iterator[str]:
    if exchange.unknown:
        yield f"Upstream said what the proxy does not know: {', '.join(sorted(exchange.unknown)[:8])}."


def _ending(exchange: Exchange) -> Iterator[str]:
    ending = ENDINGS[exchange.outcome]
    status = f", status {exchange.status}" if exchange.status is not None else ", and the client saw no status"
    error = exchange.error
    said = f". {error.code or error.type}: {error.message}" if error else ""
    yield f"{ending}{status}{said}{'' if said.endswith('.') else '.'}"
    if what := remedy(exchange):
        yield f"What to do: {what}."


STORY: tuple[Callable[[Exchange], Iterator[str]], ...] = (_who, _where, _edits, _attempts, _timing, _cost, _unknown)
