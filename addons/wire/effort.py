"""How hard a model is to think: what the client asks for, brought to what the model knows."""

from collections.abc import Sequence

from addons.wire.parameters import Edits

# From least to most. `minimal` is of the platform alone, `ultra` of the catalog alone: the Codex CLI sends it as `max`.
LEVELS = ("none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra")
SENT_AS = {"ultra": "max"}


def decide(asked: str | None, named: str | None, supported: Sequence[str], edits: Edits) -> str | None:
    """`named` comes with the model's name and holds: nobody writes it by chance, while `asked` may be a client's default."""
    wanted = named or asked
    sent = fit(wanted, supported) if wanted else None
    if sent != asked:
        why = f"{named} comes with the model's name" if named else "the nearest one that this model has"
        edits.add("mapped", "reasoning.effort", f"{sent}: {why}")
    return sent


def fit(wanted: str, supported: Sequence[str]) -> str:
    """The supported level that is nearest, and of two the lower; a word or a model that is not known here is upstream's to judge.

    Every model takes `none`, and nothing else becomes it: who asks for little thinking does not ask for no thinking.
    """
    known = [level for level in LEVELS if level in supported and level != "none"]
    if wanted != "none" and wanted in LEVELS and known:
        wanted = min(known, key=lambda level: abs(LEVELS.index(level) - LEVELS.index(wanted)))
    return SENT_AS.get(wanted, wanted)
