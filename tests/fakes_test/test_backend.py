"""The Codex backend: who may come in, what a stream says, and the endpoints beside it."""

import gzip
from typing import Any

import httpx
import orjson
import pytest
import zstandard

from tests.fakes.openai import FakeOpenAI
from tests.fakes_test.bodies import LITE_HEADER, LOOKUP, events_of, lite, plain, text_of, user

GETS = [
    "/backend-api/wham/accounts/check",
    "/backend-api/wham/usage",
    "/backend-api/wham/rate-limit-reset-credits",
    "/backend-api/wham/settings/user",
]


def beside(fake: FakeOpenAI, path: str) -> str:
    return fake.backend_url.removesuffix("/backend-api/codex") + path


class TestCredential:
    @pytest.mark.parametrize("body", ["token_invalidated", "token_expired", "token_revoked"])
    def test_revoked_token_gets_the_body_that_was_asked_for(
        self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str], body: str
    ) -> None:
        assert fake.control.revoke("access", "ada@example.com", body) == 1
        answer = http.post(f"{fake.backend_url}/responses", json=plain(), headers=ada)
        assert (answer.status_code, answer.json()["status"]) == (401, 401)
        assert answer.json()["error"]["code"] == answer.headers["x-openai-authorization-error"] == body

    def test_missing_is_fastapi_s_own_answer(self, fake: FakeOpenAI, http: httpx.Client) -> None:
        answer = http.post(f"{fake.backend_url}/responses", json=plain())
        assert (answer.status_code, answer.json()) == (401, {"detail": "Unauthorized"})

    @pytest.mark.parametrize("spoil", [str.upper, lambda token: token[:-1], lambda token: "at-made-up"])
    def test_altered_by_one_letter_is_unknown(
        self, fake: FakeOpenAI, http: httpx.Client, tokens: dict[str, Any], ada: dict[str, str], spoil: Any
    ) -> None:
        headers = ada | {"authorization": f"Bearer {spoil(tokens['access_token'])}"}
        answer = http.post(f"{fake.backend_url}/responses", json=plain(), headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "token_invalidated")

    def test_expires_by_the_server_s_clock(self, fake: FakeOpenAI, http: httpx.Client) -> None:
        tokens = fake.control.login(lifetime=60)["tokens"]
        headers = {"authorization": f"Bearer {tokens['access_token']}", "chatgpt-account-id": tokens["account_id"]}
        assert http.post(f"{fake.backend_url}/responses", json=plain(), headers=headers).status_code == 200
        fake.control.clock(61)
        answer = http.post(f"{fake.backend_url}/responses", json=plain(), headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "token_expired")

    def test_api_key_is_as_good_as_none(self, fake: FakeOpenAI, http: httpx.Client) -> None:
        headers = {"authorization": f"Bearer {fake.control.api_key()}"}
        assert http.get(f"{fake.backend_url}/models?client_version=0.169.0", headers=headers).status_code == 401

    @pytest.mark.parametrize("account", [None, "another-account"])
    def test_account_is_that_of_the_token(
        self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str], account: str | None
    ) -> None:
        headers = {"authorization": ada["authorization"], **({"chatgpt-account-id": account} if account else {})}
        assert http.post(f"{fake.backend_url}/responses", json=plain(), headers=headers).status_code == 403

    @pytest.mark.parametrize("path", GETS)
    def test_is_asked_for_everywhere(self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str], path: str) -> None:
        assert http.get(beside(fake, path)).status_code == 401
        assert http.get(beside(fake, path), headers=ada).status_code == 200

    def test_routing_override_is_asked_for_once_it_is_set(self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str]) -> None:
        fake.control.settings(account_routing_override="us")
        account = http.get(beside(fake, GETS[0]), headers=ada).json()["accounts"][0]
        assert account["account_routing_override"] == "us"
        assert http.post(f"{fake.backend_url}/responses", json=plain(), headers=ada).status_code == 400
        headers = ada | {"x-openai-account-routing-override": "us"}
        assert http.post(f"{fake.backend_url}/responses", json=plain(), headers=headers).status_code == 200


