"""What a client's request becomes, and what the side of the answer has to remember of it."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Dialect = Literal["responses", "chat"]
Verb = Literal["added", "dropped", "emulated", "forced", "mapped"]


class Edit(NamedTuple):
    """One change to the client's request. `what` is a parameter or a place in the body, `why` a sentence for `explain`."""

    verb: Verb
    what: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.what}"


class BadRequest(ValueError):
    """The client's fault; becomes a 400 that names the parameter."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


class Answering(NamedTuple):
    """What shapes the answer: the client's own words, and what was promised in the backend's stead."""

    dialect: Dialect
    stream: bool
    model: str
    """As the client wrote it; the answer repeats it."""
    echo: Mapping[str, Any] = {}
    """Responses only: the client's own parameters, as every response object repeats them."""
    max_output_tokens: int | None = None
    stop: tuple[str, ...] = ()
    tool_names: Mapping[str, str] = {}
    """The backend's name to the client's, for those that had to be shortened."""
    call_ids: Mapping[str, str] = {}
    """The same for call ids."""
    include_usage: bool = False
    legacy_functions: bool = False
    custom_tools: bool = False
    show_reasoning: bool = True
    show_annotations: bool = True
    """False for a client that cannot read them (nanobot: objects among `annotations` make the whole answer undecodable)."""
    prompt_tokens: int = 0
    """An estimate, for the usage of an answer that is cut here: upstream is cancelled before it can tell."""


class Plan(NamedTuple):
    body: dict[str, Any]
    """For the backend. Among its items may be passages (passage.py)."""
    edits: tuple[Edit, ...]
    answering: Answering
    headers: Mapping[str, str] = {}
    """Further headers for the backend."""
