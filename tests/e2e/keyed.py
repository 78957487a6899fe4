"""A proxy with keys: which there are, the policy file that gives them, and what is sent to it byte by byte."""

import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from auth.keys import make
from tests.e2e.client import ask

LAPTOP, PHONE, SLOW, FRUGAL, NARROW = (make(label) for label in ("laptop", "phone", "slow", "frugal", "narrow"))
LIMITS: dict[str, dict[str, Any]] = {
    "slow": {"requests_per_minute": 3},
    "frugal": {"tokens_per_minute": 1000},
    "narrow": {"models": ["gpt-4.1-nano", "/gpt-5.*/"]},
}
PAGE = "https://chat.example.com"

BODY = json.dumps(ask()).encode()
LENGTH = f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n".encode()
CHUNKED = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Ng==\r\n"
)


@dataclass
class Policy:
    file: Path

    def write(self, *labels: str, **more: Any) -> None:
        """JSON is YAML."""
        known = {new.label: new.entry | LIMITS.get(new.label, {}) for new in (LAPTOP, PHONE, SLOW, FRUGAL, NARROW)}
        rules: dict[str, Any] = {"aliases": {"gpt-4.1-nano": "@smallest"}, "origins": [PAGE]}
        self.file.write_text(json.dumps(rules | ({"keys": [known[label] for label in labels]} if labels else {}) | more, indent=1))


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def exchange(port: int, request: bytes, answers: int = 1) -> list[httpx.Response]:
    """The answers to these bytes, on one connection, until it is closed or there are so many."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        has_body = not request.startswith(b"HEAD ")
        return [answer for answer in (read_answer(connection, has_body) for _ in range(answers)) if answer]


def read_answer(connection: socket.socket, has_body: bool = True) -> httpx.Response | None:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := connection.recv(1)):
            return None
        data += more
    first, *lines = data.decode().split("\r\n")[:-2]
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    size, body = int(dict(headers).get("content-length", 0)) if has_body else 0, b""
    while len(body) < size and (more := connection.recv(size - len(body))):
        body += more
    return httpx.Response(int(first.split()[1]), headers=headers, content=body)
