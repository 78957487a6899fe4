"""The loopback server that a browser sign-in comes back to. It knows three addresses and lives for one sign-in.

    /auth/callback   wrong state: 400, and the sign-in goes on waiting. Otherwise this is the answer, and the browser waits for
                     what comes of it: a redirect to /success, or a page that says why not
    /success         the end. Its address holds nothing, so the code leaves the address bar (the CLI puts the id_token there)
    /cancel          ends the sign-in, as in the CLI's listener: whoever needs the port next asks for it like this
    anything else    404

Every program here can connect, and every web page can make a browser do so. So connections are served side by side, each with
little time and room, which leaves the real callback unimpressed by the others; a name in `Host` that is not loopback (DNS
rebinding) is refused, and a page of another site cannot cancel.
"""

import asyncio
import errno
import html
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus

from auth import pkce
from auth.errors import LoginFailed
from auth.outbound import is_loopback
from auth.pkce import Callback, Code, Denied, Missing, WrongState

LOOPBACK = "127.0.0.1"

# A browser's request with a code in it is 1 to 2 KiB; Apache and nginx take 8 KiB for its first line.
MAX_REQUEST = 16 << 10
REQUEST_TIMEOUT = 10.0
# Browsers open a few spare connections. With more than this, the one that has been silent for longest goes.
MAX_VISITS = 64
# How long the browser gets to follow the redirect to /success.
FAREWELL = 5.0

