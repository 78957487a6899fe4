"""What the real proxy writes into the traffic database about each kind of call, and that no secret is in it."""

import json
import re
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from addons.traffic import queries, strangers
from addons.traffic.errors import NotRecorded, TrafficError
from addons.traffic.exchange import Exchange
from addons.traffic.recorded import load
from addons.traffic.schema import open_to_read
from addons.traffic.strangers import RECORDED
from addons.traffic.writer import OVERRUN
from tests.addons.traffic.program import Program
from tests.e2e.client import ask, error, post, said
from tests.e2e.conftest import options_for, write_account
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.fakes.websocket import BETA
from tests.fakes_test.bodies import plain
from tests.proxy import RunningProxy, running_proxy
from tests.wsclient import websocket

ALICE, BOB = "alice@example.com", "bob@example.com"
# It looks like one, so that the redaction has something to do as well.
KEY = "sk-" + "CANARY0client0key0of0this0test1234"
CREATED = {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}
DELTA = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "item_id": "msg_1", "delta": "Hel"}
FAILED = {"type": "response.failed", "response": {"status": "failed", "error": {"code": "server_is_overloaded", "message": "busy"}}}
USED_UP = {"error": {"type": "usage_limit_reached", "message": "The usage limit has been reached", "resets_in_seconds": 9000}}


RULES = "aliases: {gpt-4.1-nano: '@smallest'}\n"


@pytest.fixture(scope="module")
def policy(home: Path) -> Path:
    """The rules of the proxy, which a test may change: it reads them again."""
    path = home / "policy.yaml"
    path.write_text(RULES)
    return path


@pytest.fixture(scope="module")
def recording(openai: FakeOpenAI, home: Path, policy: Path) -> Iterator[RunningProxy]:
    options = options_for(openai, codex_traffic_bodies="true", codex_websocket="relay", codex_policy=str(policy))
    with running_proxy(home, options) as proxy:
        yield proxy


@pytest.fixture
def proxy(recording: RunningProxy, control: Control, account: Path) -> RunningProxy:
    write_account(account, control.login())
    return recording


@pytest.fixture
def program(home: Path) -> Program:
    return Program(home)


def database(home: Path) -> Path:
    return home / ".codex-mitm/traffic.db"


