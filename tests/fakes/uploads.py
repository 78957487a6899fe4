"""Multipart bodies (RFC 7578), read without copying: an upload may be hundreds of megabytes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .errors import refuse
from .http import Request

BOUNDARY = re.compile(r'multipart/form-data;.*\bboundary="?([^";]+)"?', re.IGNORECASE)
NAME = re.compile(rb'\bname="([^"]*)"')
FILENAME = re.compile(rb'\bfilename="([^"]*)"')


@dataclass(frozen=True)
class Part:
    name: str
    filename: str | None
    content: memoryview


def read_parts(request: Request) -> list[Part]:
    boundary = BOUNDARY.match(request.header("content-type") or "")
    if boundary is None:
        refuse(400, None, "expected multipart/form-data with a boundary")
    return list(_parts(request.body, b"--" + boundary[1].encode()))


def _parts(body: bytes, delimiter: bytes) -> Iterator[Part]:
    start = body.find(delimiter) + len(delimiter) + 2
    while (end := body.find(b"\r\n" + delimiter, start)) >= 0:
        head_end = body.find(b"\r\n\r\n", start, end)
        head = body[start:head_end]
        name, filename = NAME.search(head), FILENAME.search(head)
        if head_end < 0 or name is None:
            refuse(400, None, "a part of the multipart body has no name")
        yield Part(
            name=name[1].decode(),
            filename=filename[1].decode() if filename else None,
            content=memoryview(body)[head_end + 4 : end],
        )
        start = end + len(delimiter) + 4