# The CLI's numbers (codex-rs, login/src/server.rs).
CANCEL_TIMEOUT = 2.0
BIND_TRIES, BIND_PAUSE = 10, 0.2


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Somebody asked for the port, most likely another sign-in."""


type Answer = Code | Denied | Missing | Cancelled
type Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Page:
    status: HTTPStatus
    title: str
    text: str = ""
    location: str | None = None

    def dump(self) -> bytes:
        title, text = html.escape(self.title), html.escape(self.text)
        body = (
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f"<title>{title}</title><style>body{{font:1.1em/1.5 system-ui,sans-serif;margin:15vh auto;max-width:32em}}</style>"
            f"</head><body><h1>{title}</h1><p>{text}</p></body></html>\n"
        ).encode()
        headers = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            "Content-Type: text/html; charset=utf-8",
            f"Content-Length: {len(body)}",
            "Connection: close",
            "Cache-Control: no-store",
            "Referrer-Policy: no-referrer",
            "X-Content-Type-Options: nosniff",
            "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
            *([f"Location: {self.location}"] if self.location else []),
        ]
        return "\r\n".join([*headers, "", ""]).encode() + body


SIGNED_IN = Page(HTTPStatus.OK, "Signed in", "codex-mitm has what it needs. You can close this page.")
TO_SUCCESS = Page(HTTPStatus.FOUND, "Signed in", location="/success")
CANCELLED = Page(HTTPStatus.OK, "Login cancelled", "The sign-in has ended.")
WRONG_STATE = Page(
    HTTPStatus.BAD_REQUEST,
    "State mismatch",
    "This page does not belong to the sign-in that is waiting. Use the address that the terminal shows.",
)
NOT_FOUND = Page(HTTPStatus.NOT_FOUND, "Not found")
NOT_GET = Page(HTTPStatus.METHOD_NOT_ALLOWED, "Method not allowed")
NOT_HTTP = Page(HTTPStatus.BAD_REQUEST, "Bad request")
NOT_HERE = Page(HTTPStatus.MISDIRECTED_REQUEST, "Wrong host", "Only loopback names are served here.")
CROSS_SITE = Page(HTTPStatus.FORBIDDEN, "Forbidden", "A web page cannot do this.")
TOO_LARGE = Page(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "Request too large")


def failure_page(why: str) -> Page:
    return Page(HTTPStatus.OK, "Not signed in", f"{why[:1].upper()}{why[1:]}.")


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: str
    headers: Mapping[str, str]

    @property
    def host(self) -> str:
        """Without the port, which a forwarding tool may have changed."""
        host = self.headers.get("host", "").lower()
        return host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]

    @property
    def is_cross_site(self) -> bool:
        """Browsers tell (Fetch Metadata); programs do not send it."""
        return self.headers.get("sec-fetch-site", "none") not in ("none", "same-origin")


def parse_request(head: bytes) -> Request | None:
    """None if it is not HTTP/1."""
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return None
    path, _, query = words[1].partition("?")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Request(words[0], path, query, headers)


class CallbackListener:
    """Made by `listen`. Wait for `answer`, act on it, then tell the browser with `conclude`."""

    def __init__(self, state: str) -> None:
        loop = asyncio.get_running_loop()
        self._state = state
        self._answer: asyncio.Future[Answer] = loop.create_future()
        self._end: asyncio.Future[Page] = loop.create_future()
        self._success_shown = asyncio.Event()
        self._visits: dict[asyncio.Task[None], None] = {}  # a set in the order of arrival
        self._returned: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def answer(self) -> Answer:
        return await asyncio.shield(self._answer)

    def decide(self, answer: Answer) -> None:
        """The first answer counts, whichever way it came."""
        if not self._answer.done():
            self._answer.set_result(answer)

    async def conclude(self, failure: str = "") -> None:
        """Shows the browser what came of its answer, and gives it a moment to look."""
        if not self._end.done():
            self._end.set_result(failure_page(failure) if failure else TO_SUCCESS)
        if self._returned:
            with suppress(TimeoutError):
                async with asyncio.timeout(FAREWELL):
                    await (asyncio.wait(self._returned) if failure else self._success_shown.wait())

    async def open(self, ports: Sequence[int], tries: int, pause: float) -> None:
        for port in ports:
            self._server = await _bind(self._serve, port, tries, pause)
            if self._server:
                self.port = port
                return
        numbers = " and ".join(map(str, ports))
        raise LoginFailed(
            f"ports {numbers} of {LOOPBACK} are in use, and no others are registered",
            "end the other sign-in, or use --device (no port needed) or --import FILE",
        )

    async def close(self) -> None:
        if self._server:
            self._server.close()
        for visit in self._visits:
            visit.cancel()
        await asyncio.gather(*self._visits, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = asyncio.current_task()
        assert visit is not None
        self._visits[visit] = None
        if len(self._visits) > MAX_VISITS:
            next(other for other in self._visits if other not in self._returned).cancel()
        try:
            page = await self._page_for(reader)
            writer.write(page.dump())
            async with asyncio.timeout(REQUEST_TIMEOUT):
                await writer.drain()
            if page is SIGNED_IN:
                self._success_shown.set()
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            pass  # it said nothing that wants an answer, or it left
        finally:
            del self._visits[visit]
            writer.close()

    async def _page_for(self, reader: asyncio.StreamReader) -> Page:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return TOO_LARGE
        request = parse_request(head)
        return NOT_HTTP if request is None else await self._reply(request)

    async def _reply(self, request: Request) -> Page:
        if not is_loopback(request.host):
            return NOT_HERE
        if request.method != "GET":
            return NOT_GET
        match request.path:
            case pkce.CALLBACK_PATH:
                return await self._come_back(pkce.parse_callback(request.query, self._state))
            case "/success" if self._end.done() and self._end.result() is TO_SUCCESS:
                return SIGNED_IN
            case "/cancel":
                return self._cancel(request)
            case _:
                return NOT_FOUND

    async def _come_back(self, callback: Callback) -> Page:
        if isinstance(callback, WrongState):
            return WRONG_STATE
        visit = asyncio.current_task()
        assert visit is not None
        self._returned.add(visit)
        self.decide(callback)
        return await asyncio.shield(self._end)

    def _cancel(self, request: Request) -> Page:
        if request.is_cross_site:
            return CROSS_SITE
        self.decide(Cancelled())
        return CANCELLED


@asynccontextmanager
async def listen(
    state: str, ports: Sequence[int] = pkce.REDIRECT_PORTS, tries: int = BIND_TRIES, pause: float = BIND_PAUSE
) -> AsyncIterator[CallbackListener]:
    """A listener on the first of `ports` that can be had. Raises LoginFailed if none can."""
    listener = CallbackListener(state)
    await listener.open(ports, tries, pause)
    try:
        yield listener
    finally:
        await listener.close()


async def _bind(serve: Serve, port: int, tries: int, pause: float) -> asyncio.Server | None:
    for attempt in range(1 + tries):
        try:
            return await asyncio.start_server(serve, LOOPBACK, port, limit=MAX_REQUEST)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return None  # Windows keeps ranges of ports for itself: waiting does not help
        if attempt == 0:
            await _ask_to_leave(port)
        if attempt < tries:
            await asyncio.sleep(pause)
    return None


async def _ask_to_leave(port: int) -> None:
    """The occupant is most likely a sign-in that was forgotten, the CLI's or ours; whoever it is may ignore this."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(CANCEL_TIMEOUT):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                writer.write(f"GET /cancel HTTP/1.1\r\nHost: {LOOPBACK}:{port}\r\nConnection: close\r\n\r\n".encode())
                await reader.read(64)  # leaving before it has answered would look like an accident
            finally:
                writer.close()
