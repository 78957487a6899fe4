"""The platform: API keys only, both dialects, streamed and not."""

import hashlib
import struct
from base64 import b64decode
from typing import Any

import httpx
import orjson
import pytest

from tests.fakes.openai import FakeOpenAI
from tests.fakes_test.bodies import events_of, text_of

CHAT_TOOL = {"type": "function", "function": {"name": "lookup", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def key(fake: FakeOpenAI) -> dict[str, str]:
    return {"authorization": f"Bearer {fake.control.api_key()}"}


def chat(text: str = "hello there", /, **changes: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **changes}


def chunks_of(answer: httpx.Response) -> list[dict[str, Any]]:
    *frames, last, rest = answer.text.split("\n\n")
    assert (last, rest) == ("data: [DONE]", "")
    return [orjson.loads(frame.removeprefix("data: ")) for frame in frames]


class TestCredential:
    @pytest.mark.parametrize(
        "method, path, scope",
        [
            ("POST", "/v1/responses", "api.responses.write"),
            ("POST", "/v1/chat/completions", "model.request"),
            ("GET", "/v1/models", "api.model.read"),
        ],
    )
    def test_chatgpt_token_lacks_the_scope(
        self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str], method: str, path: str, scope: str
    ) -> None:
        answer = http.request(method, fake.platform_url + path, headers=ada)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "missing_scope")
        assert f"Missing scopes: {scope}." in answer.json()["error"]["message"]

    def test_unknown_key_is_named_only_in_part(self, fake: FakeOpenAI, http: httpx.Client) -> None:
        headers = {"authorization": "Bearer sk-test-not-a-key-at-all"}
        error = http.get(f"{fake.platform_url}/v1/models", headers=headers).json()["error"]
        assert error["code"] == "invalid_api_key"
        assert "not-a-key" not in error["message"]

    def test_missing_key(self, fake: FakeOpenAI, http: httpx.Client) -> None:
        answer = http.get(f"{fake.platform_url}/v1/models")
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, None)


class TestResponses:
    def test_whole(self, fake: FakeOpenAI, http: httpx.Client, key: dict[str, str]) -> None:
        body = {"model": "gpt-5.5", "input": "hello there", "temperature": 0.5}
        answer = http.post(f"{fake.platform_url}/v1/responses", json=body, headers=key).json()
        assert answer["output"][0]["content"][0]["text"] == "You said: hello there"
        assert answer["usage"] == answer["usage"] | {"input_tokens": 2, "output_tokens": 4, "total_tokens": 6}

    def test_streamed_is_filled_and_all_openai_s(self, fake: FakeOpenAI, http: httpx.Client, key: dict[str, str]) -> None:
        body = {"model": "gpt-5.5", "input": "hello there", "stream": True}
        answer = http.post(f"{fake.platform_url}/v1/responses", json=body, headers=key)
        events = events_of(answer)
        assert text_of(answer) == "You said: hello there"
        assert all(event["type"].startswith("response.") for event in events)
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert events[-1]["response"]["output"] == [e["item"] for e in events if e["type"] == "response.output_item.done"]

    def test_unknown_model_is_400_with_its_param(self, fake: FakeOpenAI, http: httpx.Client, key: dict[str, str]) -> None:
        answer = http.post(f"{fake.platform_url}/v1/responses", json={"model": "gpt-x", "input": "x"}, headers=key)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, "model_not_found", "model")


