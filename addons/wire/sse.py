"""Server-sent events on bytes, by the WHATWG's parsing rules (html.spec.whatwg.org, 9.2.6); `id:` and `retry:` have no use here.

Lines end with LF, CR or CR LF and with nothing else: `str.splitlines` would also break at U+2028, which JSON may hold as it is.

Two departures, both because the data is JSON:

- An event whose blank line is missing at the end of the stream is handed out; the spec drops it. Some servers leave that line
  out, and the reader finds a cut by itself: no proper prefix of a JSON object is a JSON object.
- A comment is handed out as COMMENT: it is a sign of life, and whoever translates the stream should pass that on.
"""

from typing import NamedTuple

# The backend sends the same events over its WebSocket, and there a frame of more than 16 MiB is refused (close code 1009).
MAX_EVENT = 16 * 1024 * 1024

# As a number: for `b"\r" in data` Python first tries whether the bytes are one, which takes longer than the search.
CR = 0x0D
BOM = b"\xef\xbb\xbf"
DONE = b"data: [DONE]\n\n"
KEEPALIVE = b": keepalive\n\n"


class ServerEvent(NamedTuple):
    name: bytes
    """From `event:`, empty if there was none."""
    data: bytes
    """The `data:` lines, joined with LF."""


COMMENT = ServerEvent(b"keepalive", b"")

# For `ServerEvent(...)` Python would call a function of its own that does this, for twice as long.
_new = tuple.__new__


class EventTooLarge(ValueError):
    """One event of more than the limit. The decoder is of no use afterwards and goes on raising this."""


class Decoder:
    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self._max_event = max_event
        self._line: list[bytes] = []  # what there is of a line that has not ended; joined once, or a long line costs its square
        self._name = b""
        self._data: list[bytes] = []
        self._size = 0  # of the current event: its whole lines, and the one that has not ended
        self._after_cr = False
        self._at_start = True
        self._broken = False

    def feed(self, data: bytes) -> list[ServerEvent]:
        """The events that `data` completes; `b""` is the end of the stream. However the stream is cut up, the events are the same.

        Raises EventTooLarge, after the events before the one that is too large have been handed out.
        """
        if not data:
            return self._end()
        if self._broken:
            raise self._too_large()
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            self._after_cr = False
            if not data:
                return []
        if CR in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        else:
            self._after_cr = False
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._line:
            self._size -= sum(map(len, self._line))
            self._line.append(lines[0])
            lines[0] = b"".join(self._line)
            self._line.clear()
        events = self._take(lines)
        if rest:
            self._line.append(rest)
            self._size += len(rest)
            self._broken = self._broken or self._size > self._max_event
        if self._broken and not events:
            raise self._too_large()
        return events

    def _end(self) -> list[ServerEvent]:
        if self._broken:
            raise self._too_large()
        lines, self._line = [b"".join(self._line), b""], []
        self._size = 0
        return self._take(lines)

    def _too_large(self) -> EventTooLarge:
        return EventTooLarge(f"an event of more than {self._max_event} bytes")

    def _take(self, lines: list[bytes]) -> list[ServerEvent]:
        events: list[ServerEvent] = []
        if self._at_start and lines:
            lines[0] = lines[0].removeprefix(BOM)
            self._at_start = False
        name, data, size = self._name, self._data, self._size
        for line in lines:
            if not line:
                if data:
                    events.append(_new(ServerEvent, (name, b"\n".join(data))))
                    data = []
                name, size = b"", 0
                continue
            size += len(line)
            if size > self._max_event:
                self._broken = True
                break
            if line.startswith(b"data: "):  # as nearly everybody writes it
                data.append(line[6:])
                continue
            if line.startswith(b"event: "):
                name = line[7:]
                continue
            field, _, value = line.partition(b":")
            if field == b"data":
                data.append(value.removeprefix(b" "))
            elif field == b"event":
                name = value.removeprefix(b" ")
            elif not field:
                events.append(COMMENT)
        self._name, self._data, self._size = name, data, size
        return events


def encode(data: bytes, name: bytes = b"") -> bytes:
    """One whole event, to be written at once. `data` is JSON in one line."""
    return b"event: %b\ndata: %b\n\n" % (name, data) if name else b"data: %b\n\n" % data