class TestBody:
    @pytest.mark.parametrize("level", [1, 3])
    def test_zstd_is_taken_with_and_without_a_content_size(
        self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str], level: int
    ) -> None:
        compressor = zstandard.ZstdCompressor(level=level, write_content_size=level == 1)
        body = compressor.compress(orjson.dumps(plain("through zstd")))
        headers = ada | {"content-type": "application/json", "content-encoding": "zstd"}
        answer = http.post(f"{fake.backend_url}/responses", content=body, headers=headers)
        assert text_of(answer) == "You said: through zstd"
        assert fake.control.seen("backend")[0].json == plain("through zstd")

    @pytest.mark.parametrize(
        "coding, data",
        [("gzip", gzip.compress(orjson.dumps(plain()))), ("br", b"\x0b\x00\x80{}\x03"), ("zstd", b"not zstd")],
    )
    def test_no_other_coding_is(self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str], coding: str, data: bytes) -> None:
        headers = ada | {"content-type": "application/json", "content-encoding": coding}
        assert http.post(f"{fake.backend_url}/responses", content=data, headers=headers).status_code == 400

    @pytest.mark.parametrize(
        "content, content_type", [(b"{", "application/json"), (b"[]", "application/json"), (b"{}", "text/plain")]
    )
    def test_is_a_json_object(
        self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str], content: bytes, content_type: str
    ) -> None:
        headers = ada | {"content-type": content_type}
        assert http.post(f"{fake.backend_url}/responses", content=content, headers=headers).status_code == 400


class TestStream:
    def test_tells_one_message_in_order(self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str]) -> None:
        events = events_of(http.post(f"{fake.backend_url}/responses", json=plain("hello there"), headers=ada))
        assert [event["type"] for event in events] == [
            "codex.rate_limits",
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            *["response.output_text.delta"] * 4,
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "codex.rate_limits",
            "response.completed",
        ]
        numbers = [event["sequence_number"] for event in events if not event["type"].startswith("codex.")]
        assert numbers == list(range(12))

    def test_keeps_its_output_out_of_the_last_event(self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str]) -> None:
        last = events_of(http.post(f"{fake.backend_url}/responses", json=plain("hello there"), headers=ada))[-1]
        assert last["response"]["output"] == []
        assert last["response"]["status"] == "completed"
        assert last["response"]["usage"]["output_tokens"] == 4

    def test_calls_the_tools_that_were_offered(self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str]) -> None:
        custom = {"type": "custom", "name": "patch"}
        said = 'say reasoning, call lookup {"q": {"deep": 1}} and call other {} and call lookup {}\ncall patch a b'
        body = plain(said, tools=[LOOKUP, custom])
        events = events_of(http.post(f"{fake.backend_url}/responses", json=body, headers=ada))
        items = [event["item"] for event in events if event["type"] == "response.output_item.done"]
        assert [(item["type"], item.get("arguments", item.get("input"))) for item in items] == [
            ("reasoning", None),
            ("function_call", '{"q": {"deep": 1}}'),
            ("function_call", "{}"),
            ("custom_tool_call", "a b"),
        ]
        for item, kind in ((items[1], "function_call_arguments"), (items[3], "custom_tool_call_input")):
            deltas = [e["delta"] for e in events if e["type"] == f"response.{kind}.delta" and e["item_id"] == item["id"]]
            assert "".join(deltas) == item.get("arguments", item.get("input"))

    def test_finds_the_tools_of_responses_lite(self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str]) -> None:
        tools = [{"type": "namespace", "name": "functions", "tools": [LOOKUP]}]
        answer = http.post(f"{fake.backend_url}/responses", json=lite("call lookup {}", tools), headers=ada | LITE_HEADER)
        assert any(event["type"] == "response.function_call_arguments.done" for event in events_of(answer))

    def test_goes_on_after_a_tool_s_result(self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str]) -> None:
        call = {"type": "function_call", "call_id": "c1", "name": "lookup", "arguments": "{}"}
        output = {"type": "function_call_output", "call_id": "c1", "output": "42"}
        body = plain(input=[user("call lookup {}"), call, output], tools=[LOOKUP])
        assert text_of(http.post(f"{fake.backend_url}/responses", json=body, headers=ada)) == "Tool said: 42"

    def test_carries_what_the_real_one_carries(self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str]) -> None:
        answer = http.post(f"{fake.backend_url}/responses", json=plain(), headers=ada)
        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.headers["x-codex-primary-used-percent"] == "12.5"
        assert answer.headers["set-cookie"].startswith("__cf_bm=")
        assert {"x-request-id", "x-codex-turn-state", "x-models-etag", "date"} <= set(answer.headers)

    def test_a_script_is_said_as_it_is_written(self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str]) -> None:
        steps: list[dict[str, Any]] = [
            {"event": {"type": "response.failed", "n": 1}},
            {"raw": ": ping\n\n", "delay": 0.01},
            {"event": {"n": 2}},
        ]
        fake.control.script(steps)
        answer = http.post(f"{fake.backend_url}/responses", json=plain(), headers=ada)
        expected = 'event: response.failed\ndata: {"type":"response.failed","n":1}\n\n: ping\n\ndata: {"n":2}\n\n'
        assert answer.text == expected
        # It is for the next answer; the one after is the model's own again.
        assert text_of(http.post(f"{fake.backend_url}/responses", json=plain(), headers=ada)) == "You said: hello"


