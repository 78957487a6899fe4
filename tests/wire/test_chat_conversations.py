"""A random conversation, from Chat to Responses, keeps every text, call id, name and argument, and their order."""

from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from addons.wire.chat_request import plan
from addons.wire.models import Resolved
from tests.fakes.chat import check_chat
from tests.wire.asking import BOTH, Object, planned
from tests.wire.talking import chat

words = st.text(st.characters(codec=None), max_size=30) | st.sampled_from(["a\u2028b\u0085c", "\ud83d", "👩‍🚀", " ", "\x00"])
urls = st.text("abc:/,", min_size=1, max_size=9)
text_part = st.builds(lambda text: {"type": "text", "text": text}, words)
image_part = st.builds(lambda url: {"type": "image_url", "image_url": {"url": url, "detail": "high"}}, urls)
file_part = st.builds(lambda data: {"type": "file", "file": {"file_data": data, "filename": "a.pdf"}}, urls)
content = words | st.lists(text_part | image_part | file_part, min_size=1, max_size=3)
names = st.text("ab_-. é", min_size=1, max_size=80)

ARGUMENT = {"function": "arguments", "custom": "input"}


@st.composite
def conversations(draw: st.DrawFn) -> list[Object]:
    messages: list[Object] = []
    for turn in range(draw(st.integers(1, 4))):
        messages.append({"role": draw(st.sampled_from(["system", "developer", "user"])), "content": draw(content)})
        calls: list[Object] = []
        for index in range(draw(st.integers(0, 3))):
            kind = draw(st.sampled_from(sorted(ARGUMENT)))
            definition = {"name": draw(names), ARGUMENT[kind]: draw(words.filter(bool))}
            calls.append({"id": f"{turn}.{index}{draw(st.text(max_size=80))}", "type": kind, kind: definition})
        spoken = draw(words | st.lists(text_part, min_size=1, max_size=2))
        messages.append({"role": "assistant", "content": spoken, **({"tool_calls": calls} if calls else {})})
        for called in draw(st.permutations(calls)):
            messages.append({"role": "tool", "tool_call_id": called["id"], "content": draw(content)})
    return messages


type Told = tuple[Any, ...]


def told_in_chat(messages: list[Object]) -> Iterator[Told]:
    for message in messages:
        calls = message.get("tool_calls", [])
        role = message["role"]
        who = "developer" if role == "system" else message["tool_call_id"] if role == "tool" else role
        if message["content"] or not calls:
            yield from ((who, *told_in_part(part)) for part in parts_of(message["content"]))
        for called in calls:
            definition = called[called["type"]]
            yield called["id"], called["type"], definition["name"], definition[ARGUMENT[called["type"]]]


def told_in_items(items: list[Object], names: Any, ids: Any) -> Iterator[Told]:
    for item in items:
        call_id = ids.get(item.get("call_id"), item.get("call_id"))
        match item["type"]:
            case "message":
                yield from ((item["role"], *told_in_part(part)) for part in parts_of(item["content"]))
            case "function_call":
                yield call_id, "function", names.get(item["name"], item["name"]), item["arguments"]
            case "custom_tool_call":
                yield call_id, "custom", names.get(item["name"], item["name"]), item["input"]
            case _:
                yield from ((call_id, *told_in_part(part)) for part in parts_of(item["output"]))


def parts_of(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def told_in_part(part: Object) -> Told:
    match part["type"].removeprefix("input_").removeprefix("output_"):
        case "text":
            return "text", part["text"]
        case "image_url":
            return "image", part["image_url"]["url"], part["image_url"]["detail"]
        case "image":
            return "image", part["image_url"], part["detail"]
    file = part.get("file", part)
    return "file", file["filename"], file["file_data"]


@BOTH
@settings(deadline=None)
@given(messages=conversations())
def test_a_conversation_keeps_what_was_said_and_in_which_order(model: Resolved, messages: list[Object]) -> None:
    check_chat(chat(*messages))  # as OpenAI would take it
    made = planned(plan, chat(*messages), model)
    told = told_in_items(made.body["input"], made.answering.tool_names, made.answering.call_ids)
    assert list(told) == list(told_in_chat(messages))
