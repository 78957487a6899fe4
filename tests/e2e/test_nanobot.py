"""Go nanobot v0.0.77 without nanobot: its own requests byte by byte through the real proxy, and what it makes of each answer.

The fixtures and the reader are those of tests/wire; here all that stands between them and the backend has its turn as well.
"""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.client import wait_until_ended
from tests.fakes.control import Control
from tests.proxy import RunningProxy
from tests.wire.clients import read_chat
from tests.wire.test_nanobot_requests import REQUESTS
from tests.wire.test_nanobot_streams import CASES, STREAMS, Nanobot

# All that Go's http.DefaultClient sends besides Host and Content-Length.
HEADERS = {
    "User-Agent": "Go-http-client/1.1",
    "Authorization": "Bearer placeholder",
    "Content-Type": "application/json",
    "Accept-Encoding": "gzip",
}


@contextmanager
def asked(proxy: RunningProxy, path: str, body: Any) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    try:
        connection.request("POST", path, json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode(), HEADERS)
        yield connection.getresponse()
    finally:
        connection.close()


def whole(answer: http.client.HTTPResponse) -> bytes:
    """All of a stream, which nanobot reads to its end."""
    read = answer.read()
    assert answer.status == 200, read  # no other status is a success to nanobot
    return read


def refusal(answer: http.client.HTTPResponse) -> dict[str, Any]:
    """An error that nanobot shows to the user word for word, and keeps in the conversation."""
    body = json.loads(answer.read())
    assert body.keys() == {"error"} and body["error"].keys() == {"message", "type", "param", "code"}
    return dict(body["error"])


# What the fake's model says to each of the requests, if what matters of it has arrived.
SAID = {
    "plain_chat": "You said: M1 hello",
    "chat_second_turn": "You said: M2 again",
    "chat_with_tools_nonreasoning_model": "You said: T41 use echo",
    "chat_with_tools_reasoning_model": "You said: TH use echo",
    "tool_result_followup": "Tool said: echo: ping",
    "tool_result_followup_model_without_reasoning": "Tool said: echo: ping",
    "tool_result_image": "Tool said: completed",
    "parallel_tool_results": "Tool said: echo: B",
    "function_call_without_arguments": "Tool said: completed",
    "image_attachment": "You said: IMG what is this?",
    "pdf_attachment": "You said: PDF summarise",
    "structured_output": '{"said":"STR Ada is 36"}',
    "tuned_params": "You said: TUN hi",
    "mcp_sampling": "You said: sample this",
    "tool_choice_empty_object": "You said: PIN hi",
    "input_null": "You said: ",
    "compaction_summary": "You said: [compaction prompt, ~1.3 kB template]\n--- CONVERSATION TRANSCRIPT ---\n"
    "[user]: SM1 lorem ipsum ...\n--- END TRANSCRIPT ---\n",
    "after_compaction": "You said: SM1 lorem ipsum ",
    "title_generation": "You said: [title request, one sentence] map[prompt:M1 hello] [answer with the title only]",
    "title_generation_with_attachment": "You said: [title request, one sentence] map[attachments:[map[name:a.png "
    "url:data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==]] "
    "prompt:IMG what is this?] [answer with the title only]",
    "cli_call": "You said: hi there",
    "chat_completions_dialect": "You said: hello chat",
}


# The plan of the fake does not have the model of these two, and the rules that come with the proxy have no other name for it.
UNKNOWN_MODEL = [name for name, request in REQUESTS.items() if request["body"]["model"] == "gpt-5.1"]


def test_every_request_is_here() -> None:
    assert SAID.keys() == REQUESTS.keys() and len(UNKNOWN_MODEL) == 2


@pytest.mark.parametrize("name", [name for name in SAID if name != "chat_completions_dialect"])
def test_its_requests_are_answered_whole(name: str, proxy: RunningProxy) -> None:
    body = REQUESTS[name]["body"] | ({"model": "gpt-5.5"} if name in UNKNOWN_MODEL else {})
    with asked(proxy, REQUESTS[name]["path"], body) as answer:
        assert Nanobot().read(whole(answer)) == {"text": SAID[name], "live": True}


@pytest.mark.parametrize("name", UNKNOWN_MODEL)
def test_a_model_that_the_plan_does_not_have_is_said_so(name: str, proxy: RunningProxy) -> None:
    with asked(proxy, REQUESTS[name]["path"], REQUESTS[name]["body"]) as answer:
        assert answer.status == 400
        assert refusal(answer)["code"] == "model_not_found"


def test_the_older_dialect(proxy: RunningProxy) -> None:
    request = REQUESTS["chat_completions_dialect"]
    with asked(proxy, request["path"], request["body"]) as answer:
        chunks = [chunk + b"\n\n" for chunk in whole(answer).split(b"\n\n")[:-1]]
    told = read_chat(chunks, include_usage=True)
    assert told.message["content"] == SAID["chat_completions_dialect"] and told.usage


def steps(case: dict[str, Any]) -> list[dict[str, Any]]:
    script = [{"raw": event} if isinstance(event, str) else {"event": event} for event in case["upstream"]]
    return [*script, {"raw": ": still here\n\n", "delay": 60}] if case.get("kept_open") else script


# These fail before the first word, so that nanobot is told by a status instead of a stream.
EARLY = {"response_failed": 500, "json_instead_of_sse": 502}


@pytest.mark.parametrize("name", STREAMS)
def test_what_it_makes_of_a_stream(name: str, proxy: RunningProxy, control: Control) -> None:
    case = STREAMS[name]
    control.script(steps(case), times=9)  # as often as anybody may ask again
    plain = REQUESTS["plain_chat"]
    with asked(proxy, plain["path"], {**plain["body"], **case.get("echo", {})}) as answer:
        if name in EARLY:
            assert answer.status == EARLY[name]
            why = refusal(answer)
            got = {"error": f"responses API error: {why['code']} {why['message']}"}
        else:
            got = Nanobot().read(whole(answer))
    # There is progress to be seen even if upstream sent a terminal event only.
    assert got in (case["nanobot"], case["nanobot"] | {"live": True})


def test_an_upstream_that_keeps_the_connection_is_let_go(proxy: RunningProxy, control: Control) -> None:
    control.script(steps(CASES["completed_but_connection_kept_open"]))
    with asked(proxy, REQUESTS["plain_chat"]["path"], REQUESTS["plain_chat"]["body"]) as answer:
        whole(answer)
        assert wait_until_ended(control).ended == "client_left"


UPSTREAMS = {"message": "why", "type": "t", "param": None, "code": "c"}
# A 401 that a new token does not mend is no trouble of nanobot's key, so it gets neither that status nor those words.
STATUSES: dict[int, tuple[int, str]] = {401: (502, "upstream_auth_error"), 429: (429, "c"), 500: (500, "c"), 503: (503, "c")}


def test_every_status_is_here() -> None:
    assert [*STATUSES] == CASES["http_401_429_500_503"]["statuses"]


@pytest.mark.parametrize("status", STATUSES)
def test_a_refusal_is_a_status_and_its_reason(status: int, proxy: RunningProxy, control: Control) -> None:
    # A minute is longer than the proxy lets anybody wait within a request. A token is renewed without waiting.
    later = {} if status == 401 else {"retry-after": "60"}
    control.fault("responses", status=status, body={"error": UPSTREAMS}, headers=later, times=None)
    with asked(proxy, REQUESTS["plain_chat"]["path"], REQUESTS["plain_chat"]["body"]) as answer:
        why = refusal(answer)
    assert (answer.status, why["code"]) == STATUSES[status]
    assert (why == UPSTREAMS) == (status != 401)
