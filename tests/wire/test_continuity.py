"""A conversation told turn by turn reaches the backend as the same one told whole, and what is not kept is said so."""

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addons.kept import Kept, OwnMemory, Turn
from addons.wire.continuity import Expanded, as_the_client_counts, expand, with_ids
from addons.wire.models import Resolved
from addons.wire.plan import BadRequest
from addons.wire.response_object import BULKY
from addons.wire.responses_request import plan
from tests.fakes.events import item_of
from tests.fakes.speech import Call
from tests.wire.asking import BOTH, Object, call, edits_of, function, heard, message, normal, planned, result, said, without
from tests.wire.upstream import utterances

THOUGHT: Object = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gAAA"}
SPOKEN = message("assistant", said("18 C"), id="msg_1", status="completed")
CALLED = call(id="fc_1", status="completed")


def response(response_id: str, output: list[Object], status: str = "completed") -> Object:
    return {"id": response_id, "status": status, "output": output, **dict.fromkeys(BULKY)}


class Client:
    """One client's side of conversations, and the memory of what it was told."""

    def __init__(self) -> None:
        self.kept = Kept()
        self.numbers = itertools.count(1)

    def asks(self, previous: str | None, given: Any, **more: Any) -> Expanded:
        body = normal(input=given, **more) | ({"previous_response_id": previous} if previous else {})
        before = copy.deepcopy(body)
        expanded = expand(body, OwnMemory(self.kept, "me"))
        assert body == before
        return expanded

    def hears(self, previous: str | None, given: Any, *output: Object, status: str = "completed") -> str:
        """The id of the response to this turn."""
        number = next(self.numbers)
        own = with_ids(self.asks(previous, given).own, f"{number:x}")
        before = self.kept.find("me", previous) if previous else None
        assert self.kept.keep(Turn("me", before, own, response(f"resp_{number}", [*output], status)))
        return f"resp_{number}"


@pytest.fixture
def client() -> Client:
    return Client()


# Names and call ids that have to be shortened among them.
NAMES = ("weather", "a.b", "x" * 80)
spoken = st.lists(
    st.one_of(utterances, st.builds(Call, st.sampled_from(NAMES), st.just("{}"), st.sampled_from(["function", "custom"]))),
    max_size=4,
)
asked = st.one_of(
    st.text(max_size=20),
    st.builds(lambda text: [{"role": "user", "content": text}], st.text(max_size=20)),
    st.builds(lambda text: [message("system", heard(text)), message("user", heard(text), id="msg_x")], st.text(max_size=20)),
)


def output_of(utterances: list[Any], numbers: Any) -> list[Object]:
    items = [item_of(utterance) for utterance in utterances]
    return [{**item, "call_id": f"call_{next(numbers)}" + "y" * 80} if "call_id" in item else item for item in items]


def results_for(output: list[Object]) -> list[Object]:
    return [
        {"type": f"{item['type']}_output", "call_id": item["call_id"], "output": "done"}
        if item["type"] == "custom_tool_call"
        else result("done", item["call_id"])
        for item in output
        if "call_id" in item
    ]


def as_items(given: Any) -> list[Object]:
    return [message("user", heard(given))] if isinstance(given, str) else given


@BOTH
@settings(deadline=None)
@given(told=st.lists(st.tuples(asked, spoken), min_size=1, max_size=4), last=asked)
def test_told_turn_by_turn_it_is_the_same_conversation(model: Resolved, told: list[tuple[Any, list[Any]]], last: Any) -> None:
    client, numbers = Client(), itertools.count()
    previous, whole, results = None, list[Object](), list[Object]()
    for words, answer in told:
        output = output_of(answer, numbers)
        own = [*results, *as_items(words)] if results else words
        whole += [*as_items(own), *output]
        previous = client.hears(previous, without_repeated_ids(own), *output)
        results = results_for(output)
    last = [*results, *as_items(last)] if results else last
    tools = [function(name) for name in NAMES]
    by_id = client.asks(previous, without_repeated_ids(last), tools=tools)
    one_by_one = planned(plan, dict(by_id.body), model, previous_response_id=by_id.previous_response_id)
    at_once = planned(plan, normal(input=[*whole, *as_items(last)], tools=tools), model)
    assert one_by_one.body == at_once.body
    assert (one_by_one.answering.tool_names, one_by_one.answering.call_ids) == (
        at_once.answering.tool_names,
        at_once.answering.call_ids,
    )
    assert one_by_one.answering.echo["previous_response_id"] == previous


