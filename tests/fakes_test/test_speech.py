"""What the model says."""

from typing import Literal

import pytest

from tests.fakes.speech import Call, Message, Prompt, Reasoning, Utterance, pieces, speak

TOOLS: dict[str, Literal["function", "custom"]] = {"lookup": "function", "patch": "custom"}


@pytest.mark.parametrize(
    "prompt, said",
    [
        (Prompt("hello there"), [Message("You said: hello there")]),
        (Prompt("say reasoning"), [Reasoning("Thinking about what was said."), Message("You said: say reasoning")]),
        (Prompt("say 3 words"), [Message("word0 word1 word2")]),
        (Prompt("refuse this"), [Message("I cannot help with that.", refusal=True)]),
        # Calls: of what was offered, with the object that follows, however deep
        (Prompt("call lookup {}"), [Message("You said: call lookup {}")]),
        (Prompt('call lookup {"a": {"b": "}"}} now', tools=TOOLS), [Call("lookup", '{"a": {"b": "}"}}')]),
        (Prompt("call lookup", tools=TOOLS), [Call("lookup", "{}")]),
        (Prompt("call patch *** begin\nrest", tools=TOOLS), [Call("patch", "*** begin", "custom")]),
        (Prompt("call lookup {}", tool_result="42", tools=TOOLS), [Message("Tool said: 42")]),
        # JSON
        (Prompt('say {"n": 1} please', wants_json=True), [Message('{"n": 1}')]),
        (Prompt("no object", wants_json=True), [Message('{"said":"no object"}')]),
    ],
)
def test_speak(prompt: Prompt, said: list[Utterance]) -> None:
    assert speak(prompt) == said


@pytest.mark.parametrize("text", ["", "one", "one two", "  led by blanks", "trailed \n", "line\u2028separator in a word"])
def test_pieces_are_the_whole_text(text: str) -> None:
    assert "".join(pieces(text)) == text
