"""The messages of a Chat Completions request as input items of the Responses API: nothing said is lost, moved or joined.

System messages stay where they are, as the developer's. An assistant's text comes before its calls. Every call has to have its
result, as in both APIs; other messages may come between them, which OpenAI's Chat API does not allow and the backend does.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from addons.wire.chat_parts import assistant_parts, heard_parts
from addons.wire.input_items import message, says_json
from addons.wire.parameters import Edits, printable
from addons.wire.passage import SPEAKERS, Passage, passage_of, spoken
from addons.wire.plan import BadRequest
from addons.wire.refusals import expect, nothing_in, require, wrong_value

type Item = dict[str, Any]
type Message = Mapping[str, Any]

UNANSWERED = (
    "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
    "The following tool_call_ids did not have response messages: {}"
)
# The spelling is OpenAI's.
NOT_CALLED = "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
FUNCTION_UNANSWERED = "An assistant message with 'function_call' must be followed by a function message; '{}' has none."
FUNCTION_NOT_CALLED = "Invalid parameter: messages with role 'function' must be a response to a message with 'function_call'."
NO_CONTENT = "Invalid value for 'content': expected a string, got null."
NO_JSON = "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."

# By the type of a call: where Chat has what is said to the tool, and the types of the items.
CALLS = {
    "function": ("arguments", "function_call", "function_call_output"),
    "custom": ("input", "custom_tool_call", "custom_tool_call_output"),
}
# A call that says nothing says an empty object, if it is a function's.
EMPTY = {"function": "{}", "custom": ""}
# After so many that are a text and nothing else, an answer the first of them, more are to be expected: they make a passage.
A_ROW = 16
# What is read of a message. The name in a result is that of the call, which has told it; other names are speakers'.
MEMBERS = {
    "system": {"role", "content"},
    "developer": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "refusal", "tool_calls", "function_call"},
    "tool": {"role", "content", "tool_call_id", "name"},
    "function": {"role", "content", "name"},
}


def items_of(messages: list[Any], edits: Edits) -> list[Item | Passage]:
    """The items that say the same. Raises BadRequest where OpenAI's Chat API would refuse."""
    conversation = _Conversation(edits)
    say = conversation.items.append
    index = in_a_row = 0
    while index < len(messages):
        if in_a_row >= A_ROW:
            if passage := passage_of(messages, index):
                say(passage)
                index += passage.length
                continue
            in_a_row = 0
        said = messages[index]
        # One that is a text and nothing else: to look for what it could have besides takes five times as long.
        if type(said) is dict and len(said) == 2:
            role, content = said.get("role"), said.get("content")
            if type(role) is str and type(content) is str and role in SPEAKERS:
                say(spoken(role, content))
                index += 1
                if in_a_row or role == "assistant":
                    in_a_row += 1
                continue
        conversation.add(expect(said, (dict,), f"messages[{index}]"), f"messages[{index}]")
        index += 1
        in_a_row = 0
    conversation.end()
    return conversation.items


def check_says_json(messages: Iterable[Message]) -> None:
    """OpenAI's rule for `json_object`, in Chat's words."""
    if not any(says_json(said.get("content")) for said in messages):
        raise BadRequest(NO_JSON, "messages")


