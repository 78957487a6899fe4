from typing import Any

import pytest

from addons.wire.aliases import NO_ALIASES, validate_aliases
from addons.wire.models import (
    CREATED,
    MAX_FOUND,
    MAX_MODELS,
    Catalog,
    Model,
    Names,
    list_document,
    model_document,
    parse_catalog,
    resolve,
    smallest,
)
from tests.fakes.catalog import MODELS
from tests.wire.asking import CATALOG

EFFORTS = ("low", "medium", "high", "xhigh")


def listing(*slugs: str) -> Catalog:
    return Catalog(tuple(Model(slug) for slug in slugs))


def test_the_backends_list_is_read() -> None:
    assert [model.slug for model in CATALOG.models] == [model.slug for model in MODELS]
    assert [model.slug for model in CATALOG.listed()] == [model.slug for model in MODELS if model.listed]
    assert CATALOG.get("gpt-5.5") == Model("gpt-5.5", True, EFFORTS, False)
    assert CATALOG.get("gpt-6.1-sol") == Model("gpt-6.1-sol", True, (*EFFORTS, "max", "ultra"), True)
    assert CATALOG.get("codex-auto-review") == Model("codex-auto-review", False, EFFORTS, True)


ENTRIES: dict[str, tuple[list[Any], list[Model]]] = {
    "only a slug": ([{"slug": "a"}], [Model("a")]),
    "nulls": ([{"slug": "a", "visibility": None, "supported_reasoning_levels": None, "priority": None}], [Model("a")]),
    "by priority, then as listed": (
        [{"slug": "a", "priority": 3}, {"slug": "b"}, {"slug": "c", "priority": 1}, {"slug": "d", "priority": 1}],
        [Model("c"), Model("d"), Model("a"), Model("b")],
    ),
    "twice": ([{"slug": "a", "priority": 2, "visibility": "hide"}, {"slug": "a", "priority": 1}], [Model("a")]),
    "hidden": ([{"slug": "a", "visibility": "none"}], [Model("a", listed=False)]),
    "levels as words": ([{"slug": "a", "supported_reasoning_levels": ["low", "silly", 3]}], [Model("a", efforts=("low",))]),
    "not a model": ([None, 1, "a", {}, {"slug": ""}, {"slug": 5}, {"slug": "x" * 201}, {"slug": "b"}], [Model("b")]),
    "without end": ([{"slug": f"m{i}"} for i in range(5000)], [Model(f"m{i}") for i in range(MAX_MODELS)]),
}


@pytest.mark.parametrize(("entries", "models"), ENTRIES.values(), ids=ENTRIES)
def test_what_is_missing_in_an_entry_is_no_harm(entries: list[Any], models: list[Model]) -> None:
    assert parse_catalog({"models": entries}) == Catalog(tuple(models))


@pytest.mark.parametrize("document", [None, [], "x", {}, {"models": None}, {"models": {}}], ids=str)
def test_what_is_no_list_at_all_is_an_error(document: Any) -> None:
    with pytest.raises(ValueError, match="list of models"):
        parse_catalog(document)


SMALLEST: dict[str, tuple[Catalog, str | None]] = {
    "of the fake": (CATALOG, "gpt-6-luna"),
    "of one family": (listing("gpt-7-big", "gpt-7-mid", "gpt-7-tiny"), "gpt-7-tiny"),
    "known from an older family": (listing("gpt-7-big", "gpt-7-mid", "gpt-6-big", "gpt-6-mid", "gpt-6-tiny"), "gpt-6-tiny"),
    "older model on its own": (listing("gpt-7-big", "gpt-7-tiny", "gpt-6"), "gpt-7-tiny"),
    "bare name and a smaller one": (listing("gpt-5.1", "gpt-5.1-mini"), "gpt-5.1-mini"),
    "no family": (listing("gpt-7", "gpt-6"), "gpt-6"),
    "no generation": (listing("alpha", "beta"), "beta"),
    "contradiction": (listing("gpt-7-a", "gpt-7-b", "gpt-6-b", "gpt-6-a"), "gpt-6-a"),
    "one": (listing("a"), "a"),
    "none": (Catalog(), None),
    "all hidden": (Catalog((Model("a", listed=False),)), None),
}


@pytest.mark.parametrize(("catalog", "slug"), SMALLEST.values(), ids=SMALLEST)
def test_the_smallest_model_of_the_list(catalog: Catalog, slug: str | None) -> None:
    found = smallest(catalog)
    assert (found and found.slug) == slug


def test_no_model_is_named_in_the_product() -> None:
    renamed = Catalog(tuple(Model(model.slug.replace("gpt", "zzz").replace("luna", "moon")) for model in CATALOG.models))
    assert smallest(renamed) == Model("zzz-6-moon")


ALIASES, _ = validate_aliases(
    {
        "gpt-4.1-nano": "@smallest",
        "/gpt-4.*/": "@default",
        "/gpt-4o.*/": "gpt-5.5",
        "fast": "gpt-5.5-low",
        "/hidden-(a|b)/": "codex-auto-review",
        "elsewhere": "not-on-the-list",
        "gpt-6-sol": "gpt-5.5",
    }
)

