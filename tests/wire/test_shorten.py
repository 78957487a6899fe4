import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.wire.parameters import Edits
from addons.wire.shorten import MAX_LENGTH, replacements, shorten
from tests.wire.asking import Object, call, function, heard, message, result

LONG = "mcp__github__" + "search_repositories_by_everything_that_could_be_asked_for"


def fits(word: str) -> bool:
    return re.fullmatch("[A-Za-z0-9_-]{1,64}", word) is not None


def shortened(body: Object) -> Any:
    return shorten({"input": [], **body}, Edits(strict=False))


def test_what_fits_is_given_back_as_it_is() -> None:
    body = {"input": [message("user", heard()), call(), result()], "tools": [function("a" * 64)], "tool_choice": "auto"}
    short = shorten(body, edits := Edits(strict=True))
    assert short.body is body
    assert (short.tool_names, short.call_ids, edits.made()) == ({}, {}, ())


def test_a_replacement_begins_like_the_original_and_is_always_the_same() -> None:
    first, again = replacements([LONG], fits), replacements(["other", LONG, LONG + "x"], fits)
    assert first[LONG] == again[LONG]
    assert first[LONG].startswith(LONG[:51]) and len(first[LONG]) == MAX_LENGTH


@pytest.mark.parametrize(
    ("name", "begins"),
    [("server.tool", "server_tool_"), ("a b/c", "a_b_c_"), ("größe", "gr__e_"), ("\ud800", "__"), ("a\nb", "a_b_"), ("x\n", "x__")],
    ids=ascii,
)
def test_characters_that_no_name_may_have(name: str, begins: str) -> None:
    short = replacements([name], fits)[name]
    assert short.startswith(begins) and fits(short)


def test_a_replacement_is_no_word_of_the_request() -> None:
    taken = replacements([LONG], fits)[LONG]
    second = replacements([LONG, taken], fits)[LONG]
    third = replacements([LONG, taken, second], fits)[LONG]
    assert len({taken, second, third}) == 3


def test_two_that_are_replaced_alike_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("addons.wire.shorten.HASH", 1)  # of the usual length no two are known that meet
    words = [f"{'a' * 64}{i}" for i in range(10)]
    assert len(set(replacements(words, fits).values())) == 10


@given(st.lists(st.text(max_size=100) | st.text("ab", min_size=60, max_size=70)))
def test_replacements_fit_and_can_be_told_apart(words: list[str]) -> None:
    replaced = replacements(words, fits)
    assert set(replaced) == {word for word in words if word and not fits(word)}
    assert all(fits(short) for short in replaced.values())
    assert len({replaced.get(word, word) for word in words}) == len(set(words))


def test_a_name_is_replaced_wherever_it_stands() -> None:
    tool, custom = function(LONG), {"type": "custom", "name": LONG}
    short = shortened(
        {
            "input": [
                {"type": "additional_tools", "tools": [{"type": "namespace", "name": "n", "tools": [tool]}, custom]},
                call(name=LONG),
                result(),
                {"type": "custom_tool_call", "call_id": "c2", "name": LONG, "input": LONG},
            ],
            "tools": [tool, {"type": "mcp", "name": LONG}, function("weather")],
            "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": LONG}]},
        }
    )
    [(name, original)] = short.tool_names.items()
    assert original == LONG
    head, called, answered, patch = short.body["input"]
    assert head["tools"] == [
        {"type": "namespace", "name": "n", "tools": [function(name)]},
        {"type": "custom", "name": name},
    ]
    assert called == call(name=name) and answered == result()
    assert patch == {"type": "custom_tool_call", "call_id": "c2", "name": name, "input": LONG}
    assert short.body["tools"] == [function(name), {"type": "mcp", "name": LONG}, function("weather")]
    assert short.body["tool_choice"]["tools"] == [{"type": "function", "name": name}]


def test_the_choice_of_one_tool() -> None:
    short = shortened({"tools": [function(LONG)], "tool_choice": {"type": "function", "name": LONG}})
    assert short.body["tool_choice"] == {"type": "function", "name": short.body["tools"][0]["name"]}


def test_a_call_id_may_have_any_characters_but_not_too_many() -> None:
    odd, long = "call.1 é", "c" * 65
    short = shortened({"input": [call(odd), result(call_id=odd), call(long), result(call_id=long)]})
    assert [item["call_id"] for item in short.body["input"][:2]] == [odd, odd]
    [(call_id, original)] = short.call_ids.items()
    assert original == long and len(call_id) == MAX_LENGTH
    assert [item["call_id"] for item in short.body["input"][2:]] == [call_id, call_id]


@pytest.mark.parametrize("choice", [{"type": "function", "name": ["a"]}, {"type": {}}, {}, None, "auto"], ids=str)
def test_a_choice_that_is_none_is_upstreams_to_judge(choice: Any) -> None:
    assert shortened({"tools": [function(LONG)], "tool_choice": choice}).body["tool_choice"] == choice


def test_tools_in_tools_in_tools_have_an_end() -> None:
    nested: Object = function(LONG)
    for _ in range(5000):
        nested = {"type": "namespace", "tools": [nested]}
    assert shortened({"tools": [nested]}).tool_names == {}
