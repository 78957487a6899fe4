import uuid
from typing import Any

import pytest

from addons.wire.conversation import conversation_key


def item(role: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}


SYSTEM, QUESTION, ANSWER, NEXT = item("developer", "be brief"), item("user", "hi"), item("assistant", "hello"), item("user", "more")
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "x"}


def key(*items: dict[str, Any], client: str = "one", **more: Any) -> str:
    return conversation_key(client, {"instructions": "", "input": list(items), **more})


@pytest.mark.parametrize(
    "later",
    [[ANSWER], [ANSWER, NEXT], [CALL, OUTPUT], [NEXT], [ANSWER, NEXT, CALL, OUTPUT, item("developer", "late")]],
    ids=["answered", "next turn", "tool round", "two questions at once", "long after"],
)
def test_it_stays_the_same_as_the_conversation_grows(later: list[dict[str, Any]]) -> None:
    assert key(SYSTEM, QUESTION) == key(SYSTEM, QUESTION, *later)


@pytest.mark.parametrize(
    "question",
    [{"role": "user", "content": "hi"}, {"content": "hi", "role": "user", "type": "message"}],
    ids=["as OpenAI's examples do", "in another order"],
)
def test_it_stays_the_same_however_the_question_is_written(question: dict[str, Any]) -> None:
    assert key(SYSTEM, QUESTION) == key(SYSTEM, question, ANSWER)


@pytest.mark.parametrize(
    "other",
    [
        key(SYSTEM, QUESTION, client="two"),
        key(SYSTEM, item("user", "hi there")),
        key(item("developer", "be long"), QUESTION),
        key(SYSTEM, QUESTION, instructions="x"),
        key(SYSTEM, QUESTION, tools=[{"type": "function", "name": "f"}]),
        key(QUESTION),
        key(),
    ],
)
def test_another_beginning_or_another_client_is_another_conversation(other: str) -> None:
    assert key(SYSTEM, QUESTION) != other


def test_it_is_a_uuid_whatever_is_said() -> None:
    assert uuid.UUID(key(item("user", "half \ud83d"))) and uuid.UUID(key())
