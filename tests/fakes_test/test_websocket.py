"""The backend's WebSocket: who may come in, and what a connection remembers."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.fakes.openai import FakeOpenAI
from tests.fakes.websocket import BETA
from tests.fakes_test.bodies import lite, plain, user
from tests.wsclient import UpgradeRefused, WebSocket, websocket


def create(body: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"type": "response.create", **body, **changes}


def text_of(events: list[dict[str, Any]]) -> str:
    assert events[-1]["type"] == "response.completed", events[-1]
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


@pytest.fixture
def headers(ada: dict[str, str]) -> dict[str, str]:
    return ada | {"openai-beta": BETA}


@pytest.fixture
def talk(fake: FakeOpenAI, headers: dict[str, str]) -> Iterator[WebSocket]:
    with websocket(f"{fake.backend_url}/responses", headers) as talk:
        yield talk


class TestHandshake:
    def refusal(self, fake: FakeOpenAI, headers: dict[str, str]) -> int:
        with pytest.raises(UpgradeRefused) as refused, websocket(f"{fake.backend_url}/responses", headers):
            pass
        return refused.value.status

    def test_needs_a_credential_that_is_good(self, fake: FakeOpenAI, headers: dict[str, str]) -> None:
        assert self.refusal(fake, {}) == 401
        assert self.refusal(fake, headers | {"authorization": "Bearer made-up"}) == 401
        assert self.refusal(fake, headers | {"chatgpt-account-id": "another"}) == 403

    def test_needs_the_name_of_the_dialect(self, fake: FakeOpenAI, ada: dict[str, str]) -> None:
        assert self.refusal(fake, ada) == 400

    def test_needs_to_be_one(self, fake: FakeOpenAI, http: httpx.Client, headers: dict[str, str]) -> None:
        assert http.get(f"{fake.backend_url}/responses", headers=headers).status_code == 405
        upgrade = {"connection": "Upgrade", "upgrade": "websocket"}
        assert http.get(f"{fake.backend_url}/responses", headers=headers | upgrade).status_code == 400

    def test_is_on_record(self, fake: FakeOpenAI, talk: WebSocket) -> None:
        talk.answer(create(plain("hello")))
        assert [(seen.method, seen.route, seen.status) for seen in fake.control.seen()] == [
            ("GET", "websocket", 101),
            ("MESSAGE", "message", 200),
        ]
        assert fake.control.seen()[1].json == create(plain("hello"))


class TestMessages:
    def test_an_answer_is_that_of_a_post_event_by_event(
        self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str], talk: WebSocket
    ) -> None:
        over_http = http.post(f"{fake.backend_url}/responses", json=plain("hello there"), headers=ada)
        types = [line.removeprefix("event: ") for line in over_http.text.split("\n") if line.startswith("event: ")]
        events = talk.answer(create(plain("hello there")))
        assert [event["type"] for event in events] == types
        assert text_of(events) == "You said: hello there"
        assert events[0]["type"] == "codex.rate_limits" and events[0]["rate_limits"]["primary"]["used_percent"] == 12.5

    def test_builds_upon_what_was_said_here(self, talk: WebSocket) -> None:
        tool = {"type": "function", "name": "lookup", "parameters": {"type": "object", "properties": {}}, "strict": False}
        first = talk.answer(create(plain("call lookup {}", tools=[tool])))
        call = next(event["item"] for event in first if event["type"] == "response.output_item.done")
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "42"}
        second = create(plain(input=[output], tools=[tool]), previous_response_id=first[-1]["response"]["id"])
        assert text_of(talk.answer(second)) == "Tool said: 42"

    def test_knows_nothing_of_other_connections(self, fake: FakeOpenAI, headers: dict[str, str], talk: WebSocket) -> None:
        made = talk.answer(create(plain()))[-1]["response"]["id"]
        with websocket(f"{fake.backend_url}/responses", headers) as other:
            refused = other.answer(create(plain(), previous_response_id=made))
        assert [event["type"] for event in refused] == ["error"]
        assert refused[0]["status"] == 400 and refused[0]["error"]["code"] == "previous_response_not_found"

    def test_prewarming_says_nothing_and_can_be_built_upon(self, talk: WebSocket) -> None:
        warm = talk.answer(create(plain(input=[]), generate=False))
        assert text_of(warm) == "" and not any(event["type"].startswith("response.output") for event in warm)
        after = create(plain("now"), previous_response_id=warm[-1]["response"]["id"])
        assert text_of(talk.answer(after)) == "You said: now"

    def test_the_lite_header_is_in_the_metadata(self, talk: WebSocket) -> None:
        flag = {"ws_request_header_x_openai_internal_codex_responses_lite": "true"}
        assert text_of(talk.answer(create(lite("hello"), client_metadata=flag))) == "You said: hello"
        assert talk.answer(create(lite("hello")))[-1]["type"] == "error"

    @pytest.mark.parametrize(
        "message",
        [{"type": "response.cancel"}, {"type": "response.create"}, create(plain(temperature=1)), create(plain(input="hello")), []],
        ids=["another type", "no body", "a parameter that is not taken", "an input that is a string", "no object"],
    )
    def test_a_wrong_one_is_refused_and_the_connection_goes_on(self, message: Any, talk: WebSocket) -> None:
        refused = talk.answer(message)
        assert refused[-1]["type"] == "error" and refused[-1]["status"] == 400 and refused[-1]["error"]["message"]
        assert text_of(talk.answer(create(plain(input=[user("and now")])))) == "You said: and now"

    def test_a_used_up_plan_is_an_error_with_the_windows(self, fake: FakeOpenAI, talk: WebSocket) -> None:
        fake.control.quota("ada@example.com", primary=100)
        refused = talk.answer(create(plain()))[-1]
        assert (refused["status"], refused["error"]["type"]) == (429, "usage_limit_reached")
        assert refused["headers"]["x-codex-primary-used-percent"] == "100"

    def test_bytes_end_the_connection(self, talk: WebSocket) -> None:
        talk.send_bytes(b"{}")
        with pytest.raises(ConnectionError, match="1003"):
            talk.receive()
