from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addons.kept import PER_TURN, Kept, Turn
from addons.wire.response_object import ResponseObjects
from tests.wire.asking import Object, function, heard, message, said


def turn(name: str, previous: Turn | None = None, *, owner: str = "me", size: int = 0, **own: Any) -> Turn:
    asked = message("user", heard("x" * size), id=f"msg_{name}_asked")
    answer = message("assistant", said(name), id=f"msg_{name}_said", status="completed")
    upstream = {"id": f"resp_{name}", "status": "completed", "output": [answer]}
    return Turn(owner, previous, [asked], ResponseObjects("gpt-5.5", own).of(upstream))


def told(turn: Turn | None) -> list[str]:
    """The names of the turns of a conversation, the oldest first."""
    assert turn
    return [each.id.removeprefix("resp_") for each in turn.and_before()][::-1]


def conversation(kept: Kept, *names: str, previous: Turn | None = None, **more: Any) -> Turn:
    for name in names:
        previous = turn(name, previous, **more)
        assert kept.keep(previous)
    assert previous
    return previous


def test_what_is_kept_is_what_was_told() -> None:
    kept, objects = Kept(), ResponseObjects("gpt-5.5", {"tools": [function()], "instructions": "half \ud83d"})
    answer = message("assistant", said("\u2028é"), id="msg_1", status="incomplete")
    document = objects.of({"id": "resp_1", "status": "incomplete", "output": [answer]})
    asked = [message("user", heard("\ud83d"), id="msg_0")]
    kept.keep(Turn("me", None, asked, document))
    found = kept.find("me", "resp_1")
    assert found and found.document() == document and list(found.document()) == list(document)
    assert (found.said().input, found.said().output, found.said().whole) == (asked, [answer], False)


def test_only_its_owner_finds_it() -> None:
    kept = Kept()
    conversation(kept, "a")
    assert kept.find("me", "resp_a") and kept.home_of("me", "msg_a_said")
    assert kept.find("you", "resp_a") is None and kept.home_of("you", "msg_a_said") is None
    assert not kept.forget("you", "resp_a") and kept.forget("me", "resp_a") and not kept.forget("me", "resp_a")


def test_a_long_conversation_costs_as_much_as_what_was_said() -> None:
    kept, tools = Kept(), [function(f"tool_{n}") for n in range(200)]
    last = conversation(kept, *(str(n) for n in range(100)), size=1000, tools=tools)
    assert len(told(last)) == 100
    assert kept.bytes < 100 * (turn("1", size=1000).size + 500) + len(turn("1", tools=tools).echoes), "the tools are kept once"
    other = conversation(kept, "other", previous=last, tools=tools[1:])
    assert other.document()["tools"] == tools[1:] and last.document()["tools"] == tools


def test_the_conversation_that_was_not_used_for_longest_goes_first() -> None:
    kept = Kept(max_turns=5)
    conversation(kept, "a1", "a2", previous=None)
    conversation(kept, "b1", "b2")
    assert told(kept.find("me", "resp_a2")) == ["a1", "a2"]
    conversation(kept, "c1", "c2", "c3")
    assert [name for name in ("a1", "a2", "b1", "b2") if kept.find("me", f"resp_{name}")] == ["a1", "a2"]
    assert len(kept) == 5


def test_who_asks_for_a_turn_uses_all_that_led_to_it() -> None:
    kept = Kept(max_turns=3)
    conversation(kept, "a1", "a2")
    conversation(kept, "b1")
    kept.find("me", "resp_a2")
    conversation(kept, "c1")
    assert kept.find("me", "resp_a1") and not kept.find("me", "resp_b1")