def without_repeated_ids(given: Any) -> Any:
    """A client that says the same id in every turn is refused, which is another test's matter."""
    return given if isinstance(given, str) else [without(item, "id") for item in given]


class TestGoingOn:
    def test_nothing_to_remember_is_nothing_to_change(self, client: Client) -> None:
        for words in ("hi", [], None, [message("user", heard())]):
            body = normal(input=words)
            expanded = expand(body, OwnMemory(client.kept, "me"))
            assert expanded.body is body and (expanded.edits, expanded.ahead) == ((), 0)

    def test_it_is_told(self, client: Client) -> None:
        first = client.hears(None, "hi", SPOKEN)
        expanded = client.asks(first, "and?")
        assert [str(edit) for edit in expanded.edits] == ["emulated previous_response_id"]
        assert expanded.previous_response_id == first and "previous_response_id" not in expanded.body
        assert edits_of(planned(plan, dict(expanded.body))) == [], "ids of what is kept here are no words of the client's"

    def test_two_can_go_on_from_the_same_turn(self, client: Client) -> None:
        first = client.hears(None, "hi", SPOKEN)
        left, right = client.hears(first, "left", THOUGHT), client.hears(first, "right")
        assert [item.get("content") for item in client.asks(left, "x").body["input"]][2] == [heard("left")]
        assert [item.get("content") for item in client.asks(right, "x").body["input"]][2] == [heard("right")]

    def test_without_new_input(self, client: Client) -> None:
        first = client.hears(None, "hi", SPOKEN)
        assert len(client.asks(first, None).body["input"]) == len(client.asks(first, []).body["input"]) == 2

    @pytest.mark.parametrize("wrong", [5, ["resp_1"], {}])
    def test_an_id_that_is_no_string_is_refused_with_the_rest(self, wrong: Any, client: Client) -> None:
        with pytest.raises(BadRequest, match="Invalid type for 'previous_response_id'"):
            plan(dict(client.asks(None, "hi", previous_response_id=wrong).body), model=Resolved("gpt-5.5"))

    def test_anothers_turn_is_not_found(self, client: Client) -> None:
        first = client.hears(None, "hi", SPOKEN)
        with pytest.raises(BadRequest) as refused:
            expand(normal(previous_response_id=first), OwnMemory(client.kept, "somebody else"))
        assert refused.value.message.startswith(
            "Previous response with id 'resp_1' not found. This proxy keeps the last 1000 turns"
        )
        assert (refused.value.param, refused.value.code) == ("previous_response_id", "previous_response_not_found")


class TestAnAnswerThatWasCutOff:
    CUT = call("c2", arguments='{"ci', id="fc_2", status="incomplete")

    def left(self, client: Client, output: list[Object], *following: Object, status: str = "incomplete") -> tuple[list[str], ...]:
        """The types of what is sent, and what is told of it."""
        first = client.hears(None, "hi", *output, status=status)
        expanded = client.asks(first, [*following, message("user", heard("go on"))])
        planned(plan, dict(expanded.body))
        return [item["type"] for item in expanded.body["input"]], [str(edit) for edit in expanded.edits]

    def test_its_last_call_and_the_reasoning_before_it_are_left_out(self, client: Client) -> None:
        items, edits = self.left(client, [SPOKEN, THOUGHT, self.CUT])
        assert items == ["message", "message", "message"] and "dropped input[].incomplete" in edits

    def test_reasoning_that_led_to_nothing_is_left_out(self, client: Client) -> None:
        assert self.left(client, [THOUGHT])[0] == ["message", "message"]

    def test_what_it_said_stays(self, client: Client) -> None:
        items, edits = self.left(client, [THOUGHT, {**SPOKEN, "status": "incomplete"}])
        assert items == ["message", "reasoning", "message", "message"] and edits == ["emulated previous_response_id"]

    def test_a_call_that_was_answered_all_the_same_stays(self, client: Client) -> None:
        items, _ = self.left(client, [THOUGHT, CALLED, self.CUT], result(), result(call_id="c2"))
        assert items == ["message", "reasoning", *["function_call"] * 2, *["function_call_output"] * 2, "message"]

    def test_it_stays_in_later_turns_too(self, client: Client) -> None:
        first = client.hears(None, "hi", self.CUT, status="incomplete")
        second = client.hears(first, [result(call_id="c2")], SPOKEN)
        planned(plan, dict(client.asks(second, "and?").body))

    def test_a_call_of_a_whole_answer_has_to_be_answered(self, client: Client) -> None:
        with pytest.raises(BadRequest, match="No tool output found for function call c1"):
            self.left(client, [THOUGHT, CALLED], status="completed")