# What is asked for; then the model, the effort, whether it is lite, and whether that is told.
NAMES: dict[str, tuple[str, str | None, bool, bool]] = {
    "gpt-5.5": ("gpt-5.5", None, False, False),
    "gpt-6-luna": ("gpt-6-luna", None, True, False),
    "codex-auto-review": ("codex-auto-review", None, True, False),
    "gpt-6-luna-high": ("gpt-6-luna", "high", True, True),
    "gpt-6.1-sol-ultra": ("gpt-6.1-sol", "ultra", True, True),
    "gpt-6-luna-ultra": ("gpt-6-luna-ultra", None, False, False),
    "gpt-6-luna-2026-08-01": ("gpt-6-luna", None, True, True),
    "gpt-6-luna-latest": ("gpt-6-luna", None, True, True),
    "gpt-daybreak-blue-latest": ("gpt-daybreak-blue-latest", None, True, False),
    "openai/gpt-6-luna-high": ("gpt-6-luna", "high", True, True),
    "openrouter/openai/gpt-5.5": ("gpt-5.5", None, False, True),
    "GPT-5.5": ("gpt-5.5", None, False, True),
    "gpt-4.1-nano": ("gpt-6-luna", None, True, True),
    "openai/gpt-4.1-nano": ("gpt-6-luna", None, True, True),
    "gpt-4.1-nano-2025-04-14": ("gpt-6-luna", None, True, True),
    "gpt-4o": ("gpt-6.1-sol", None, True, True),
    "fast": ("gpt-5.5", "low", False, True),
    "hidden-b": ("codex-auto-review", None, True, True),
    "hidden-c": ("hidden-c", None, False, False),
    "elsewhere": ("not-on-the-list", None, False, True),
    "gpt-6-sol": ("gpt-5.5", None, False, True),
    "o9-preview": ("o9-preview", None, False, False),
    "acme/model": ("acme/model", None, False, False),
    "-high": ("-high", None, False, False),
    "/": ("/", None, False, False),
}


@pytest.mark.parametrize(("name", "expected"), NAMES.items(), ids=NAMES)
def test_what_a_name_means(name: str, expected: tuple[str, str | None, bool, bool]) -> None:
    resolved = resolve(name, ALIASES, CATALOG)
    told = [(edit.verb, edit.what) for edit in resolved.edits]
    assert (resolved.slug, resolved.effort, resolved.lite, told) == (*expected[:3], [("mapped", "model")] * expected[3])


def test_what_is_told_names_both() -> None:
    assert [edit.why for edit in resolve("fast", ALIASES, CATALOG).edits] == ["fast is an alias of gpt-5.5-low"]
    assert [edit.why for edit in resolve("GPT-5.5", NO_ALIASES, CATALOG).edits] == ["GPT-5.5 is taken for gpt-5.5"]


def test_a_name_means_what_the_aliases_and_the_list_of_the_moment_say() -> None:
    names = Names()
    others, _ = validate_aliases({"fast": "gpt-5.5"})
    for _ in range(2):
        assert names.resolve("fast", ALIASES, CATALOG) == resolve("fast", ALIASES, CATALOG)
        assert names.resolve("fast", others, CATALOG) == resolve("fast", others, CATALOG)
        assert names.resolve("fast", NO_ALIASES, CATALOG) == resolve("fast", NO_ALIASES, CATALOG)
        assert names.resolve("GPT-5.5", NO_ALIASES, Catalog()).slug == "GPT-5.5"
        assert names.resolve("GPT-5.5", NO_ALIASES, CATALOG).slug == "gpt-5.5"


def test_names_that_somebody_makes_up_are_not_all_remembered() -> None:
    names = Names()
    for number in range(3 * MAX_FOUND):
        assert names.resolve(f"made-up-{number}", NO_ALIASES, CATALOG).slug == f"made-up-{number}"
        assert len(names.found) <= MAX_FOUND
    assert names.resolve("gpt-5.5", NO_ALIASES, CATALOG).slug == "gpt-5.5"


@pytest.mark.parametrize("name", ["gpt-4.1-nano", "gpt-5.5", "gpt-5.5-high", "x"])
def test_without_a_list_names_go_as_they_are_but_for_aliases_of_models(name: str) -> None:
    assert resolve(name, ALIASES, Catalog()).slug == name
    assert resolve("elsewhere", ALIASES, Catalog()).slug == "not-on-the-list"


def test_the_documents_are_openais() -> None:
    document = list_document(CATALOG)
    names = [entry["id"] for entry in document["data"]]
    assert document["object"] == "list"
    assert names[:9] == [model.slug for model in CATALOG.listed()]
    assert names[9:12] == ["gpt-6.1-sol-low", "gpt-6.1-sol-medium", "gpt-6.1-sol-high"]
    assert document["data"][0] == {"id": "gpt-6.1-sol", "object": "model", "created": CREATED, "owned_by": "openai"}
    assert len(set(names)) == len(names) and not any("codex-auto" in name for name in names)
    assert list_document(Catalog()) == {"object": "list", "data": []}


def test_every_listed_name_can_be_asked_for() -> None:
    for entry in list_document(CATALOG)["data"]:
        assert model_document(entry["id"], NO_ALIASES, CATALOG) == entry
        assert CATALOG.get(resolve(entry["id"], NO_ALIASES, CATALOG).slug)


@pytest.mark.parametrize(
    ("name", "there"), [("gpt-4.1-nano", True), ("codex-auto-review", True), ("x", False), ("elsewhere", False)]
)
def test_a_single_model(name: str, there: bool) -> None:
    document = model_document(name, ALIASES, CATALOG)
    assert document == ({"id": name, "object": "model", "created": CREATED, "owned_by": "openai"} if there else None)
