"""What OpenAI keeps of Responses, kept by the real proxy: going on from a response, referring to items, asking for them again."""

import json
from typing import Any

import httpx
import pytest

from tests.e2e.client import error, events, wait_until_ended
from tests.e2e.conftest import write_account
from tests.fakes.control import Control
from tests.proxy import RunningProxy

MODEL = "gpt-5.5"
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}, "strict": False}
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


class Client:
    """One user with a key."""

    def __init__(self, proxy: RunningProxy, key: str = "one", agent: str = "a") -> None:
        self.http = httpx.Client(
            base_url=proxy.origin, headers={"authorization": f"Bearer {key}", "user-agent": agent}, trust_env=False, timeout=30
        )

    def post(self, given: Any, **body: Any) -> httpx.Response:
        return self.http.post("/v1/responses", json={"model": MODEL, "input": given} | body)

    def ask(self, given: Any, **body: Any) -> dict[str, Any]:
        """The response object, however it came."""
        answer = self.post(given, **body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = events(answer.content)[-1]["response"] if body.get("stream") else answer.json()
        return found

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.http.get(f"/v1/responses/{path}", params=query)


@pytest.fixture
def client(proxy: RunningProxy) -> Client:
    return Client(proxy)


def sent(control: Control) -> dict[str, Any]:
    body: dict[str, Any] = control.seen("backend", "responses")[-1].json
    return body


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


@STREAMED
def test_a_conversation_by_id_is_the_one_that_is_told_whole(stream: bool, client: Client, control: Control) -> None:
    first = client.ask([user("say reasoning first")], stream=stream, instructions="Be brief.")
    second = client.ask([user("call weather {}")], stream=stream, tools=[WEATHER], previous_response_id=first["id"])
    call_id = second["output"][0]["call_id"]
    result = {"type": "function_call_output", "call_id": call_id, "output": "rain"}
    third = client.ask([result], stream=stream, tools=[WEATHER], previous_response_id=second["id"])
    assert third["output"][0]["content"][0]["text"] == "Tool said: rain"
    assert [r["previous_response_id"] for r in (first, second, third)] == [None, first["id"], second["id"]]
    by_id = sent(control)
    history = [user("say reasoning first"), *first["output"], user("call weather {}"), *second["output"], result]
    client.ask(history, tools=[WEATHER])
    assert by_id == sent(control), "the same input, no instructions of an earlier turn, and the same key for the plan's cache"
    assert [item["type"] for item in by_id["input"] if item.get("encrypted_content")] == ["reasoning"]


def test_what_was_done_is_told(client: Client) -> None:
    first = client.post("hello")
    assert "emulated store" in first.headers["x-codex-edits"] and first.json()["store"] is True
    second = client.post([{"id": first.json()["output"][0]["id"]}], previous_response_id=None, store=False)
    assert "mapped input[].item_reference" in second.headers["x-codex-edits"]
    third = client.post("more", previous_response_id=first.json()["id"], store=False)
    assert "emulated previous_response_id" in third.headers["x-codex-edits"]
    assert "store" not in third.headers["x-codex-edits"] and third.json()["store"] is False


def test_a_complaint_counts_the_clients_own_items(client: Client) -> None:
    first = client.ask("hello")
    refused = client.post([user("a"), {"type": "message", "role": "user"}], previous_response_id=first["id"])
    assert error(refused)["param"] == "input[1].content" and "'input[1].content'" in error(refused)["message"]


class TestWhatIsKept:
    @STREAMED
    def test_as_the_client_got_it(self, stream: bool, client: Client) -> None:
        told = client.ask("say reasoning hello", stream=stream, metadata={"a": "b"}, tools=[WEATHER], instructions="Be brief.")
        for path in ("/v1/responses/", "/responses/"):
            assert client.http.get(path + told["id"]).json() == told

    def test_with_what_led_to_it(self, client: Client) -> None:
        first = client.ask("say reasoning hello")
        second = client.ask([user("more"), user("and more")], previous_response_id=first["id"])
        listed = client.get(f"{second['id']}/input_items", order="asc").json()
        roles = [item.get("role", item["type"]) for item in listed["data"]]
        assert roles == ["user", "reasoning", "assistant", "user", "user"] and listed["object"] == "list"
        assert [item["id"] for item in listed["data"][1:3]] == [item["id"] for item in first["output"]]
        page = client.get(f"{second['id']}/input_items", limit=2, after=listed["data"][4]["id"]).json()
        assert page["data"] == [listed["data"][3], listed["data"][2]] and page["has_more"]
        again = client.ask([{"id": listed["data"][3]["id"]}])
        assert again["output"][0]["content"][0]["text"] == "You said: more"

    @STREAMED
    def test_also_when_it_was_cut_off(self, stream: bool, client: Client, control: Control) -> None:
        first = client.ask("say 50 words", stream=stream, max_output_tokens=5)
        assert first["status"] == "incomplete" and client.get(first["id"]).json() == first
        client.ask("go on", previous_response_id=first["id"])
        assert sent(control)["input"][1]["content"][0]["text"] == first["output"][0]["content"][0]["text"]

    def test_long_names_and_call_ids_go_there_and_back(self, client: Client, control: Control) -> None:
        name, call_id = "weather." + "x" * 80, "call_" + "y" * 80
        tool = {**WEATHER, "name": name}
        called = {"type": "function_call", "call_id": call_id, "name": name, "arguments": "{}"}
        result = {"type": "function_call_output", "call_id": call_id, "output": "rain"}
        first = client.ask([called, result], tools=[tool])
        client.ask("more", previous_response_id=first["id"])
        items = sent(control)["input"]
        assert items[0]["call_id"] == items[1]["call_id"] != call_id and items[0]["name"] != name
        assert client.get(f"{first['id']}/input_items", order="asc").json()["data"][0]["name"] == name


class TestWhatIsNotKept:
    def unknown(self, client: Client, response_id: str) -> None:
        refused = client.post("more", previous_response_id=response_id)
        assert (refused.status_code, error(refused)["code"]) == (400, "previous_response_not_found")
        assert error(refused)["param"] == "previous_response_id" and response_id in error(refused)["message"]
        for answer in (
            client.get(response_id),
            client.get(f"{response_id}/input_items"),
            client.http.delete(f"/v1/responses/{response_id}"),
            client.http.post(f"/v1/responses/{response_id}/cancel"),
        ):
            assert answer.status_code == 404 and error(answer)["message"] == f"Response with id '{response_id}' not found."

    def test_what_never_was(self, client: Client, control: Control) -> None:
        self.unknown(client, "resp_none")
        assert control.seen("backend", "responses") == []

    @STREAMED
    def test_what_was_sent_with_store_false(self, stream: bool, client: Client) -> None:
        self.unknown(client, client.ask("hello", store=False, stream=stream)["id"])

    def test_what_was_deleted(self, client: Client) -> None:
        first = client.ask("hello")
        second = client.ask("more", previous_response_id=first["id"])
        deleted = client.http.delete(f"/v1/responses/{first['id']}").json()
        assert deleted == {"id": first["id"], "object": "response", "deleted": True}
        self.unknown(client, first["id"])
        third = client.ask("and more", previous_response_id=second["id"])
        assert len(client.get(f"{third['id']}/input_items").json()["data"]) == 5, "what came after it still knows what was said"

    @STREAMED
    def test_what_failed(self, stream: bool, client: Client, control: Control) -> None:
        created = {"type": "response.created", "response": {"id": "resp_failed", "status": "in_progress"}}
        said = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "item_id": "msg_1", "delta": "hi"}
        error = {"code": "invalid_prompt", "message": "one that no second try would mend"}
        failed = {"type": "response.failed", "response": {"id": "resp_failed", "status": "failed", "error": error}}
        control.script([{"event": created}, {"event": said}, {"event": failed}])
        assert client.post("hello", stream=stream).status_code == (200 if stream else 400)
        self.unknown(client, "resp_failed")

    def test_what_its_client_did_not_wait_for(self, client: Client, control: Control) -> None:
        control.settings(delta_delay=0.2)
        with client.http.stream("POST", "/v1/responses", json={"model": MODEL, "input": "say 50 words", "stream": True}) as answer:
            created = next(line for line in answer.iter_lines() if line.startswith("data: "))
        assert wait_until_ended(control).ended == "client_left"
        self.unknown(client, json.loads(created[6:])["response"]["id"])


