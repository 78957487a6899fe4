"""What of this folder goes to a builder of images, by .dockerignore. As far as ours goes: *, ! and **, and the last line counts."""

import fnmatch
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def rules(text: str) -> list[tuple[str, bool]]:
    """Patterns, and whether they leave something out."""
    lines = [line.strip() for line in text.splitlines()]
    return [(line.removeprefix("!"), not line.startswith("!")) for line in lines if line and not line.startswith("#")]


def is_left_out(path: str, patterns: list[tuple[str, bool]]) -> bool:
    """A pattern that meets a folder meets what is in it."""
    parts = PurePosixPath(path).parts
    heads = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
    left_out = False
    for pattern, leaves_out in patterns:
        if any(_meets(head, pattern) for head in heads):
            left_out = leaves_out
    return left_out


def _meets(path: str, pattern: str) -> bool:
    """* stops at a slash, ** does not."""
    if pattern.startswith("**/"):
        return fnmatch.fnmatchcase(PurePosixPath(path).name, pattern[3:])
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)


def files(folder: Path, source: str, patterns: list[tuple[str, bool]]) -> Iterator[str]:
    """The files of a COPY, relative to the folder that they are copied from."""
    if (folder / source).is_file():
        found = [source]
    else:
        walked = ((Path(root), names) for root, _, names in os.walk(folder / source))
        found = [(root / name).relative_to(folder).as_posix() for root, names in walked for name in names]
    yield from (path for path in found if not is_left_out(path, patterns))
