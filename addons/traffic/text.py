"""How the commands write: plain text of 80 columns, colours for a terminal that wants them, numbers for people.

What is printed came over the network: characters that a terminal would obey become blanks.
"""

import math
import os
import sys
import time
from collections.abc import Iterable, Mapping
from typing import TextIO

WIDTH = 80

RED, YELLOW, DIM, BOLD = "31", "33", "2", "1"

# For terminals that do not know them.
PLAIN = {"→": ">", "█": "#", "▏": "|", "…": "~", "–": "-"}


class Page:
    """Where the output goes, and what may be written there."""

    def __init__(self, stream: TextIO, env: Mapping[str, str] = os.environ) -> None:
        self._stream = stream
        self._encoding = stream.encoding or "utf-8"
        # https://no-color.org: present and not empty, whatever its value.
        self.colours = stream.isatty() and not env.get("NO_COLOR") and env.get("TERM") != "dumb"

    def line(self, text: str = "") -> None:
        self.write(text + "\n")

    def lines(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.line(text)

    def write(self, text: str) -> None:
        self._stream.write(self._writable(text))

    def paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self.colours and text else text

    def flush(self) -> None:
        self._stream.flush()

    def _writable(self, text: str) -> str:
        try:
            text.encode(self._encoding)
        except UnicodeEncodeError:
            text = "".join(PLAIN.get(character, character) for character in text)
            return text.encode(self._encoding, "backslashreplace").decode(self._encoding)
        return text


def printable(text: str) -> str:
    """One line of it, for a terminal that obeys control characters."""
    return text if text.isprintable() else "".join(character if character.isprintable() else " " for character in text)


def printable_lines(text: str) -> str:
    return "".join(character if character.isprintable() or character in "\n\t" else " " for character in text)


def fit(text: str, width: int) -> str:
    """Exactly so wide."""
    text = printable(text)
    return f"{text[: width - 1]}…" if len(text) > width else text.ljust(width)


def wrap(text: str, indent: str = "", hanging: str = "") -> list[str]:
    """Lines of whole words, those after the first one further in; a word that is too long stands alone."""
    lines, line = [], indent
    for word in printable(text).split():
        if len(line) + 1 + len(word) > WIDTH and line.strip():
            lines.append(line)
            line = indent + hanging
        line += word if not line.strip() else f" {word}"
    return [*lines, line]


def count(number: int) -> str:
    """Of four or five characters: `950`, `12.3k`, `4.1M`."""
    for unit, letter in ((1_000_000_000, "G"), (1_000_000, "M"), (1000, "k")):
        if number >= unit:
            return f"{number / unit:.1f}{letter}" if number < 100 * unit else f"{number / unit:.0f}{letter}"
    return str(number)


def size(bytes_: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if bytes_ >= unit:
            return f"{bytes_ / unit:.1f} {name}"
    return f"{bytes_} bytes"


def seconds(span: float | None) -> str:
    """Of at most five characters."""
    if span is None or not math.isfinite(span):
        return "–"
    if span < 99.95:
        return f"{span:.1f}s" if span >= 9.995 else f"{span:.2f}s"
    return f"{span / 60:.0f}m" if span < 6000 else f"{span / 3600:.0f}h"


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "–"


def clock(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment))


def date_and_time(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


def plural(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def gap_sentence(since: float, until: float, calls: int, why: str) -> str:
    first, last = date_and_time(since), date_and_time(until)
    when = f"at {first}" if first == last else f"from {first} to {last}"
    return f"{plural(calls, 'call')} {'was' if calls == 1 else 'were'} not recorded {when}: {printable(why)}"


def say(text: str) -> None:
    """Talk, and not what was asked for: it goes to stderr, so that the rest can be piped."""
    Page(sys.stderr).line(printable_lines(text))


def fail(what: str, hint: str = "") -> None:
    say(f"codex-mitm: {what}")
    if hint:
        say(f"codex-mitm: hint: {hint}")
