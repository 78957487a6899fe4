"""What a client sends and how it reads the answer: Responses in the shape that the Codex backend takes, over plain HTTP."""

import json
import time
from typing import Any

import httpx

from tests.fakes.control import Control, Seen

CLIENT_KEY = "Bearer CANARY-client-key"


def ask(text: str = "hello there", **changes: Any) -> dict[str, Any]:
    body = {
        "model": "gpt-5.5",
        "instructions": "",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}],
        "stream": True,
        "store": False,
    }
    return body | changes


def post(url: str, body: Any = None, **more: Any) -> httpx.Response:
    """One call on a connection of its own, as a client with any key makes it."""
    headers = {"authorization": CLIENT_KEY} | more.pop("headers", {})
    if "content" not in more:
        more["json"] = ask() if body is None else body
    return httpx.post(f"{url}/responses", headers=headers, timeout=30, trust_env=False, **more)


def events(answer: bytes | str) -> list[dict[str, Any]]:
    text = answer.decode() if isinstance(answer, bytes) else answer
    return [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: {")]


def said(answer: httpx.Response) -> str:
    """The text of an answer that must be whole: 200, and a terminal event that says completed."""
    assert answer.status_code == 200, answer.text
    found = events(answer.content)
    assert found[-1]["type"] == "response.completed", found[-1]
    return "".join(event["delta"] for event in found if event["type"] == "response.output_text.delta")


def error(answer: httpx.Response) -> dict[str, Any]:
    """The error of an answer that must be in OpenAI's envelope."""
    assert answer.headers["content-type"].startswith("application/json"), answer.text
    body = answer.json()
    assert set(body["error"]) >= {"message", "type", "param", "code"}, body
    return dict(body["error"])


def wait_until_ended(control: Control, timeout: float = 5.0) -> Seen:
    """The latest request to the backend, once it is over there."""
    deadline = time.monotonic() + timeout
    while (seen := control.seen("backend", "responses")[-1]).ended is None:
        assert time.monotonic() < deadline, "the upstream is still being read"
        time.sleep(0.05)
    return seen
