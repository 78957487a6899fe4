"""The fault drill as authors of clients meet it: in both dialects, streamed and not, with plain HTTP and openai-python."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai as sdk
import pytest

from tests.e2e.client import ask, error, events, post, said
from tests.e2e.conftest import options_for, write_account
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.proxy import RunningProxy, failing_start, running_proxy

TOKEN = "of-the-test"


@pytest.fixture(scope="module")
def shared_proxy(openai: FakeOpenAI, home: Path) -> Iterator[RunningProxy]:
    """mitmweb, which can be told at run time."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        web_port = str(probe.getsockname()[1])
    quiet = ("-p", "0", "--no-web-open-browser", "--web-port", web_port, "--set", f"web_password={TOKEN}")
    with running_proxy(home, options_for(openai, codex_keepalive="0.3"), program="mitmweb", arguments=quiet) as proxy:
        yield proxy


class Switch:
    """Sets `codex_fault` as mitmweb's page does."""

    def __init__(self, proxy: RunningProxy) -> None:
        proxy.wait_for_log("Web server listening at ")
        found = re.search(r"Web server listening at (http://[\d.:]+)", proxy.log())
        assert found
        # A browser's page shows with the header that it may read the cookie.
        headers = {"authorization": f"Bearer {TOKEN}", "x-xsrftoken": "same", "cookie": "_mitmproxy_xsrf=same"}
        self.http = httpx.Client(base_url=found[1], headers=headers, trust_env=False, timeout=30)

    def __call__(self, drill: str) -> httpx.Response:
        return self.http.put("/options", json={"codex_fault": drill})


@pytest.fixture(scope="module")
def switch(shared_proxy: RunningProxy) -> Switch:
    return Switch(shared_proxy)


@pytest.fixture
def drill(switch: Switch) -> Iterator[Callable[[str], None]]:
    def drill(text: str) -> None:
        assert switch(text).status_code == 200

    yield drill
    drill("")


DIALECTS = pytest.mark.parametrize("dialect", ["responses", "chat"])
SHAPES = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


def send(proxy: RunningProxy, dialect: str, stream: bool) -> httpx.Response:
    if dialect == "responses":
        return post(proxy.url, ask("say 40 words", stream=stream))
    body = {"model": "gpt-5.5", "stream": stream, "messages": [{"role": "user", "content": "say 40 words"}]}
    return httpx.post(f"{proxy.url}/chat/completions", json=body, trust_env=False, timeout=30)


def received(proxy: RunningProxy, dialect: str, stream: bool) -> tuple[httpx.Response, bytes, Exception | None]:
    """The head, what came of the body, and how the connection broke if it did."""
    body: Any = ask("say 40 words", stream=stream)
    path = "/responses"
    if dialect == "chat":
        body = {"model": "gpt-5.5", "stream": stream, "messages": [{"role": "user", "content": "say 40 words"}]}
        path = "/chat/completions"
    got, broke = b"", None
    with httpx.stream("POST", proxy.url + path, json=body, trust_env=False, timeout=30) as answer:
        try:
            for piece in answer.iter_raw():
                got += piece
        except httpx.HTTPError as e:
            broke = e
    return answer, got, broke


def ends_well(dialect: str, stream: bool, body: bytes) -> bool:
    """Whether a client must take it for complete."""
    if stream:
        return (b'"finish_reason":"stop"' if dialect == "chat" else b"response.completed") in body
    try:
        return "error" not in json.loads(body) or json.loads(body)["error"] is None
    except ValueError:
        return False


def asked_upstream(control: Control) -> int:
    return len(control.seen("backend", "responses"))


@DIALECTS
@SHAPES
def test_off_by_default_nothing_is_marked(dialect: str, stream: bool, proxy: RunningProxy) -> None:
    answer, got, broke = received(proxy, dialect, stream)
    assert answer.status_code == 200 and ends_well(dialect, stream, got) and not broke
    assert "x-codex-fault" not in answer.headers


REFUSED = {"401": "invalid_api_key", "429": "rate_limit_exceeded", "500": "server_error", "503": "server_is_overloaded"}