def until[T](find: Callable[[], T]) -> T:
    """What is found, as soon as it is there: the recorder is a thread of its own."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return find()
        except (TrafficError, IndexError):
            assert time.monotonic() < deadline, "it was not recorded"
            time.sleep(0.02)


def recorded(home: Path, answer: httpx.Response) -> Exchange:
    def find() -> Exchange:
        with closing(open_to_read(database(home))) as db:
            return load(db, answer.headers["x-request-id"])

    return until(find)


def latest(home: Path, but: str = "") -> Exchange:
    """The last call that was recorded; of a client that saw no id. Not the one with that id."""

    def find() -> Exchange:
        with closing(open_to_read(database(home))) as db:
            found = queries.latest(db, 1)[0]
            if found.id == but:
                raise NotRecorded(but)
            return load(db, found.id)

    return until(find)


def last_id(home: Path) -> str:
    with closing(open_to_read(database(home))) as db:
        return next(iter(queries.latest(db, 1))).id


def chat(proxy: RunningProxy, **changes: Any) -> httpx.Response:
    body = {"model": "gpt-4.1-nano", "temperature": 0.3, "messages": [{"role": "user", "content": "Say hello."}]} | changes
    headers = {"authorization": f"Bearer {KEY}", "user-agent": "pytest/1"}
    return httpx.post(f"{proxy.url}/chat/completions", json=body, headers=headers, timeout=30, trust_env=False)


def test_a_chat_that_streams(proxy: RunningProxy, home: Path, control: Control) -> None:
    control.settings(delta_delay=0.02)
    answer = chat(proxy, stream=True)
    call = recorded(home, answer)
    assert (call.outcome, call.status, call.error) == ("complete", 200, None)
    assert (call.method, call.endpoint, call.dialect, call.stream) == ("POST", "/v1/chat/completions", "chat", True)
    assert (call.client.agent, call.client.address) == ("pytest/1", "127.0.0.1")
    assert (call.model_asked, call.model_used) == ("gpt-4.1-nano", answer.headers["x-codex-model"])
    assert (call.account, call.account_why, call.upstream) == ("default", "the only account", "codex")
    assert {"mapped model", "dropped temperature"} <= set(map(str, call.edits)) and all(edit.why for edit in call.edits)
    assert [(attempt.account, attempt.status, attempt.outcome) for attempt in call.attempts] == [("default", 200, "answered")]
    assert call.tokens and call.tokens.input_tokens > 0 and call.tokens.output_tokens > 0
    assert {window.minutes for window in call.quota} == {300, 10080}
    assert call.first_byte and call.first_token and call.longest_gap
    assert 0 < call.first_byte <= call.first_token < call.ended and call.longest_gap < call.ended
    assert call.events["response.output_text.delta"] == 4 and call.events["codex.rate_limits"] == 2 and call.unknown == frozenset()
    assert call.upstream_headers.get("x-codex-plan-type") and call.answer_headers.get("x-request-id") == call.id


def test_its_bodies_on_both_sides(proxy: RunningProxy, home: Path, control: Control) -> None:
    control.settings(delta_delay=0.02)
    answer = chat(proxy, stream=True)
    bodies = recorded(home, answer).bodies
    assert bodies.client_request and bodies.upstream_request and bodies.upstream_events and bodies.client_answer
    assert json.loads(bodies.client_request.data)["temperature"] == 0.3
    assert json.loads(bodies.upstream_request.data) == control.seen("backend", "responses")[-1].json
    assert bodies.client_answer.data == answer.content
    assert b"response.output_text.delta" in bodies.upstream_events.data
    moments = [chunk.at for chunk in bodies.upstream_events.chunks]
    assert len(moments) > 3 and moments == sorted(moments) and moments[0] < moments[-1]


def test_a_response_that_is_whole(proxy: RunningProxy, home: Path) -> None:
    answer = post(proxy.url, ask(stream=False))
    call = recorded(home, answer)
    assert (call.outcome, call.status, call.dialect, call.stream) == ("complete", 200, "responses", False)
    assert call.bodies.client_answer and call.bodies.client_answer.data == answer.content
    assert call.tokens and call.tokens.output_tokens == answer.json()["usage"]["output_tokens"]


def test_what_a_codex_cli_says_which_is_not_translated(proxy: RunningProxy, home: Path) -> None:
    answer = post(proxy.url, ask(), headers={"originator": "codex_exec", "user-agent": "codex_exec/0.169"})
    assert said(answer) == "You said: hello there"
    call = recorded(home, answer)
    assert (call.outcome, call.dialect, call.stream, call.model_asked) == ("complete", "codex", True, "gpt-5.5")
    assert call.tokens and call.tokens.output_tokens > 0 and call.events["response.completed"] == 1 and call.first_token
    assert call.bodies.client_answer and call.bodies.client_answer.data == answer.content


def test_an_answer_cut_off_by_max_tokens_is_no_failure(proxy: RunningProxy, home: Path) -> None:
    call = recorded(home, chat(proxy, stream=True, max_tokens=2))
    assert (call.outcome, call.status, call.failed) == ("incomplete", 200, False)
    assert call.tokens and call.tokens.estimated


REFUSALS: dict[str, tuple[dict[str, Any], int, str]] = {
    "upstream": ({}, 400, "failed"),
    "the proxy": ({"n": 3}, 400, "refused"),
}


@pytest.mark.parametrize(("body", "status", "outcome"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_by(body: dict[str, Any], status: int, outcome: str, proxy: RunningProxy, home: Path, control: Control) -> None:
    control.fault("responses", {"status": 400, "body": {"detail": "Instructions are not valid"}})
    answer = chat(proxy, **body)
    control.clear_faults()
    call = recorded(home, answer)
    assert (call.outcome, call.status, answer.status_code) == (outcome, status, status)
    assert call.error and call.error.message == answer.json()["error"]["message"]
    assert call.model_asked == "gpt-4.1-nano"
    assert bool(call.attempts) == (outcome == "failed")
    if outcome == "failed":
        assert call.bodies.upstream_events and call.bodies.upstream_events.data == b'{"detail":"Instructions are not valid"}'
    assert call.bodies.client_answer and call.bodies.client_answer.data == answer.content


@pytest.mark.parametrize(
    ("stream", "cli"), [(True, False), (False, False), (True, True)], ids=["streamed", "whole", "not translated"]
)
def test_an_answer_that_fails_in_the_middle(stream: bool, cli: bool, proxy: RunningProxy, home: Path, control: Control) -> None:
    control.script([{"event": CREATED}, {"event": DELTA}, {"event": FAILED}], times=4)
    answer = post(proxy.url, ask(stream=stream), headers={"originator": "codex_exec"} if cli else {})
    call = recorded(home, answer)
    assert call.outcome == "failed" and call.status == answer.status_code
    assert call.error and (call.error.code, call.error.message) == ("server_is_overloaded", "busy")


@pytest.mark.parametrize("cli", [True, False], ids=["codex cli", "translated"])
def test_an_answer_that_breaks_off_is_cut(cli: bool, proxy: RunningProxy, home: Path, control: Control) -> None:
    control.script([{"event": CREATED}, {"event": DELTA}], times=4)
    call = recorded(home, post(proxy.url, ask(), headers={"originator": "codex_exec"} if cli else {}))
    assert (call.outcome, call.status) == ("cut", 200)
    assert call.error and call.error.code == "upstream_stream_incomplete"


def test_local_answers_are_not_calls(proxy: RunningProxy, home: Path) -> None:
    httpx.get(f"{proxy.url}/models", trust_env=False)
    assert httpx.get(f"{proxy.origin}/codex/usage", trust_env=False).headers["x-request-id"]
    call = recorded(home, chat(proxy))
    with closing(open_to_read(database(home))) as db:
        assert {told.id for told in queries.latest(db, 2)} >= {call.id}
        assert db.execute("SELECT count(*) FROM stories WHERE story LIKE '%/models%' OR story LIKE '%/usage\"%'").fetchone()[0] == 0


def test_a_client_that_leaves(proxy: RunningProxy, home: Path, control: Control) -> None:
    control.settings(delta_delay=0.2)
    before = recorded(home, post(proxy.url)).id
    with httpx.stream("POST", f"{proxy.url}/responses", json=ask("one two three four five"), trust_env=False) as answer:
        next(answer.iter_raw())
    call = latest(home, but=before)
    assert (call.outcome, call.status, call.error) == ("client_left", 200, None)
    assert call.id == answer.headers["x-request-id"] and call.first_byte


def test_a_client_that_leaves_before_there_is_an_answer(proxy: RunningProxy, home: Path, control: Control) -> None:
    before = recorded(home, post(proxy.url)).id
    control.fault("responses", {"delay": 3})
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{proxy.url}/responses", json=ask(), timeout=0.5, trust_env=False)
    call = latest(home, but=before)
    assert (call.outcome, call.status, call.first_byte, call.model_asked) == ("client_left", None, None, "gpt-5.5")


def test_a_websocket_that_is_relayed(proxy: RunningProxy, home: Path) -> None:
    before = recorded(home, post(proxy.url)).id
    handshake = {"originator": "codex_exec", "openai-beta": BETA, "authorization": f"Bearer {KEY}"}
    with websocket(f"{proxy.url}/responses", handshake) as talk:
        answers = [talk.answer({"type": "response.create", **plain(text)})[-1] for text in ("first", "second")]
    call = latest(home, but=before)
    assert (call.method, call.status, call.outcome, call.dialect) == ("GET", 101, "complete", "codex")
    assert call.events["response.completed"] == 2 and call.tokens
    assert call.tokens.output_tokens == sum(answer["response"]["usage"]["output_tokens"] for answer in answers)
    assert call.bodies.client_request and b'"text": "second"' in call.bodies.client_request.data
    assert call.bodies.upstream_events and b"You said" in call.bodies.upstream_events.data


@pytest.mark.slow
def test_a_retry_over_two_accounts(openai: FakeOpenAI, control: Control, tmp_path: Path) -> None:
    for name, email in (("alice", ALICE), ("bob", BOB)):
        write_account(tmp_path / ".codex-mitm/accounts" / name / "auth.json", control.login(email))
    control.fault("responses", {"status": 429, "body": USED_UP}, times=None, email=ALICE)
    with running_proxy(tmp_path, options_for(openai)) as proxy:
        calls = [recorded(tmp_path, post(proxy.url, ask(f"question {number}"))) for number in range(4)]
    tried = next(call for call in calls if len(call.attempts) == 2)
    first, second = tried.attempts
    assert (first.account, first.status) == ("alice", 429) and "on to account bob" in first.outcome
    assert (second.account, second.status, second.outcome) == ("bob", 200, "answered")
    assert 0 <= first.started < second.started < tried.ended
    assert (tried.outcome, tried.account, tried.error) == ("complete", "bob", None)
    assert tried.bodies.client_request is None, "bodies are not recorded unless they are asked for"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_the_proxy(how: signal.Signals, openai: FakeOpenAI, control: Control, tmp_path: Path) -> None:
    """What is under way at the end is recorded too; a process that is killed keeps what was there a second before."""
    account = write_account(tmp_path / "store/auth.json", control.login())
    with running_proxy(tmp_path, options_for(openai, codex_accounts=str(account))) as proxy:
        finished = recorded(tmp_path, post(proxy.url))
        control.fault("responses", {"delay": 20}, times=None)

        def ask_in_vain() -> None:
            with suppress(httpx.HTTPError):
                assert post(proxy.url).status_code == 503

        client = threading.Thread(target=ask_in_vain, daemon=True)
        client.start()
        deadline = time.monotonic() + 10
        while len(control.seen("backend", "responses")) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        proxy.stop(how)
        client.join(10)
    assert finished.outcome == "complete"
    if how is signal.SIGKILL:
        assert last_id(tmp_path) == finished.id
    else:
        ended = latest(tmp_path, but=finished.id)
        assert ended.outcome == "failed" and ended.error and ended.error.code == "proxy_stopped"


@pytest.mark.slow
def test_what_passes_in_forward_mode(openai: FakeOpenAI, control: Control, tmp_path: Path) -> None:
    """A Codex CLI on its own account: what it says is recorded, and not what it is signed in with."""
    tokens = control.login()["tokens"]
    secrets = [tokens["access_token"], tokens["account_id"]]
    headers = {"authorization": f"Bearer {secrets[0]}", "chatgpt-account-id": secrets[1], "originator": "codex_exec"}
    # The hosts of the fake are one, and that of the sign-in service is not to be recorded.
    options = options_for(openai, codex_mode="forward", codex_traffic_bodies="true", codex_issuer_url="http://localhost:1")
    with running_proxy(tmp_path, options) as proxy, httpx.Client(proxy=proxy.origin, trust_env=False, timeout=30) as client:
        answer = client.post(f"{openai.backend_url}/responses", json=ask("hello there"), headers=headers)
        assert said(answer) == "You said: hello there"
        call = latest(tmp_path)
    assert (call.outcome, call.status, call.dialect, call.account, call.edits) == ("complete", 200, "codex", "", ())
    assert call.upstream == "127.0.0.1" and call.tokens and call.first_token and call.events["response.completed"] == 1
    assert call.bodies.client_request and json.loads(call.bodies.client_request.data) == ask("hello there")
    assert call.bodies.client_answer and call.bodies.client_answer.data == answer.content
    written = b"".join(file.read_bytes() for file in tmp_path.glob(".codex-mitm/traffic.db*"))
    assert written and not any(secret.encode() in written for secret in secrets)


@pytest.mark.slow
def test_nothing_is_recorded_if_nobody_wants_it(openai: FakeOpenAI, control: Control, tmp_path: Path) -> None:
    account = write_account(tmp_path / "store/auth.json", control.login())
    with running_proxy(tmp_path, options_for(openai, codex_accounts=str(account), codex_traffic="")) as proxy:
        assert post(proxy.url).headers["x-request-id"]
    assert list(tmp_path.rglob("traffic.db*")) == []


def test_no_secret_is_in_the_database_or_in_what_a_command_says(
    proxy: RunningProxy, home: Path, control: Control, program: Program
) -> None:
    control.fault("responses", {"status": 401, "body": {"detail": "Unauthorized"}})
    answers = [chat(proxy), chat(proxy, stream=True), post(proxy.url, ask(f"my key is {KEY}"), headers={"x-api-key": KEY})]
    tokens = control.tokens()
    control.script([{"event": CREATED}, {"event": DELTA | {"delta": tokens[0]}}], times=4)
    answers.append(post(proxy.url))
    for answer in answers:
        recorded(home, answer)
    files = {file.name: file.read_bytes() for file in home.glob(".codex-mitm/traffic.db*")}
    said_by_commands = "".join(
        program.show(*command, answer.headers["x-request-id"], *more)
        for answer in answers
        for command, more in ((["explain"], []), (["show"], []), (["show"], ["--events"]), (["export"], ["--har"]))
    )
    said_by_commands += program.show("tail", "--no-follow") + program.show("drift", "--all") + program.show("usage")
    assert "[redacted" in said_by_commands, "what is searched must have had something in it"
    assert len(tokens) > 2
    for secret in (*tokens, KEY):
        assert secret not in said_by_commands and not any(secret.encode() in content for content in files.values())
    assert program.run("verify").code == 0


def test_what_the_policy_wants_out_is_in_no_record_from_then_on(
    proxy: RunningProxy, home: Path, control: Control, policy: Path
) -> None:
    control.settings(delta_delay=0.01)
    policy.write_text(RULES + r"redact_patterns: ['(?i)project sesame-\d+']")
    try:
        question = "what is Project Sesame-42 about"
        answers = [
            chat(proxy, stream=True, messages=[{"role": "user", "content": question}], user="project sesame-7"),
            post(proxy.url, ask(question, n=2), headers={"user-agent": "Project Sesame-8"}),
        ]
        assert b'"content":" Sesame-42"' in answers[0].content
        calls = [recorded(home, answer) for answer in answers]
    finally:
        policy.write_text(RULES)
    told = "".join(repr(call) for call in calls).lower()
    assert told.count("[redacted by your pattern]") >= 6
    assert "sesame" not in told
    # Upstream says it word by word, and each event is recorded.
    bodies = [body.data for call in calls for body in call.bodies if body]
    assert len(bodies) >= 6 and not any(b"esame" in data for data in bodies)
    after = recorded(home, chat(proxy, messages=[{"role": "user", "content": question}]))
    assert after.bodies.client_request and b"Sesame-42" in after.bodies.client_request.data


def test_of_strangers_the_first_are_recorded_and_the_others_counted(proxy: RunningProxy, home: Path, program: Program) -> None:
    with httpx.Client(trust_env=False, headers={"host": "somebody-else.example"}) as client:
        answers = [client.post(f"{proxy.url}/responses", json=ask()) for _ in range(RECORDED + 9)]
    assert {error(answer)["code"] for answer in answers} == {"host_not_allowed"}
    assert recorded(home, post(proxy.url)).outcome == "complete"
    with closing(open_to_read(database(home))) as db:
        refused = [call for call in queries.latest(db, 200) if call.status == 421]
        gaps = [(gap.calls, gap.why) for gap in queries.gaps(db, 0)]
    assert (len(refused), gaps) == (RECORDED, [(9, strangers.WHY)])
    assert "9 calls were not recorded" in program.show("usage")


@pytest.mark.slow
def test_a_disk_that_stands_still_holds_up_no_call(proxy: RunningProxy, home: Path, control: Control, program: Program) -> None:
    """Writes wait, and the queue fills with bodies until there is no room. The clients notice nothing; what was lost is told."""
    recorded(home, post(proxy.url))
    large = "x" * (5 << 20)  # recorded twice: what the client sent, and what was sent for it
    with closing(sqlite3.connect(database(home), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        control.fault("responses", {"status": 400, "body": {"detail": "too long"}}, times=None)
        answers = [post(proxy.url, ask(large)) for _ in range(9)]
        control.clear_faults()
        assert {answer.status_code for answer in answers} == {400}
        assert said(post(proxy.url)) == "You said: hello there"
        proxy.wait_for_log("calls cannot be recorded in")
        other.execute("ROLLBACK")
    recorded(home, answers[0])
    recorded(home, post(proxy.url))
    with closing(open_to_read(database(home))) as db:
        lost = [gap.calls for gap in queries.gaps(db, 0) if gap.why in (OVERRUN, "another program held the database")]
        kept = {call.id for call in queries.latest(db, 20)}
    assert sum(lost) == sum(answer.headers["x-request-id"] not in kept for answer in answers) > 0
    assert re.search(r"\d calls? (was|were) not recorded", program.show("tail", "--no-follow"))


def test_a_database_that_is_none_does_not_keep_the_proxy_from_serving(openai: FakeOpenAI, control: Control, tmp_path: Path) -> None:
    """mitmproxy ends by itself when an error is logged while it starts."""
    (tmp_path / "notes.txt").write_text("this is no database" * 100)
    write_account(tmp_path / "auth.json", control.login())
    options = options_for(openai, codex_accounts=str(tmp_path / "auth.json"), codex_traffic=str(tmp_path / "notes.txt"))
    with running_proxy(tmp_path, options) as proxy:
        assert said(post(proxy.url)) == "You said: hello there"
        proxy.wait_for_log("calls cannot be recorded")
        assert said(post(proxy.url)) == "You said: hello there" and proxy.process.poll() is None
    assert (tmp_path / "notes.txt").read_text().startswith("this is no database")
