"""What the model says: a pure function of what it was told, so that a test can know the answer before it asks.

It reads the last thing that happened. A tool's result is repeated ("Tool said: ..."). Otherwise the last user text decides:

    call NAME {json}     for each such phrase, a call of that tool if it was offered (a custom tool gets the rest of the line)
    say reasoning        a reasoning item comes first
    say 500 words        that many words
    refuse this          a refusal
    anything else        "You said: ..."; as JSON if the request wants JSON: the first object in the text, or {"said": text}
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import orjson

CALL = re.compile(r"\bcall ([A-Za-z0-9_.-]+)[ \t]*")
WORDS = re.compile(r"\bsay (\d+) words\b")


@dataclass(frozen=True)
class Prompt:
    text: str = ""
    tool_result: str | None = None
    tools: Mapping[str, Literal["function", "custom"]] = field(default_factory=dict)
    wants_json: bool = False
    length: int = 0


@dataclass(frozen=True)
class Reasoning:
    summary: str


@dataclass(frozen=True)
class Message:
    text: str
    refusal: bool = False


@dataclass(frozen=True)
class Call:
    name: str
    arguments: str
    kind: Literal["function", "custom"] = "function"


type Utterance = Reasoning | Message | Call


def speak(prompt: Prompt) -> list[Utterance]:
    said: list[Utterance] = [Reasoning("Thinking about what was said.")] if "say reasoning" in prompt.text else []
    if prompt.tool_result is not None:
        return [*said, Message(f"Tool said: {prompt.tool_result}")]
    calls = list(_calls(prompt))
    return [*said, *calls] if calls else [*said, _message(prompt)]


def pieces(text: str) -> list[str]:
    """The text as deltas: word by word, the blank before a word belonging to it."""
    return re.findall(r"\s*\S+|\s+$", text)


@dataclass(frozen=True)
class TokenCounts:
    """Words for tokens: wrong as a count, right as arithmetic. What was reasoned is part of what was said."""

    heard: int
    said: int
    reasoned: int


def token_counts(prompt: Prompt, said: Sequence[Utterance]) -> TokenCounts:
    reasoned = sum(len(pieces(u.summary)) for u in said if isinstance(u, Reasoning))
    spoken = sum(len(pieces(u.text)) for u in said if isinstance(u, Message))
    called = sum(len(pieces(u.arguments)) for u in said if isinstance(u, Call))
    return TokenCounts(heard=prompt.length, said=reasoned + spoken + called, reasoned=reasoned)


def _message(prompt: Prompt) -> Message:
    if "refuse this" in prompt.text:
        return Message("I cannot help with that.", refusal=True)
    if prompt.wants_json:
        literal = _object_at(prompt.text, prompt.text.find("{"))
        return Message(literal or orjson.dumps({"said": prompt.text}).decode())
    if words := WORDS.search(prompt.text):
        return Message(" ".join(f"word{n}" for n in range(int(words[1]))))
    return Message(f"You said: {prompt.text}")


def _calls(prompt: Prompt) -> Iterator[Call]:
    for match in CALL.finditer(prompt.text):
        name, rest = match[1], match.end()
        kind = prompt.tools.get(name)
        if kind == "function":
            yield Call(name, _object_at(prompt.text, rest) or "{}")
        elif kind == "custom":
            yield Call(name, prompt.text[rest:].partition("\n")[0], "custom")


def _object_at(text: str, start: int) -> str | None:
    """The JSON object that begins at `start`, as it is written there."""
    if start < 0 or not text.startswith("{", start):
        return None
    for end in (m.end() for m in re.finditer("}", text)):
        if end > start:
            try:
                orjson.loads(text[start:end])
            except orjson.JSONDecodeError:
                continue
            return text[start:end]
    return None