@pytest.mark.parametrize(("kind", "code"), REFUSED.items(), ids=REFUSED)
@SHAPES
def test_a_refusal_is_openais_and_never_goes_upstream(
    kind: str, code: str, stream: bool, drill: Callable[[str], None], proxy: RunningProxy, control: Control
) -> None:
    drill(f"{kind}@1,cut")
    answer = send(proxy, "responses", stream)
    assert (answer.status_code, error(answer)["code"]) == (int(kind), code)
    assert answer.headers["x-codex-fault"] == kind and "codex_fault" in error(answer)["message"]
    assert answer.headers.get("retry-after") == ("1" if kind == "429" else None)
    proxy.wait_for_log(f"fault drill: {kind} on POST /backend-api/codex/responses, request {answer.headers['x-request-id']}")
    assert asked_upstream(control) == 0


def test_the_first_refusal_that_is_written_counts(drill: Callable[[str], None], proxy: RunningProxy) -> None:
    drill("503,429,401")
    answer = send(proxy, "chat", True)
    assert (answer.status_code, answer.headers["x-codex-fault"]) == (503, "503")


def test_a_connection_is_dropped_without_an_answer(drill: Callable[[str], None], proxy: RunningProxy, control: Control) -> None:
    drill("drop")
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        send(proxy, "responses", True)
    proxy.wait_for_log("fault drill: drop on POST /backend-api/codex/responses, request ")
    assert asked_upstream(control) == 0
    drill("")
    assert said(post(proxy.url)) == "You said: hello there"


def test_a_fault_that_hardly_ever_comes_did_not_come(drill: Callable[[str], None], proxy: RunningProxy) -> None:
    drill("429@0.000001,cut@1b@0.000001")
    answer = post(proxy.url)
    assert said(answer) == "You said: hello there" and "x-codex-fault" not in answer.headers


@DIALECTS
@SHAPES
@pytest.mark.parametrize("at", [1, 700])
def test_a_connection_is_cut_at_the_byte(
    at: int, dialect: str, stream: bool, drill: Callable[[str], None], proxy: RunningProxy, control: Control
) -> None:
    drill(f"cut@{at}b")
    answer, got, broke = received(proxy, dialect, stream)
    if dialect == "chat" and not stream and at == 700 and not broke:
        pytest.fail(f"the answer has only {len(got)} bytes, which is less than is asked for here")
    assert isinstance(broke, httpx.RemoteProtocolError) and len(got) == at
    assert (answer.status_code, answer.headers["x-codex-fault"]) == (200, f"cut@{at}b")
    assert asked_upstream(control) == 1, "and the proxy does not try again"


@DIALECTS
@SHAPES
def test_a_body_ends_in_good_form_before_the_answer_does(
    dialect: str, stream: bool, drill: Callable[[str], None], proxy: RunningProxy, control: Control
) -> None:
    drill("end@300b")
    answer, got, broke = received(proxy, dialect, stream)
    assert broke is None and len(got) == 300 and not ends_well(dialect, stream, got)
    assert answer.headers["x-codex-fault"] == "end@300b" and asked_upstream(control) == 1


def test_an_answer_that_is_too_short_to_be_cut_is_whole(drill: Callable[[str], None], proxy: RunningProxy) -> None:
    drill("cut@999999b")
    answer = post(proxy.url)
    assert said(answer) == "You said: hello there" and answer.headers["x-codex-fault"] == "cut@999999b"
    assert f"cut@999999b on POST /backend-api/codex/responses, request {answer.headers['x-request-id']}" not in proxy.log()


def pieces_of(body: bytes) -> list[bytes]:
    return [event for event in body.split(b"\n\n") if event]


def events_of(body: bytes) -> list[bytes]:
    return [event for event in pieces_of(body) if not event.startswith(b":")]


@DIALECTS
def test_a_malformed_event_stands_in_a_stream_that_goes_on(dialect: str, drill: Callable[[str], None], proxy: RunningProxy) -> None:
    drill("garbage")
    answer, got, broke = received(proxy, dialect, True)
    found = [event.rpartition(b"data: ")[2] for event in events_of(got)]
    assert b'{"garbage' in found and found.index(b'{"garbage') > 0
    assert broke is None and ends_well(dialect, True, got), "the rest of the answer is there"
    with pytest.raises(ValueError):
        json.loads(found[found.index(b'{"garbage')])


