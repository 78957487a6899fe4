"""Which models there are, on the Codex backend (the bundled catalog of Codex CLI 0.169) and on the platform."""

from dataclasses import dataclass
from typing import Any

EFFORTS = ("low", "medium", "high", "xhigh")


@dataclass(frozen=True)
class Model:
    slug: str
    name: str
    lite: bool = True
    listed: bool = True
    efforts: tuple[str, ...] = EFFORTS

    def info(self, priority: int) -> dict[str, Any]:
        """ModelInfo as `GET /models` gives it: every field without a default in the CLI, and those that proxies read."""
        return {
            "slug": self.slug,
            "display_name": self.name,
            "description": f"{self.name}.",
            "base_instructions": f"You are {self.name}.",
            "default_reasoning_level": "medium",
            "supported_reasoning_levels": [{"effort": effort, "description": effort} for effort in self.efforts],
            "shell_type": "shell_command",
            "visibility": "list" if self.listed else "hide",
            "supported_in_api": True,
            "priority": priority,
            "support_verbosity": True,
            "default_verbosity": "low",
            "truncation_policy": {"mode": "tokens", "limit": 10000},
            "experimental_supported_tools": [],
            "supports_parallel_tool_calls": True,
            "use_responses_lite": self.lite,
            "context_window": 272000,
            "service_tiers": [{"id": "priority", "name": "Fast", "description": "Faster answers, more usage"}],
        }


MODELS = (
    Model("gpt-6.1-sol", "GPT-6.1 Sol", efforts=(*EFFORTS, "max", "ultra")),
    Model("gpt-6-astra", "GPT-6 Astra", efforts=(*EFFORTS, "max")),
    Model("gpt-6.1-terra", "GPT-6.1 Terra"),
    Model("gpt-6-sol", "GPT-6 Sol"),
    Model("gpt-6-luna", "GPT-6 Luna"),
    Model("gpt-5.6-sol", "GPT-5.6 Sol"),
    Model("gpt-5.6-terra", "GPT-5.6 Terra"),
    Model("gpt-5.6-luna", "GPT-5.6 Luna"),
    Model("gpt-5.5", "GPT-5.5", lite=False),
    Model("gpt-daybreak-blue-latest", "Daybreak Blue", listed=False),
    Model("gpt-daybreak-red-latest", "Daybreak Red", listed=False),
    Model("codex-auto-review", "Codex Auto Review", listed=False),
)

PLATFORM_MODELS = (
    "gpt-6.1-sol",
    "gpt-6-luna",
    "gpt-5.5",
    "gpt-5-mini",
    "gpt-4.1-nano",
    "gpt-4o-mini",
    "text-embedding-3-small",
)


def available(slugs: list[str]) -> list[Model]:
    """The models of a plan that gets these slugs; no slugs means all. A slug outside the catalog is taken as a lite model."""
    if not slugs:
        return list(MODELS)
    known = {model.slug: model for model in MODELS}
    return [known.get(slug) or Model(slug, slug) for slug in slugs]
