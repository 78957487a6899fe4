from typing import Any

import pytest

from addons.wire.aliases import Aliases, validate_aliases


def test_no_aliases() -> None:
    assert validate_aliases(None) == (Aliases(), ())
    assert validate_aliases({}) == (Aliases(), ())


PROBLEMS: dict[str, tuple[Any, list[tuple[str, str]]]] = {
    "not a mapping": (["a"], [("not_a_mapping", "")]),
    "too many": ({f"a{i}": "b" for i in range(1001)}, [("too_many", "")]),
    "name is a number": ({4.1: "a"}, [("bad_name", "4.1")]),
    "name is empty": ({"": "a"}, [("bad_name", "")]),
    "name without end": ({"x" * 201: "a"}, [("bad_name", "x" * 200)]),
    "target is a number": ({"a": 4.1}, [("bad_target", "a")]),
    "target is empty": ({"a": ""}, [("bad_target", "a")]),
    "target is missing": ({"a": None}, [("bad_target", "a")]),
    "target is none of ours": ({"a": "@tiniest"}, [("bad_target", "a")]),
    "broken pattern": ({"/gpt-(/": "a"}, [("bad_pattern", "/gpt-(/")]),
}


@pytest.mark.parametrize(("raw", "problems"), PROBLEMS.values(), ids=PROBLEMS)
def test_what_is_wrong_with_aliases_is_told_by_name(raw: Any, problems: list[tuple[str, str]]) -> None:
    aliases, found = validate_aliases(raw)
    assert [(problem.fault, problem.alias) for problem in found] == problems
    assert all(str(problem) for problem in found)
    assert aliases == Aliases()


def test_what_is_right_beside_it_is_taken() -> None:
    aliases, problems = validate_aliases({"/gpt-(/": "a", "b": "c"})
    assert aliases.target(["b"]) == "c"
    assert [str(problem) for problem in problems] == [
        "/gpt-(/: is no regular expression: missing ), unterminated subpattern at position 4"
    ]


def test_exact_names_go_before_patterns_and_those_in_the_order_of_the_file() -> None:
    aliases, problems = validate_aliases({"/a.*/": "1", "/ab/": "2", "ab": "3", "/(?i)x+/": "4", "/": "5"})
    assert problems == ()
    found = {name: aliases.target([name]) for name in ("ab", "abc", "b", "XX", "xxy", "/", "a" * 201)}
    assert list(found.values()) == ["3", "1", None, "4", None, "5", None]


def test_an_exact_name_in_any_spelling_goes_before_a_pattern() -> None:
    aliases, _ = validate_aliases({"/acme.*/": "1", "ab": "2"})
    assert aliases.target(["acme/ab", "ab"]) == "2"
    assert aliases.target(["x", "acme/c", "c"]) == "1"
