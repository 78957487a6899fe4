"""`show`: what was sent, by the client and to upstream; the difference; upstream's events as they came."""

import difflib
from collections.abc import Iterator

from addons.traffic.exchange import Body, Exchange
from addons.traffic.recorded import WORDS, need, readable
from addons.traffic.text import BOLD, DIM, Page, printable, printable_lines
from addons.wire.sse import COMMENT, Decoder, EventTooLarge, ServerEvent

GREEN, RED, CYAN = "32", "31", "36"
COLOURS = {"+": GREEN, "-": RED, "@": CYAN}


def show(exchange: Exchange, page: Page) -> None:
    need(exchange, "client_request")
    for part in ("client_request", "upstream_request"):
        body = getattr(exchange.bodies, part)
        if body is not None:
            page.line(page.paint(f"{WORDS[part]}, {body.size} bytes", BOLD))
            page.line(printable_lines(readable(body)))


def show_diff(exchange: Exchange, page: Page) -> None:
    client, upstream = (readable(need(exchange, part), sort=True).split("\n") for part in ("client_request", "upstream_request"))
    lines = list(difflib.unified_diff(client, upstream, "client", "upstream", lineterm=""))
    for line in lines or ["the client's request went upstream as it was"]:
        colour = COLOURS.get(line[:1], "")
        page.line(page.paint(printable(line), colour) if colour else printable(line))


def show_events(exchange: Exchange, page: Page) -> None:
    before = 0.0
    for at, event in events(need(exchange, "upstream_events")):
        name = event.name.decode("utf-8", "replace") or ("(a sign of life)" if event == COMMENT else "(no name)")
        page.line(f"{at:8.3f}s {page.paint(f'+{at - before:.3f}s', DIM)}  {page.paint(printable(name), BOLD)}")
        if event.data:
            page.line(f"    {printable(event.data.decode('utf-8', 'replace'))}")
        before = at


def events(body: Body) -> Iterator[tuple[float, ServerEvent]]:
    """With the moment at which the last byte of each was there. Where the middle is missing, a new beginning is made."""
    decoder, at = Decoder(), 0.0
    for number, (at, data) in enumerate(body.chunks):
        if number == body.gap and body.truncated:
            yield at, ServerEvent(b"(a gap)", b"%d bytes were too many to be recorded" % body.left_out)
            decoder = Decoder()
        try:
            for event in decoder.feed(data) if data else []:
                yield at, event
        except EventTooLarge:
            yield at, ServerEvent(b"(the rest cannot be read)", b"")
            return
    for event in decoder.feed(b""):
        yield at, event
