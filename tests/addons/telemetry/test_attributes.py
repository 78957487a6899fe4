from typing import Any

import pytest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes

from addons.telemetry.attributes import Server, attributes_of, attributes_of_attempt, span_name
from addons.traffic.exchange import Attempt, Client, Failure
from addons.wire.usage import Usage
from tests.addons.traffic.calls import call, refused

HERE = Server("chatgpt.com", 443)
KEY = "sk-" + "CANARY0client0key0of0this0test1234"


def test_a_chat() -> None:
    told = attributes_of(call(client=Client("laptop", "x/1", "127.0.0.1")), HERE)
    assert {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4.1-nano",
        "gen_ai.response.model": "gpt-6-luna",
        "gen_ai.usage.input_tokens": 812,
        "gen_ai.usage.output_tokens": 344,
        "gen_ai.usage.cache_read.input_tokens": 640,
        "server.address": "chatgpt.com",
        "server.port": 443,
        "http.response.status_code": 200,
        "codex_mitm.account": "ada",
        "codex_mitm.key": "laptop",
        "codex_mitm.outcome": "complete",
    }.items() <= told.items()
    assert "error.type" not in told and span_name(call()) == "chat gpt-6-luna"


def test_the_names_are_those_of_the_conventions() -> None:
    known = {
        value
        for module in (gen_ai_attributes, error_attributes, http_attributes, server_attributes)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str)
    }
    told = attributes_of(refused(tokens=Usage(1, 1), queued=1.0), HERE) | attributes_of_attempt(Attempt("a", 0.0, 500), HERE)
    assert [name for name in told if not name.startswith("codex_mitm.") and name not in known] == []


NAMES = {
    "/v1/responses": "chat gpt-6-luna",
    "/v1/embeddings": "embeddings gpt-6-luna",
    "/v1/files/file-1": "POST /v1/files/*",
    "/CANARY": "POST other",
}


@pytest.mark.parametrize(("path", "name"), NAMES.items())
def test_names_of_spans_are_few(path: str, name: str) -> None:
    assert span_name(call(endpoint=path)) == name


def test_a_failure_by_its_code_and_never_in_words() -> None:
    told = attributes_of(refused(error=Failure("t", "usage_limit_reached", "CANARY words")), None)
    assert told["error.type"] == "usage_limit_reached" and "CANARY" not in str(told) and "server.address" not in told
    assert attributes_of(refused(error=None), None)["error.type"] == "refused"
    assert "error.type" not in attributes_of(call(outcome="client_left"), HERE), "nobody failed"


ATTEMPTS: dict[str, tuple[Attempt, Any]] = {
    "answered": (Attempt("ada", 0.0, 200), None),
    "refused": (Attempt("ada", 0.0, 429), "429"),
    "no answer": (Attempt("ada", 0.0, None, "first_byte"), "first_byte"),
}


@pytest.mark.parametrize(("attempt", "error"), ATTEMPTS.values(), ids=ATTEMPTS)
def test_an_attempt(attempt: Attempt, error: str | None) -> None:
    assert attributes_of_attempt(attempt, HERE).get("error.type") == error


def test_what_clients_and_upstream_write_can_be_sent_and_holds_no_key() -> None:
    told = attributes_of(call(model_asked=f"{KEY}\ud800", tokens=Usage(10**30, -(10**30))), HERE)
    assert KEY not in str(told) and str(told).encode() and told["gen_ai.usage.input_tokens"] == 1 << 40
    assert len(str(attributes_of(call(model_asked="x" * 10**6), HERE)["gen_ai.request.model"])) == 200