@DIALECTS
def test_a_whole_answer_with_garbage_is_no_json(dialect: str, drill: Callable[[str], None], proxy: RunningProxy) -> None:
    drill("garbage")
    answer, got, broke = received(proxy, dialect, False)
    assert answer.status_code == 200 and broke is None and int(answer.headers["content-length"]) == len(got)
    with pytest.raises(ValueError):
        json.loads(got)


@DIALECTS
def test_a_stream_fails_with_the_error_of_its_dialect(
    dialect: str, drill: Callable[[str], None], proxy: RunningProxy, control: Control
) -> None:
    drill("failed")
    answer, got, broke = received(proxy, dialect, True)
    assert answer.status_code == 200 and broke is None
    if dialect == "chat":
        assert events(got)[-1]["error"]["code"] == "server_error"
    else:
        assert [event["type"] for event in events(got)][-2:] == ["error", "response.failed"]
        assert events(got)[0]["type"] == "response.created"
    assert b"codex_fault" in got and b"response.completed" not in got and asked_upstream(control) == 1


@DIALECTS
def test_a_whole_answer_that_fails_is_a_500_that_nobody_retries(
    dialect: str, drill: Callable[[str], None], proxy: RunningProxy, control: Control
) -> None:
    drill("failed")
    answer = send(proxy, dialect, False)
    assert (answer.status_code, error(answer)["code"], answer.headers["x-codex-fault"]) == (500, "server_error", "failed")
    assert asked_upstream(control) == 1


@DIALECTS
def test_keep_alives_go_on_in_a_silence_and_the_answer_is_whole(
    dialect: str, drill: Callable[[str], None], proxy: RunningProxy
) -> None:
    drill("silence@1.5s")
    answer, got, broke = received(proxy, dialect, True)
    assert broke is None and ends_well(dialect, True, got) and answer.headers["x-codex-fault"] == "silence@1.5s"
    alive = [n for n, event in enumerate(pieces_of(got)) if event.startswith(b": keepalive")]
    assert len(alive) >= 2 and alive[0] > 0, "behind the first event"
    assert alive[-1] < len(pieces_of(got)) - 1, "and before the last"


def test_a_silence_can_end_in_a_failure(drill: Callable[[str], None], proxy: RunningProxy) -> None:
    drill("silence@1s,failed")
    _, got, _ = received(proxy, "responses", True)
    kinds = [re.sub(rb"(?s)(event: )?([\w.: ]+).*", rb"\2", event) for event in pieces_of(got)]
    assert list(dict.fromkeys(kinds)) == [b"response.created", b": keepalive", b"error", b"response.failed", b"data: "]


CLI = {"originator": "codex_exec", "accept": "text/event-stream"}


@DIALECTS
def test_an_answer_that_comes_in_one_packet_has_a_middle_too(
    dialect: str, drill: Callable[[str], None], proxy: RunningProxy, control: Control
) -> None:
    control.script([{"raw": post(proxy.url, ask("say 40 words"), headers=CLI).text}])
    drill("silence@1s")
    _, got, broke = received(proxy, dialect, True)
    alive = [n for n, event in enumerate(pieces_of(got)) if event.startswith(b": keepalive")]
    assert len(alive) >= 2 and alive[-1] < len(pieces_of(got)) - 1
    assert broke is None and ends_well(dialect, True, got)


def test_a_codex_cli_is_kept_alive_with_events(drill: Callable[[str], None], proxy: RunningProxy) -> None:
    """It gets the backend's own events, which nobody translates."""
    drill("silence@1s")
    answer = post(proxy.url, ask("say 40 words"), headers=CLI)
    kinds = [event["type"] for event in events(answer.content)]
    assert kinds.count("response.in_progress") >= 3 and kinds[-1] == "response.completed"
    assert answer.headers["x-codex-fault"] == "silence@1s"


@pytest.mark.parametrize("fault", ["slow@20000b/s", "delay@0.3s", "silence@0.2s"])
@SHAPES
def test_what_only_takes_time_loses_nothing(
    fault: str, stream: bool, drill: Callable[[str], None], proxy: RunningProxy, control: Control
) -> None:
    drill(fault)
    answer = send(proxy, "responses", stream)
    assert answer.headers["x-codex-fault"] == fault
    text = said(answer) if stream else answer.json()["output"][-1]["content"][0]["text"]
    assert len(text.split()) == 40 and asked_upstream(control) == 1
    proxy.wait_for_log(f"fault drill: {fault} on POST ")