class TestWhoseItIs:
    def test_the_key_decides_and_not_the_program(self, proxy: RunningProxy) -> None:
        told = Client(proxy, "one", "OpenAI/Python").ask("hello")
        assert Client(proxy, "one", "OpenAI/JS").get(told["id"]).json() == told
        azure = httpx.get(f"{proxy.url}/responses/{told['id']}", headers={"api-key": "one"}, trust_env=False)
        assert azure.json() == told

    def test_nobody_else_gets_at_it(self, proxy: RunningProxy) -> None:
        mine, theirs = Client(proxy, "one"), Client(proxy, "two")
        told = mine.ask("hello")
        assert theirs.post("more", previous_response_id=told["id"]).status_code == 400
        assert error(theirs.post([{"id": told["output"][0]["id"]}]))["message"].startswith(
            f"Item with id '{told['output'][0]['id']}' not found."
        )
        assert theirs.get(told["id"]).status_code == theirs.http.delete(f"/v1/responses/{told['id']}").status_code == 404
        assert mine.get(told["id"]).status_code == 200


def test_what_cannot_be_done_with_it_says_why(client: Client) -> None:
    told = client.ask("hello")
    cancelled = client.http.post(f"/v1/responses/{told['id']}/cancel")
    assert cancelled.status_code == 400 and error(cancelled)["message"].startswith("Cannot cancel a synchronous response")
    streamed = client.get(told["id"], stream="true")
    assert (streamed.status_code, error(streamed)["param"]) == (400, "stream")
    assert error(client.get(f"{told['id']}/input_items", limit=0))["param"] == "limit"
    assert client.http.post(f"/v1/responses/{told['id']}", json={}).status_code == 404


def test_a_codex_cli_is_left_alone(client: Client, control: Control) -> None:
    told = client.ask("hello")
    cli = {"originator": "codex_exec"}
    refused = client.http.post(
        "/v1/responses", headers=cli, json={"model": MODEL, "input": [], "stream": True, "previous_response_id": told["id"]}
    )
    assert refused.status_code == 400 and sent(control)["previous_response_id"] == told["id"]
    assert client.http.get(f"/v1/responses/{told['id']}", headers=cli).status_code == 404


def test_on_an_api_key_it_is_all_the_platforms(proxy: RunningProxy, account: Any, control: Control) -> None:
    client = Client(proxy)
    told = client.ask("hello")
    write_account(account, {"auth_mode": "apikey", "OPENAI_API_KEY": control.api_key()})
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/input_items"), ("POST", "/cancel")):
        client.http.request(method, f"/v1/responses/{told['id']}{path}")
    seen = [(each.method, each.target.removeprefix(f"/v1/responses/{told['id']}")) for each in control.seen("platform")]
    assert seen == [("GET", ""), ("DELETE", ""), ("GET", "/input_items"), ("POST", "/cancel")]
