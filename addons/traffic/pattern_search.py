"""The program that looks for the user's patterns: `python pattern_search.py SECONDS`, started by searching.py.

It is a process of its own because Python's regular expressions let no other thread run while they match, and a pattern can be
written so that it takes for ever. It reads the patterns, then lists of texts; for each list it answers with where the first pattern
was found in each text, where the second, and so on. A pattern that takes longer than the time that is given ends the process.
"""

import faulthandler
import os
import pickle
import re
import signal
import sys
import warnings
from collections.abc import Iterator


def main(seconds: float) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the proxy, which still has something to write then
    warnings.simplefilter("ignore")
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    patterns = [re.compile(pattern) for pattern in pickle.load(asked)]
    with open(os.devnull, "w") as nowhere:
        while True:
            try:
                texts = [text.decode("utf-8", "surrogateescape") for text in pickle.load(asked)]
            except EOFError:
                return
            for pattern in patterns:
                # The one timer that a match cannot hold up, on every system: it is C's, and asks for no interpreter.
                faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
                found = [list(places(pattern, text)) for text in texts]
                faulthandler.cancel_dump_traceback_later()
                pickle.dump(found, answers)
                answers.flush()


def places(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    """In bytes."""
    at = done = 0
    for found in pattern.finditer(text):
        start = at + size(text[done : found.start()])
        at, done = start + size(found[0]), found.end()
        if at > start:
            yield start, at


def size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))


if __name__ == "__main__":
    main(float(sys.argv[1]))
