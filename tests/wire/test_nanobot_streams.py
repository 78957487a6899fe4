"""nanobot reads a stream in a way of its own, and dies of some. Each of its known cases with the proxy in between."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from addons.wire.plan import Answering
from addons.wire.responses_stream import ResponsesStage
from tests.fakes.events import Event, frame
from tests.wire.clients import feed


def full(fixture: bytes) -> Any:
    """With its long texts written out."""
    return orjson.loads(re.sub(rb'"<(\d+)>"', lambda match: b'"%b"' % (b"x" * int(match[1])), fixture))


CASES = {case["name"]: case for case in full((Path(__file__).parent / "nanobot_streams.json").read_bytes())["cases"]}
STREAMS = {name: case for name, case in CASES.items() if case["upstream"]}

LINE_LIMIT = 1024 * 1024  # since v0.0.62
OLD_LINE_LIMIT = 64 * 1024


class Panic(Exception):
    """The whole of nanobot has died."""


@dataclass
class Nanobot:
    """What its `progress.go` and `translate.go` do, as far as it decides what the user gets."""

    line_limit: int = LINE_LIMIT
    response_id: str | None = None
    latest: Event | None = None
    final: Event | None = None
    live: bool = False
    answer: Event = field(default_factory=dict)

    def read(self, stream: bytes) -> Event:
        for line in stream.split(b"\n"):
            if len(line) + 1 >= self.line_limit:
                return {"error": "bufio.Scanner: token too long"}
            if line.startswith(b"data:") and line != b"data: [DONE]":
                self._on(orjson.loads(line[5:]))
        answer = self._translated()
        return answer | {"live": True} if self.live else answer

    def _on(self, event: Event) -> None:
        match event["type"]:
            case "response.created":
                self.response_id = event["response"]["id"]
            case "response.output_item.added":
                self.latest = event["item"]
            case "response.function_call_arguments.delta":
                if not self.latest or self.latest["type"] != "function_call" or self.latest["id"] != event["item_id"]:
                    raise Panic
            case "response.output_text.delta":
                self.live = bool(self.response_id and self.latest)
            case "response.output_item.done":
                self.latest = None
            case "response.completed" | "response.failed" | "response.incomplete":
                self.final = event["response"]

    def _translated(self) -> Event:
        if self.final is None:
            return {"error": "failed to get response from stream"}
        if self.final["status"] == "failed":
            return {"error": f"responses API error: {self.final['error']['code']} {self.final['error']['message']}"}
        assert isinstance(self.final["created_at"], int) and all(
            isinstance(v, str) for v in self.final.get("metadata", {}).values()
        )
        answer: Event = {}
        for item in self.final["output"]:
            for part in item.get("content", ()):
                if any(not isinstance(annotation, str) for annotation in part["annotations"]):
                    return {"error": "failed to get response from stream"}
                answer["text"] = answer.get("text", "") + part["text"]
            if item["type"] == "function_call":
                answer.setdefault("calls", {})[item["name"]] = item["arguments"]
        return answer


def stage(**more: Any) -> ResponsesStage:
    return ResponsesStage(Answering("responses", True, "gpt-4.1", show_annotations=False, **more), "resp_1", 1)


def upstream(case: Event) -> bytes:
    return b"".join(event.encode() if isinstance(event, str) else frame(event) for event in case["upstream"])


def test_they_are_all_here() -> None:
    assert len(CASES) == 17


@pytest.mark.parametrize("case", STREAMS.values(), ids=STREAMS)
def test_what_nanobot_gets(case: Event) -> None:
    one = stage(echo=case.get("echo", {}))
    out = feed(one, upstream(case), end=not case.get("kept_open"))
    assert one.finished, "nanobot reads on until the body ends"
    got = Nanobot().read(b"".join(out))
    # More than it would have had in one respect: there is progress to be seen even if upstream sent a terminal event only.
    assert got in (case["nanobot"], case["nanobot"] | {"live": True})


@pytest.mark.parametrize("case", STREAMS.values(), ids=STREAMS)
def test_and_before_its_line_limit_was_raised(case: Event) -> None:
    out = feed(stage(echo=case.get("echo", {})), upstream(case))
    if case["name"] == "line_900kB":  # all of it is the answer
        assert Nanobot(OLD_LINE_LIMIT).read(b"".join(out)) == {"error": "bufio.Scanner: token too long"}
    else:
        assert Nanobot(OLD_LINE_LIMIT).read(b"".join(out)).items() >= case["nanobot"].items()


@pytest.mark.parametrize("name", ["fc_delta_without_added", "fc_interleaved"])
def test_what_it_would_die_of(name: str) -> None:
    with pytest.raises(Panic):
        Nanobot().read(upstream(CASES[name]))


@pytest.mark.parametrize("name", ["empty_output", "annotations_objects", "error_event", "stream_cut", "json_instead_of_sse"])
def test_what_it_would_lose(name: str) -> None:
    assert Nanobot().read(upstream(CASES[name])).get("text") is None


@pytest.mark.parametrize("status", CASES["http_401_429_500_503"]["statuses"])
def test_a_refusal_is_shown_word_for_word_so_it_holds_nothing_but_the_envelope(status: int) -> None:
    one = stage()
    inner = {"type": "t", "code": "c", "message": "why", "param": None, "account_id": "secret"}
    feed(one, frame({"type": "error", "status": status, "error": inner, "headers": {"x-secret": "secret"}}))
    assert one.refusal and one.refusal.status == status
    assert orjson.loads(one.refusal.body()) == {"error": {"type": "t", "code": "c", "message": "why", "param": None}}