def test_faults_come_together(drill: Callable[[str], None], proxy: RunningProxy) -> None:
    drill("delay@0.1s,garbage,cut@900b")
    answer, got, broke = received(proxy, "responses", True)
    assert answer.headers["x-codex-fault"] == "delay@0.1s, garbage, cut@900b"
    assert broke and b'{"garbage' in got


def test_what_upstream_refuses_comes_as_it_is(drill: Callable[[str], None], proxy: RunningProxy, control: Control) -> None:
    drill("cut@1b,failed,garbage")
    control.fault("responses", status=400, body={"detail": "Store must be set to false"})
    answer = post(proxy.url)
    assert answer.status_code == 400 and "Store" in error(answer)["message"]
    assert "x-codex-fault" not in answer.headers


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_what_fails_before_the_first_word_is_upstreams(
    stream: bool, drill: Callable[[str], None], proxy: RunningProxy, control: Control
) -> None:
    drill("cut@1b")
    control.fault("responses", clean_eof_after_events=1, times=None)
    answer = post(proxy.url, ask(stream=stream), headers={"x-stainless-retry-count": "1"})
    assert (answer.status_code, error(answer)["code"]) == (502, "upstream_stream_incomplete")
    assert "x-codex-fault" not in answer.headers


def test_what_the_proxy_answers_by_itself_has_no_part(drill: Callable[[str], None], proxy: RunningProxy) -> None:
    drill("500,cut@1b")
    for path in ("/v1/models", "/codex/usage"):
        answer = httpx.get(proxy.origin + path, trust_env=False)
        assert answer.status_code == 200 and answer.json() and "x-codex-fault" not in answer.headers


@pytest.mark.parametrize("fault", ["429", "drop", "cut@1b", "end@1b", "failed", "garbage"])
@SHAPES
def test_no_account_pays_for_it(
    fault: str, stream: bool, drill: Callable[[str], None], proxy: RunningProxy, control: Control, account: Path
) -> None:
    write_account(account, control.login("nobody@knows.example"))
    drill(fault)
    for _ in range(3):
        try:
            received(proxy, "responses", stream)
        except httpx.RemoteProtocolError:
            assert fault == "drop"
    assert asked_upstream(control) == (0 if fault in ("429", "drop") else 3)
    drill("")
    (standing,) = httpx.get(f"{proxy.origin}/codex/usage", trust_env=False).json()["accounts"]
    assert standing["in_flight"] == 0 and standing["state"] == "serving" and standing["reason"] is None, standing
    assert said(post(proxy.url)) == "You said: hello there"


@pytest.mark.parametrize("fault", ["cut@20b", "end@20b", "garbage", "failed", "silence@0.1s"])
@SHAPES
def test_the_platforms_own_answers_are_spoiled_too(
    fault: str, stream: bool, drill: Callable[[str], None], proxy: RunningProxy, control: Control, account: Path
) -> None:
    """Nothing is translated there, and what is no stream comes with a length."""
    write_account(account, {"auth_mode": "apikey", "OPENAI_API_KEY": control.api_key()})
    drill(fault)
    answer, got, broke = received(proxy, "chat", stream)
    assert answer.status_code == 200 and answer.headers["x-codex-fault"] == fault
    assert control.seen("platform")[-1].header("accept-encoding") == "identity", "what is compressed has no bytes to count"
    assert "forced header accept-encoding" in answer.headers["x-codex-edits"]
    if fault in ("cut@20b", "end@20b"):
        assert len(got) == 20 and bool(broke) == (fault == "cut@20b")
    elif fault == "failed":
        assert b"codex_fault" in got if stream else broke, "where a stream has no words for it the connection breaks off"
    else:
        assert not broke and (b'{"garbage' in got) == (fault == "garbage")
        assert ends_well("chat", stream, got) == (stream or fault != "garbage")