class TestModels:
    def test_shape_and_etag(self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str]) -> None:
        url = f"{fake.backend_url}/models?client_version=0.169.0"
        answer = http.get(url, headers=ada)
        models = {model["slug"]: model for model in answer.json()["models"]}
        assert not models["gpt-5.5"]["use_responses_lite"]
        assert models["gpt-6.1-sol"]["use_responses_lite"]
        again = http.get(url, headers=ada | {"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")

    def test_client_version_is_required(self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str]) -> None:
        assert http.get(f"{fake.backend_url}/models", headers=ada).status_code == 400

    def test_a_plan_may_get_fewer(self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str]) -> None:
        url = f"{fake.backend_url}/models?client_version=0.169.0"
        etag = http.get(url, headers=ada).headers["etag"]
        fake.control.settings(models=["gpt-5.6-luna"])
        answer = http.get(url, headers=ada | {"if-none-match": etag})
        assert [model["slug"] for model in answer.json()["models"]] == ["gpt-5.6-luna"]
        assert http.post(f"{fake.backend_url}/responses", json=plain(), headers=ada).status_code == 400


def test_a_used_up_plan_gets_429_until_the_reset(fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str]) -> None:
    fake.control.quota("ada@example.com", primary=100)
    answer = http.post(f"{fake.backend_url}/responses", json=plain(), headers=ada)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["plan_type"]) == (429, "usage_limit_reached", "plus")
    assert answer.headers["x-codex-primary-reset-at"] == str(error["resets_at"])
    usage = http.get(beside(fake, "/backend-api/wham/usage"), headers=ada).json()["rate_limit"]
    assert (usage["limit_reached"], usage["primary_window"]["used_percent"]) == (True, 100)


def test_accounts_check_names_the_account_of_the_token(fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str]) -> None:
    document = http.get(beside(fake, "/backend-api/wham/accounts/check"), headers=ada).json()
    assert [account["id"] for account in document["accounts"]] == [ada["chatgpt-account-id"]]
    assert document["accounts"][0]["workspace_backend_origin"] == "NO_CONSTRAINT"


def test_compact_is_unary(fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str]) -> None:
    body = {"model": "gpt-5.5", "input": [user("a long story")]}
    output = http.post(f"{fake.backend_url}/responses/compact", json=body, headers=ada).json()["output"]
    assert [item["type"] for item in output] == ["message", "compaction"]
