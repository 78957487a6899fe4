"""Which models there are by the backend's own list, how they are shown to an OpenAI client, and which of them a name means."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from addons.wire import effort
from addons.wire.aliases import Aliases
from addons.wire.plan import BadRequest, Edit

# The live list has a dozen. The bound is against a document that is not one.
MAX_MODELS = 1000
MAX_NAME = 200
# Names that are remembered. Clients make up others at will, and each new list of models makes the old ones useless.
MAX_FOUND = 200
# OpenAI's clients want an integer; the backend's list has no date. 2026-01-01.
CREATED = 1767225600
OWNER = "openai"

GENERATION = re.compile(r"(?P<generation>.*?\d+(?:\.\d+)*)(?:-(?P<size>.+))?")
SNAPSHOT = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|latest)$")


class Model(NamedTuple):
    slug: str
    listed: bool = True
    efforts: tuple[str, ...] = ()
    lite: bool = False


class Catalog(NamedTuple):
    """In the order in which OpenAI offers them: by `priority`, least first."""

    models: tuple[Model, ...] = ()

    def get(self, slug: str) -> Model | None:
        return next((model for model in self.models if model.slug == slug), None)

    def listed(self) -> list[Model]:
        return [model for model in self.models if model.listed]


class Resolved(NamedTuple):
    """What a model's name comes down to. `efforts` is empty for a model that the catalog does not know."""

    slug: str
    effort: str | None = None
    lite: bool = False
    edits: tuple[Edit, ...] = ()
    efforts: tuple[str, ...] = ()


def parse_catalog(document: Any) -> Catalog:
    """The answer of `GET /models`. An entry without a usable slug is passed over. Raises ValueError if there is no list at all."""
    entries = document.get("models") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("the list of models is not of the form {'models': [...]}")
    ranked = sorted(filter(_has_slug, entries[:MAX_MODELS]), key=_priority)
    models: dict[str, Model] = {}
    for entry in ranked:
        models.setdefault(entry["slug"], _model(entry))
    return Catalog(tuple(models.values()))


def model_name(body: Mapping[str, Any]) -> str:
    """The `model` of a request. Raises BadRequest in OpenAI's words."""
    name = body.get("model")
    if not name:
        raise BadRequest("you must provide a model parameter", "model", "missing_required_parameter")
    if not isinstance(name, str) or len(name) > MAX_NAME:
        raise BadRequest(f"Invalid 'model': expected a string of at most {MAX_NAME} characters.", "model", "invalid_value")
    return name


def resolve(name: str, aliases: Aliases, catalog: Catalog) -> Resolved:
    """Aliases first, then the catalog, also under other spellings; a name that nobody knows goes upstream as it is."""
    spellings = _spellings(name)
    if (target := aliases.target(spellings)) and (found := _target(target, catalog)):
        return _resolved(*found, name, f"{name} is an alias of {target}")
    for spelling in spellings:
        if found := _known(spelling, catalog):
            return _resolved(*found, name, f"{name} is taken for {found[0].slug}")
    return Resolved(name)


class Names:
    """`resolve`, with what it has found before: to find the few names of every day anew was 1 % of each short call."""

    def __init__(self) -> None:
        # By the name and which aliases and catalog it was looked for in; these are kept, so that no others can have their ids.
        self.found: dict[tuple[str, int, int], tuple[Resolved, Aliases, Catalog]] = {}

    def resolve(self, name: str, aliases: Aliases, catalog: Catalog) -> Resolved:
        asked = name, id(aliases), id(catalog)
        found = self.found.get(asked)
        if found is None:
            if len(self.found) >= MAX_FOUND:
                self.found.clear()
            found = self.found[asked] = resolve(name, aliases, catalog), aliases, catalog
        return found[0]


def smallest(catalog: Catalog) -> Model | None:
    """The newest model of the smallest size, as far as the list tells.

    It has no field for size. But within one generation (`gpt-5.6-sol`, `-terra`, `-luna`) models are offered from large to small,
    so a size after which no other ever comes is the smallest. A generation of one says nothing, and if none says anything, the
    model offered last is taken. Where that goes wrong, an alias can name the model itself.
    """
    listed = catalog.listed()
    sizes: dict[str, list[str]] = {}
    for model in listed:
        generation, size = _generation(model.slug)
        sizes.setdefault(generation, []).append(size)
    families = {generation: family for generation, family in sizes.items() if len(family) > 1}
    larger = {size for family in families.values() for size in family[:-1]}
    for model in listed:
        generation, size = _generation(model.slug)
        if generation in families and size not in larger:
            return model
    return listed[-1] if listed else None


def list_document(catalog: Catalog) -> dict[str, Any]:
    """`GET /v1/models`: the models as they are, then each with its levels of reasoning effort."""
    listed = catalog.listed()
    names = [*(model.slug for model in listed), *(f"{model.slug}-{level}" for model in listed for level in model.efforts)]
    return {"object": "list", "data": [_document(name) for name in names]}


def model_document(name: str, aliases: Aliases, catalog: Catalog) -> dict[str, Any] | None:
    """`GET /v1/models/{name}`, for every name that a request may have; None is a 404."""
    known = catalog.get(resolve(name, aliases, catalog).slug)
    return _document(name) if known else None


def _document(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": OWNER}


def _has_slug(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("slug"), str) and 0 < len(entry["slug"]) <= MAX_NAME


def _priority(entry: Mapping[str, Any]) -> float:
    priority = entry.get("priority")
    return priority if isinstance(priority, int | float) else float("inf")


def _model(entry: Mapping[str, Any]) -> Model:
    return Model(
        slug=entry["slug"],
        listed=entry.get("visibility") in (None, "list"),
        efforts=tuple(_levels(entry.get("supported_reasoning_levels"))),
        lite=entry.get("use_responses_lite") is True,
    )


def _levels(levels: Any) -> Iterable[str]:
    """Objects with an `effort` in the live list; plain words are understood too."""
    for level in levels if isinstance(levels, list) else []:
        word = level.get("effort") if isinstance(level, dict) else level
        if isinstance(word, str) and word in effort.LEVELS:
            yield word


def _spellings(name: str) -> list[str]:
    """As given, then without what gateways and clients add: `openai/`, a date, capitals."""
    bare = name.rpartition("/")[2].lower()
    return list(dict.fromkeys([name, bare, SNAPSHOT.sub("", bare)]))


def _known(name: str, catalog: Catalog) -> tuple[Model, str | None] | None:
    """A slug, or a slug with one of its model's efforts behind it."""
    if model := catalog.get(name):
        return model, None
    base, _, level = name.rpartition("-")
    model = catalog.get(base)
    return (model, level) if model and level in model.efforts else None


def _target(target: str, catalog: Catalog) -> tuple[Model, str | None] | None:
    if target.startswith("@"):
        model = smallest(catalog) if target == "@smallest" else next(iter(catalog.listed()), None)
        return (model, None) if model else None
    # What the list does not have may still be there: hidden models are.
    return _known(target, catalog) or (Model(target), None)


def _resolved(model: Model, level: str | None, name: str, why: str) -> Resolved:
    edits = (Edit("mapped", "model", why),) if model.slug != name else ()
    return Resolved(model.slug, level, model.lite, edits, model.efforts)


def _generation(slug: str) -> tuple[str, str]:
    match = GENERATION.fullmatch(slug)
    return (match["generation"], match["size"] or "") if match else (slug, "")
