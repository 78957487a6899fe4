"""The tokens of one answer, in the words of both dialects."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Usage:
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    total_tokens: int = 0
    model: str = ""
    """The model that upstream says it was, whatever the client called it."""
    estimated: bool = False
    """Upstream was cancelled before it could tell; counted by cutoff.py."""

    def __add__(self, other: "Usage") -> "Usage":
        """Of two answers together, of which the other one is the later."""
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.total_tokens + other.total_tokens,
            other.model or self.model,
            self.estimated or other.estimated,
        )

    def for_responses(self) -> dict[str, Any]:
        return {
            "input_tokens": self.input_tokens,
            "input_tokens_details": {"cached_tokens": self.cached_tokens, "cache_write_tokens": self.cache_write_tokens},
            "output_tokens": self.output_tokens,
            "output_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
            "total_tokens": self.total_tokens,
        }

    def for_chat(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.total_tokens,
            "prompt_tokens_details": {
                "cached_tokens": self.cached_tokens,
                "audio_tokens": 0,
                "cache_write_tokens": self.cache_write_tokens,
            },
            "completion_tokens_details": {
                "reasoning_tokens": self.reasoning_tokens,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }


def usage_of(response: Mapping[str, Any]) -> Usage | None:
    """What a response object of upstream's says, or None if it says nothing."""
    told = response.get("usage")
    if not isinstance(told, dict):
        return None
    heard, said, total = _counts(told, "input_tokens", "output_tokens", "total_tokens")
    cached, written = _counts(told.get("input_tokens_details"), "cached_tokens", "cache_write_tokens")
    (reasoning,) = _counts(told.get("output_tokens_details"), "reasoning_tokens")
    return Usage(heard, said, cached, written, reasoning, total or heard + said, model_of(response))


def usage_in(document: Mapping[str, Any]) -> Usage | None:
    """The same of a document in either dialect, a chunk of a chat or a list of embeddings, as the platform answers it."""
    told = document.get("usage")
    if not isinstance(told, dict) or "prompt_tokens" not in told:
        return usage_of(document)
    heard, said, total = _counts(told, "prompt_tokens", "completion_tokens", "total_tokens")
    cached, written = _counts(told.get("prompt_tokens_details"), "cached_tokens", "cache_write_tokens")
    (reasoning,) = _counts(told.get("completion_tokens_details"), "reasoning_tokens")
    return Usage(heard, said, cached, written, reasoning, total or heard + said, model_of(document))


def estimated_usage(response: Mapping[str, Any], prompt_tokens: int, said: int) -> Usage:
    return Usage(prompt_tokens, said, total_tokens=prompt_tokens + said, model=model_of(response), estimated=True)


def model_of(response: Mapping[str, Any]) -> str:
    model = response.get("model")
    return model if isinstance(model, str) else ""


def _counts(told: Any, *names: str) -> list[int]:
    if not isinstance(told, dict):
        return [0] * len(names)
    return [value if type(value := told.get(name)) is int else 0 for name in names]