class TestChat:
    def test_whole(self, fake: FakeOpenAI, http: httpx.Client, key: dict[str, str]) -> None:
        answer = http.post(f"{fake.platform_url}/v1/chat/completions", json=chat(), headers=key).json()
        assert answer["choices"] == [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "You said: hello there", "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ]
        assert answer["usage"]["total_tokens"] == 6

    @pytest.mark.parametrize("include_usage", [True, False])
    def test_streamed(self, fake: FakeOpenAI, http: httpx.Client, key: dict[str, str], include_usage: bool) -> None:
        body = chat(stream=True, stream_options={"include_usage": include_usage})
        chunks = chunks_of(http.post(f"{fake.platform_url}/v1/chat/completions", json=body, headers=key))
        choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
        assert choices[0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
        assert "".join(choice["delta"].get("content", "") for choice in choices) == "You said: hello there"
        assert [choice["finish_reason"] for choice in choices] == [None] * 5 + ["stop"]
        assert len({chunk["id"] for chunk in chunks}) == 1
        if include_usage:
            assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * 6
            assert (chunks[-1]["choices"], chunks[-1]["usage"]["total_tokens"]) == ([], 6)
        else:
            assert all("usage" not in chunk for chunk in chunks)

    def test_calls_are_indexed_on_their_own(self, fake: FakeOpenAI, http: httpx.Client, key: dict[str, str]) -> None:
        body = chat('call lookup {"a": 1} then call lookup {}', tools=[CHAT_TOOL], stream=True)
        chunks = chunks_of(http.post(f"{fake.platform_url}/v1/chat/completions", json=body, headers=key))
        arguments = ["", ""]
        for chunk in chunks:
            for call in chunk["choices"][0]["delta"].get("tool_calls", ()):
                arguments[call["index"]] += call["function"]["arguments"]
        assert arguments == ['{"a": 1}', "{}"]
        assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"

    def test_refusal(self, fake: FakeOpenAI, http: httpx.Client, key: dict[str, str]) -> None:
        body = chat("refuse this, please")
        message = http.post(f"{fake.platform_url}/v1/chat/completions", json=body, headers=key).json()["choices"][0]["message"]
        assert (message["content"], message["refusal"]) == (None, "I cannot help with that.")

    @pytest.mark.parametrize(
        "changes, param",
        [
            ({"messages": []}, "messages"),
            ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
            ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
            ({"messages": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}]}, "messages[0].content[0].type"),
            ({"messages": [{"role": "tool", "tool_call_id": "c1", "content": "x"}]}, "messages.[0].role"),
            ({"messages": [{"role": "assistant", "tool_calls": [{"id": "c1"}]}]}, "messages.[1].role"),
            ({"tools": [{"type": "function", "name": "flat"}]}, "tools[0].function"),
            ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
            ({"response_format": {"type": "json_object"}}, "messages"),
        ],
    )
    def test_refuses(self, fake: FakeOpenAI, http: httpx.Client, key: dict[str, str], changes: dict[str, Any], param: str) -> None:
        answer = http.post(f"{fake.platform_url}/v1/chat/completions", json=chat(**changes), headers=key)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)

    def test_unknown_model_is_404_without_param(self, fake: FakeOpenAI, http: httpx.Client, key: dict[str, str]) -> None:
        answer = http.post(f"{fake.platform_url}/v1/chat/completions", json=chat(model="gpt-x"), headers=key)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (404, "model_not_found", None)


def test_models(fake: FakeOpenAI, http: httpx.Client, key: dict[str, str]) -> None:
    listed = http.get(f"{fake.platform_url}/v1/models", headers=key).json()["data"]
    assert http.get(f"{fake.platform_url}/v1/models/{listed[0]['id']}", headers=key).json() == listed[0]
    answer = http.get(f"{fake.platform_url}/v1/models/gpt-x", headers=key)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_embeddings_in_both_encodings(fake: FakeOpenAI, http: httpx.Client, key: dict[str, str]) -> None:
    body = {"model": "text-embedding-3-small", "input": ["hello", "there"]}
    url = f"{fake.platform_url}/v1/embeddings"
    floats = http.post(url, json=body, headers=key).json()["data"]
    encoded = http.post(url, json=body | {"encoding_format": "base64"}, headers=key).json()["data"]
    assert [struct.unpack("<8f", b64decode(e["embedding"])) for e in encoded] == [
        pytest.approx(tuple(e["embedding"])) for e in floats
    ]


def test_an_upload_arrives_whole(fake: FakeOpenAI, http: httpx.Client, key: dict[str, str]) -> None:
    content = b"\r\n--not the boundary\r\n\r\n" * 50_000
    answer = http.post(
        f"{fake.platform_url}/v1/files", data={"purpose": "assistants"}, files={"file": ("a.bin", content)}, headers=key
    ).json()
    assert (answer["bytes"], answer["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert (answer["filename"], answer["purpose"]) == ("a.bin", "assistants")


@pytest.mark.parametrize(
    "content_type, content",
    [("application/json", b"{}"), ("multipart/form-data; boundary=x", b"--x\r\n\r\nnameless\r\n--x--\r\n")],
)
def test_an_upload_is_multipart_with_names(
    fake: FakeOpenAI, http: httpx.Client, key: dict[str, str], content_type: str, content: bytes
) -> None:
    headers = key | {"content-type": content_type}
    assert http.post(f"{fake.platform_url}/v1/files", content=content, headers=headers).status_code == 400


def test_unknown_url_and_wrong_method(fake: FakeOpenAI, http: httpx.Client, key: dict[str, str]) -> None:
    answer = http.post(f"{fake.platform_url}/v1/x", headers=key)
    assert (answer.status_code, answer.json()["error"]["message"]) == (404, "Invalid URL (POST /v1/x)")
    assert http.get(f"{fake.platform_url}/v1/embeddings", headers=key).status_code == 405