class TestReferences:
    @pytest.mark.parametrize("reference", [{"type": "item_reference", "id": "msg_1"}, {"id": "msg_1"}], ids=["long", "short"])
    def test_to_what_was_said(self, reference: Object, client: Client) -> None:
        client.hears(None, "hi", THOUGHT, SPOKEN)
        expanded = client.asks(None, [message("user", heard()), reference])
        assert expanded.body["input"] == [message("user", heard()), without(SPOKEN, "id")]
        assert expanded.own[1] == SPOKEN, "it can be referred to again"
        assert [str(edit) for edit in expanded.edits] == ["mapped input[].item_reference"]
        assert edits_of(planned(plan, dict(expanded.body))) == []

    def test_to_what_the_client_said(self, client: Client) -> None:
        client.hears(None, [message("user", heard("mine"), id="msg_mine"), message("user", heard("unnamed"))])
        unnamed = client.kept.find("me", "resp_1").said().input[1]["id"]  # type: ignore[union-attr]
        expanded = client.asks(None, [{"id": unnamed}, {"id": "msg_mine"}])
        assert [item["content"] for item in expanded.body["input"]] == [[heard("unnamed")], [heard("mine")]]

    def test_a_whole_conversation_of_references(self, client: Client) -> None:
        client.hears(None, "hi", THOUGHT, CALLED)
        expanded = client.asks(None, [message("user", heard()), {"id": "rs_1"}, {"id": "fc_1"}, result()])
        assert expanded.body["input"] == [message("user", heard()), without(THOUGHT, "id"), without(CALLED, "id"), result()]

    def test_to_nothing(self, client: Client) -> None:
        client.hears(None, "hi", SPOKEN)
        with pytest.raises(BadRequest) as refused:
            client.asks(None, [{"type": "item_reference", "id": "msg_none"}])
        assert refused.value.message.startswith("Item with id 'msg_none' not found. ") and refused.value.param == "input"

    @pytest.mark.parametrize(
        ("reference", "words"), [({}, "Missing required"), ({"id": 5}, "Invalid type")], ids=["none", "a number"]
    )
    def test_that_name_nothing(self, reference: Object, words: str, client: Client) -> None:
        with pytest.raises(BadRequest, match=f"{words}.*input\\[0\\].id"):
            client.asks(None, [{"type": "item_reference", **reference}])


TWICE: dict[str, tuple[bool, list[Object]]] = {
    "an item of the history": (True, [SPOKEN]),
    "a reference to the history": (True, [{"id": "msg_1"}]),
    "a reference twice": (False, [{"id": "msg_1"}, {"id": "msg_1"}]),
    "a reference and the item": (False, [{"id": "msg_1"}, SPOKEN]),
    "the item and a reference": (False, [SPOKEN, {"id": "msg_1"}]),
}


@pytest.mark.parametrize(("goes_on", "items"), TWICE.values(), ids=TWICE)
def test_what_is_said_twice_is_refused_as_openai_refuses_it(goes_on: bool, items: list[Object], client: Client) -> None:
    first = client.hears(None, "hi", SPOKEN)
    with pytest.raises(BadRequest, match="Duplicate item found with id msg_1. Remove duplicate items"):
        client.asks(first if goes_on else None, items)


@pytest.mark.parametrize("wrong", [5, {}, ["text"], [5], [{"id": {}}], [{"type": "message", "role": "user"}]])
def test_a_wrong_input_is_complained_of_as_without_a_history(wrong: Any, client: Client) -> None:
    def complaint(asks: Callable[[], Expanded]) -> tuple[str, str | None]:
        with pytest.raises(BadRequest) as refused:
            expanded = asks()
            try:
                plan(dict(expanded.body), model=Resolved("gpt-5.5"))
            except BadRequest as e:
                raise as_the_client_counts(e, expanded.ahead) from e
        return refused.value.message, refused.value.param

    first = client.hears(None, "hi", THOUGHT, SPOKEN)
    assert complaint(lambda: client.asks(first, wrong)) == complaint(lambda: client.asks(None, wrong))


def test_every_item_gets_an_id_of_its_own() -> None:
    items = [message("user", heard(), id="msg_mine"), message("user", heard()), call(id=None), {"type": "new"}]
    named = with_ids(items, "seed")
    assert [item["id"] for item in named] == ["msg_mine", "msg_seed0001", "fc_seed0002", "item_seed0003"]
    assert "id" not in items[1] and named[0] is items[0]