class TestWithOpenAIPython:
    @pytest.fixture
    def client(self, proxy: RunningProxy) -> Iterator[sdk.OpenAI]:
        with sdk.OpenAI(base_url=proxy.url, api_key="x", max_retries=0) as client:
            yield client

    def complete(self, client: sdk.OpenAI, stream: bool) -> list[Any]:
        """What a program sees: the choices' pieces, or the one answer."""
        question: Any = [{"role": "user", "content": "say 40 words"}]
        if stream:
            return list(client.chat.completions.create(model="gpt-5.5", messages=question, stream=True))
        return [client.chat.completions.create(model="gpt-5.5", messages=question)]

    RAISED: dict[str, tuple[type[Exception], type[Exception]]] = {
        "401": (sdk.AuthenticationError, sdk.AuthenticationError),
        "429": (sdk.RateLimitError, sdk.RateLimitError),
        "500": (sdk.InternalServerError, sdk.InternalServerError),
        "503": (sdk.InternalServerError, sdk.InternalServerError),
        "drop": (sdk.APIConnectionError, sdk.APIConnectionError),
        "cut@300b": (sdk.APIConnectionError, sdk.APIConnectionError),
        "failed": (sdk.APIError, sdk.InternalServerError),
        "garbage": (json.JSONDecodeError, json.JSONDecodeError),
    }

    @pytest.mark.parametrize("fault", RAISED)
    @SHAPES
    def test_a_fault_is_an_exception(self, fault: str, stream: bool, drill: Callable[[str], None], client: sdk.OpenAI) -> None:
        drill(fault)
        with pytest.raises(self.RAISED[fault][0 if stream else 1]):
            self.complete(client, stream)

    def test_an_end_in_good_form_is_what_the_program_has_to_notice(self, drill: Callable[[str], None], client: sdk.OpenAI) -> None:
        drill("end@900b")
        chunks = self.complete(client, True)  # half an event at the end is passed over
        assert chunks and all(choice.finish_reason is None for chunk in chunks for choice in chunk.choices)

    def test_a_silence_is_none_to_the_program(self, drill: Callable[[str], None], client: sdk.OpenAI) -> None:
        drill("silence@1s")
        chunks = self.complete(client.with_options(timeout=0.8), True)
        assert chunks[-1].choices[0].finish_reason == "stop", "the keep-alives are younger than the client's timeout"

    def test_its_own_retries_come_to_an_end_when_the_drill_does(
        self, drill: Callable[[str], None], client: sdk.OpenAI, proxy: RunningProxy
    ) -> None:
        drill("429")
        before = proxy.log().count("fault drill: 429 on")
        with pytest.raises(sdk.RateLimitError):
            client.with_options(max_retries=1).chat.completions.create(
                model="gpt-5.5", messages=[{"role": "user", "content": "hi"}]
            )
        assert proxy.log().count("fault drill: 429 on") - before == 2

    def test_responses_say_that_they_failed(self, drill: Callable[[str], None], client: sdk.OpenAI) -> None:
        drill("failed")
        with pytest.raises(sdk.APIError, match="codex_fault"):
            for _ in client.responses.create(model="gpt-5.5", input="hello", stream=True):
                pass


def test_it_is_turned_on_and_off_while_the_proxy_runs(switch: Switch, proxy: RunningProxy) -> None:
    assert switch("503@1").status_code == 200
    assert post(proxy.url).status_code == 503
    proxy.wait_for_log("the fault drill is on: 503; answers fail on purpose")
    refused = switch("503,cutt@5b")
    assert refused.status_code == 400 and "codex_fault: 'cutt' is no fault, did you mean cut?" in refused.text
    assert post(proxy.url).status_code == 503, "what was set holds"
    assert switch("").status_code == 200
    assert said(post(proxy.url)) == "You said: hello there"
    proxy.wait_for_log("the fault drill is off")


def test_it_can_be_on_from_the_start(openai: FakeOpenAI, control: Control, tmp_path: Path) -> None:
    write_account(tmp_path / ".codex-mitm/accounts/default/auth.json", control.login())
    with running_proxy(tmp_path, options_for(openai, codex_fault="429")) as proxy:
        proxy.wait_for_log("the fault drill is on: 429; answers fail on purpose")
        assert post(proxy.url).status_code == 429


def test_a_drill_that_is_none_is_no_start(openai: FakeOpenAI, tmp_path: Path) -> None:
    log = failing_start(tmp_path, options_for(openai, codex_fault="silense@30s"))
    assert "codex_fault: 'silense' is no fault, did you mean silence?" in log


def test_nothing_crashed_on_the_way(shared_proxy: RunningProxy) -> None:
    log = shared_proxy.log()
    assert "fault drill: " in log and "crashed" not in log and "Traceback" not in log