class TestTheMiddleOfAConversation:
    def test_that_was_deleted_is_not_found_and_stays_a_part_of_what_came_after(self) -> None:
        kept = Kept()
        last = conversation(kept, "a", "b", "c")
        before = kept.bytes
        assert kept.forget("me", "resp_b")
        assert kept.find("me", "resp_b") is None and kept.home_of("me", "msg_b_said") is None
        assert told(kept.find("me", "resp_c")) == ["a", "b", "c"] and kept.bytes == before
        assert kept.forget("me", "resp_c"), "and with the last that came after it, it is gone"
        assert kept.bytes == last.previous.previous.size  # type: ignore[union-attr]

    def test_that_had_to_go_does_not_take_the_rest_with_it(self) -> None:
        kept = Kept(max_turns=2)
        conversation(kept, "a", "b", "c", "d")
        assert not kept.find("me", "resp_a") and not kept.find("me", "resp_b")
        assert told(kept.find("me", "resp_d")) == ["a", "b", "c", "d"]
        assert told(conversation(kept, "e", previous=kept.find("me", "resp_d"))) == ["a", "b", "c", "d", "e"]

    def test_that_went_while_it_was_answered_is_a_part_of_the_answer(self) -> None:
        kept = Kept()
        first = conversation(kept, "a")
        kept.forget("me", "resp_a")
        assert kept.bytes == 0
        conversation(kept, "b", previous=first)
        assert told(kept.find("me", "resp_b")) == ["a", "b"] and kept.bytes > 2 * PER_TURN


class TestBytes:
    def test_are_bounded(self) -> None:
        kept = Kept(max_bytes=100_000)
        for n in range(50):
            conversation(kept, f"{n}", size=10_000)
            assert kept.bytes <= 100_000
        assert kept.find("me", "resp_49") and not kept.find("me", "resp_0") and 5 < len(kept) < 10

    @pytest.mark.parametrize("sizes", [[200_000], [60_000, 60_000]], ids=["in one turn", "in several"])
    def test_a_conversation_that_is_too_long_is_not_kept_and_pushes_nobody_out(self, sizes: list[int]) -> None:
        kept = Kept(max_bytes=120_000)
        conversation(kept, "other")
        previous = None
        for n, size in enumerate(sizes):
            too_long = turn(str(n), previous, size=size)
            fits, previous = kept.keep(too_long), too_long
        assert not fits and kept.find("me", "resp_other") and len(kept) == len(sizes)

    def test_a_response_of_the_same_id_takes_the_place_of_the_other(self) -> None:
        kept = Kept()
        first = conversation(kept, "a", size=5000)
        second = conversation(kept, "a", size=10)
        assert kept.bytes == second.size and kept.find("me", "resp_a") is second
        conversation(kept, "a", previous=first)
        assert told(kept.find("me", "resp_a")) == ["a", "a"]


def test_an_item_is_found_where_it_was_said_last_and_still_when_that_is_gone() -> None:
    kept = Kept()
    item: Object = message("user", heard(), id="msg_mine")
    document = turn("x").document()
    for name in ("a", "b"):
        kept.keep(Turn("me", None, [item], document | {"id": f"resp_{name}"}))
    for left in ("resp_b", "resp_a"):
        home = kept.home_of("me", "msg_mine")
        assert home and home.id == left
        kept.forget("me", left)
    assert kept.home_of("me", "msg_mine") is None


steps = st.lists(st.tuples(st.sampled_from(["keep", "forget", "find"]), st.integers(0, 9), st.integers(0, 9)), max_size=40)


@settings(deadline=None)
@given(steps, st.integers(1, 6), st.integers(2_000, 30_000))
def test_whatever_happens_it_holds_what_can_be_asked_for_and_what_led_to_it(
    steps: list[tuple[str, int, int]], max_turns: int, max_bytes: int
) -> None:
    kept, known = Kept(max_turns, max_bytes), dict[int, Turn]()
    for step, name, other in steps:
        if step == "keep":
            known[name] = turn(str(name), kept.find("me", f"resp_{other}"), size=other * 500)
            kept.keep(known[name])
        elif step == "forget":
            kept.forget("me", f"resp_{name}")
        else:
            kept.find("me", f"resp_{name}")
        there = [found for n in known if (found := kept.find("me", f"resp_{n}"))]
        assert len(there) == len(kept) <= max_turns
        assert kept.bytes == sum(each.size for each in {each for leaf in there for each in leaf.and_before()}) <= max_bytes
        homes = {n for n in known if kept.home_of("me", f"msg_{n}_said")}
        assert homes == {int(found.id.removeprefix("resp_")) for found in there}