class _Conversation:
    def __init__(self, edits: Edits) -> None:
        self.items: list[Item | Passage] = []
        self._edits = edits
        # By call id, the type of the result that is awaited: Chat does not say in a result what kind of call it answers.
        self._awaited: dict[str, str] = {}
        # The functions of 2023 have no ids: those calls are counted, and one at a time is awaited.
        self._functions = 0
        self._function_awaited = ""

    def add(self, said: Message, at: str) -> None:
        role = require(said, "role", (str,), at)
        if role not in MEMBERS:
            raise wrong_value(role, tuple(MEMBERS), f"{at}.role")
        for name, value in said.items():
            if value and name not in MEMBERS[role]:
                self._leave_out(name, role)
        _BY_ROLE[role](self, said, at)

    def end(self) -> None:
        if self._awaited:
            raise BadRequest(UNANSWERED.format(", ".join(self._awaited)), "messages")
        if self._function_awaited:
            raise BadRequest(FUNCTION_UNANSWERED.format(self._function_awaited), "messages")

    def _leave_out(self, name: str, role: str) -> None:
        what = f"messages[].{printable(name)}"
        if role == "assistant" and name != "name":
            self._edits.drop_echo(what, "a part of an earlier answer that the backend does not take back")
        else:
            self._edits.drop(what, "a message has no such thing at the backend")

    def heard(self, said: Message, at: str) -> None:
        role = "user" if said["role"] == "user" else "developer"
        self.items.append(message(role, heard_parts(_content(said, at), f"{at}.content", self._edits)))

    def assistant(self, said: Message, at: str) -> None:
        calls = expect(said.get("tool_calls") or [], (list,), f"{at}.tool_calls")
        legacy = said.get("function_call")
        if said.get("content") or said.get("refusal") or not (calls or legacy):
            self.items.append(message("assistant", self._spoken(said, at)))
        for index, call in enumerate(calls):
            self._call(expect(call, (dict,), f"{at}.tool_calls[{index}]"), f"{at}.tool_calls[{index}]")
        if legacy:
            self._legacy_call(expect(legacy, (dict,), f"{at}.function_call"), f"{at}.function_call")

    def _spoken(self, said: Message, at: str) -> list[Item]:
        spoken = []
        if said.get("content") or not said.get("refusal"):
            spoken = assistant_parts(_content(said, at), f"{at}.content", self._edits)
        if said.get("refusal"):
            spoken.append({"type": "refusal", "refusal": require(said, "refusal", (str,), at)})
        return spoken

    def _call(self, call: Message, at: str) -> None:
        kind = expect(call.get("type") or "function", (str,), f"{at}.type")
        if kind not in CALLS:
            raise wrong_value(kind, tuple(CALLS), f"{at}.type")
        told, called, answered = CALLS[kind]
        call_id = require(call, "id", (str,), at)
        definition = require(call, kind, (dict,), at)
        name = require(definition, "name", (str,), f"{at}.{kind}")
        words = expect(definition.get(told) or "", (str,), f"{at}.{kind}.{told}")
        if call_id in self._awaited:
            raise BadRequest(UNANSWERED.format(call_id), at)
        self._awaited[call_id] = answered
        self.items.append({"type": called, "call_id": call_id, "name": name, told: words or EMPTY[kind]})

    def result(self, said: Message, at: str) -> None:
        call_id = require(said, "tool_call_id", (str,), at)
        if call_id not in self._awaited:
            raise BadRequest(NOT_CALLED, f"{at}.role")
        self._answer(self._awaited.pop(call_id), call_id, said, at)

    def _legacy_call(self, call: Message, at: str) -> None:
        if self._function_awaited:
            raise BadRequest(FUNCTION_UNANSWERED.format(self._function_awaited), at)
        name = require(call, "name", (str,), at)
        words = expect(call.get("arguments") or EMPTY["function"], (str,), f"{at}.arguments")
        self._function_awaited = name
        self.items.append({"type": "function_call", "call_id": self._legacy_id(), "name": name, "arguments": words})

    def legacy_result(self, said: Message, at: str) -> None:
        if not self._function_awaited:
            raise BadRequest(FUNCTION_NOT_CALLED, f"{at}.role")
        self._answer("function_call_output", self._legacy_id(), said, at)
        self._function_awaited = ""
        self._functions += 1

    def _legacy_id(self) -> str:
        return f"call_function_{self._functions}"

    def _answer(self, kind: str, call_id: str, said: Message, at: str) -> None:
        content = said.get("content")
        if content is None:
            raise BadRequest(NO_CONTENT, f"{at}.content")
        # Pictures and files stay what they are; as text they would be read as base64.
        output = heard_parts(content, f"{at}.content", self._edits) if isinstance(content, list) and content else content or ""
        self.items.append({"type": kind, "call_id": call_id, "output": expect(output, (str, list), f"{at}.content")})


def _content(said: Message, at: str) -> str | list[Any]:
    content: str | list[Any] | None = said.get("content")
    if content is None:
        raise BadRequest(NO_CONTENT, f"{at}.content")
    if content == []:
        raise nothing_in(f"{at}.content")
    return expect(content, (str, list), f"{at}.content")


_BY_ROLE: dict[str, Callable[[_Conversation, Message, str], None]] = {
    "system": _Conversation.heard,
    "developer": _Conversation.heard,
    "user": _Conversation.heard,
    "assistant": _Conversation.assistant,
    "tool": _Conversation.result,
    "function": _Conversation.legacy_result,
}
