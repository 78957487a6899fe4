import json
from typing import Any

import pytest

from addons.translate import dumped, parsed_object
from addons.wire.chat_messages import A_ROW
from addons.wire.chat_request import plan
from addons.wire.codex_body import CHARACTERS_PER_TOKEN
from addons.wire.conversation import conversation_key
from addons.wire.passage import LONG, MOST, Passage
from tests.fakes.catalog import MODELS
from tests.fakes.rules import check_responses
from tests.wire.asking import PLAIN, Object, planned, refusal
from tests.wire.talking import CALLING, RESULT, chat, text, user

WORDS = ["", "hi", 'say "hi"', "\\", "a\nb\x00\x1f\x7f", "é \u2028 漢 😀", '"}]},{"type":"message"', "x" * LONG]


def exchange(count: int, start: int = 0) -> list[Object]:
    """So many messages, by turns, with all kinds of words."""
    return [
        {"role": ("user", "assistant")[n % 2], "content": f"{n} {WORDS[n % len(WORDS)]}"[:LONG]}
        for n in range(start, start + count)
    ]


# What stands between two rows of messages that are a text and nothing else.
BETWEEN: dict[str, list[Object]] = {
    "nothing": [],
    "system": [{"role": "system", "content": "Be brief."}],
    "a call": [CALLING, RESULT],
    "parts": [user(text("a"), text("b"))],
    "a name": [{"role": "user", "content": "a", "name": "ada"}],
    "empty members": [{"role": "assistant", "content": "a", "refusal": None}],
    "a long text": [{"role": "user", "content": "x" * (LONG + 1)}],
    "half a surrogate pair": [{"role": "user", "content": "a \ud83d"}],
}


def sent(messages: list[Object], **more: Any) -> Object:
    """The body for the backend, as the backend reads it; it takes it."""
    body: Object = json.loads(dumped(plan(chat(*messages, **more), model=PLAIN).body))
    check_responses(body, MODELS, lite_header=False, lite_required=True)
    return body


def said_one_by_one(messages: list[Object]) -> list[Object]:
    """A call and its result are no two requests."""
    items: list[Object] = []
    alone = iter(messages)
    for said in alone:
        items += planned(plan, chat(said, next(alone)) if "tool_calls" in said else chat(said)).body["input"]
    return items


@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
@pytest.mark.parametrize("count", [A_ROW - 1, A_ROW, A_ROW + 1, A_ROW + 2, 3 * A_ROW, A_ROW + MOST + 2])
def test_a_message_of_many_becomes_what_it_becomes_alone(count: int, between: list[Object]) -> None:
    messages = [*exchange(count), *between, *exchange(count + 1)]
    assert sent(messages)["input"] == json.loads(json.dumps(said_one_by_one(messages)))


def test_a_long_conversation_has_passages_and_a_short_one_has_none() -> None:
    assert not [item for item in plan(chat(*exchange(A_ROW)), model=PLAIN).body["input"] if isinstance(item, Passage)]
    items = plan(chat(*exchange(10 * MOST)), model=PLAIN).body["input"]
    assert [item.length for item in items if isinstance(item, Passage)] == [MOST] * 9 + [MOST - A_ROW - 1]


WRONG = [
    {"role": "nobody", "content": "a"},
    {"role": ["user"], "content": "a"},
    {"content": "a", "x": 1},
    "ab",
    ["a", "b"],
    1,
    None,
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_what_makes_no_message_is_refused_where_it_stands(wrong: Any) -> None:
    refused = refusal(plan, chat(*exchange(3 * A_ROW), wrong))
    assert (refused.param or "").startswith(f"messages[{3 * A_ROW}]")


def test_half_a_surrogate_pair_elsewhere_goes_as_it_came() -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "half \ud83d"}}
    asked = parsed_object(json.dumps(chat(*exchange(3 * A_ROW), tools=[tool])).encode())
    body = json.loads(dumped(plan(asked, model=PLAIN).body))
    assert body["tools"][0]["description"] == "half \ud83d"
    assert body["input"] == said_one_by_one(exchange(3 * A_ROW))


def test_names_are_shortened_around_a_passage() -> None:
    calling = {**CALLING, "tool_calls": [{**CALLING["tool_calls"][0], "id": "c" * 70}]}
    messages = [*exchange(3 * A_ROW), calling, {**RESULT, "tool_call_id": "c" * 70}, *exchange(3 * A_ROW)]
    items = sent(messages)["input"]
    assert [len(item["call_id"]) for item in items if "call_id" in item] == [64, 64]
    assert [item for item in items if item["type"] == "message"] == said_one_by_one([*exchange(3 * A_ROW), *exchange(3 * A_ROW)])


def test_all_words_count_for_the_estimate_of_a_prompt() -> None:
    messages = exchange(3 * A_ROW)
    spoken = sum(len(said["content"]) for said in messages)
    assert plan(chat(*messages, max_tokens=5), model=PLAIN).answering.prompt_tokens == spoken // CHARACTERS_PER_TOKEN


@pytest.mark.parametrize(
    "opening", [[], exchange(1), [*exchange(1)] * (2 * A_ROW)], ids=["an answer", "a question", "many questions"]
)
def test_a_conversation_that_has_grown_long_is_still_the_same(opening: list[Object]) -> None:
    begun = [*opening, *exchange(3, start=1)]
    grown = [*begun, *exchange(5 * A_ROW)]
    first, later = (plan(chat(*messages), model=PLAIN).body for messages in (begun, grown))
    assert conversation_key("a client", first) == conversation_key("a client", later)
