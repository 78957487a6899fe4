"""Slots by example, and whole lives of them: whatever is asked, released and left in whatever order, some things hold."""

from collections import Counter
from copy import deepcopy

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from addons.slots import Queued, Slots

CLIENTS = ("alice", "bob", "carol", "dave")


def busy(queue_size: int = 10) -> Slots[str]:
    """One slot, which is taken."""
    slots = Slots[str](1, queue_size)
    assert slots.ask("somebody", "busy") == "in"
    return slots


def drained(slots: Slots[str]) -> list[str]:
    """Everybody in the order in which they get in, if nobody else comes."""
    order, ticket = [], slots.release("busy")
    while ticket is not None:
        order.append(ticket)
        ticket = slots.release(ticket)
    return order


def test_there_are_as_many_as_there_are() -> None:
    slots = Slots[int](2, 1)
    assert [slots.ask("alice", n) for n in range(4)] == ["in", "in", Queued(1), "full"]


def test_who_has_released_can_come_again() -> None:
    slots = busy()
    assert slots.release("busy") is None
    assert slots.ask("alice", "busy") == "in"


def test_first_come_first_served_and_turns_between_clients() -> None:
    slots = busy()
    for ticket in ("a1", "a2", "a3", "b1", "c1", "b2"):
        slots.ask(ticket[0], ticket)
    assert drained(slots) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_two_hundred_of_one_client_cost_another_one_a_turn() -> None:
    slots = busy(queue_size=300)
    for n in range(200):
        slots.ask("greedy", f"g{n}")
    assert slots.ask("modest", "m") == Queued(2)
    assert drained(slots)[:3] == ["g0", "m", "g1"]


def test_a_client_with_one_request_at_a_time_gets_every_other_turn() -> None:
    slots = busy(queue_size=300)
    for n in range(200):
        slots.ask("greedy", f"g{n}")
    order, present = [], "busy"
    for n in range(10):
        slots.ask("modest", f"m{n}")
        for _ in range(2):
            following = slots.release(present)
            assert following is not None
            present = following
            order.append(present[0])
    assert order == ["g", "m"] * 10


def test_who_leaves_is_passed_over() -> None:
    slots = busy()
    for ticket in ("a1", "a2", "b1", "a3"):
        slots.ask(ticket[0], ticket)
    slots.leave("a2")
    slots.leave("b1")
    assert drained(slots) == ["a1", "a3"]


def test_leaving_is_for_who_waits_and_releasing_for_who_is_in() -> None:
    slots = busy()
    slots.ask("alice", "a")
    slots.leave("busy")
    slots.leave("stranger")
    assert slots.release("a") is None and slots.release("stranger") is None
    assert slots.taken == {"busy"} and list(slots.waiting) == ["a"]


def test_a_full_queue_makes_room_at_the_expense_of_who_has_most_in_it() -> None:
    slots = busy(queue_size=3)
    for ticket in ("a1", "a2", "a3"):
        slots.ask(ticket[0], ticket)
    assert slots.ask("a", "a4") == "full"
    assert slots.ask("b", "b1") == Queued(2, gave_way="a3")
    assert slots.ask("b", "b2") == "full", "it would have more than the other one then"
    assert slots.ask("c", "c1") == Queued(3, gave_way="a2")
    assert slots.ask("d", "d1") == "full", "all have the same"
    assert drained(slots) == ["a1", "b1", "c1"]


def test_without_a_queue_nobody_waits() -> None:
    slots = busy(queue_size=0)
    assert slots.ask("alice", "a") == "full"


def test_more_slots_are_taken_at_once_and_fewer_as_they_come_free() -> None:
    slots = busy()
    for ticket in ("a1", "a2", "b1", "b2"):
        slots.ask(ticket[0], ticket)
    assert slots.change(3, 10) == ["a1", "b1"]
    assert slots.change(1, 1) == []
    assert slots.taken == {"busy", "a1", "b1"} and len(slots.waiting) == 2, "nobody is put out"
    assert slots.ask("c", "c1") == "full"
    assert slots.release("busy") is None and slots.release("a1") is None
    assert slots.release("b1") == "a2"


class SlotLives(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.slots = Slots[int](2, 4)
        self.tickets = 0
        self.asked: dict[str, list[int]] = {client: [] for client in CLIENTS}
        """Who waits, as it should be."""
        self.turns: dict[int, Counter[str]] = {}
        """For each that waits: who got in since it came, by client."""
        self.before: dict[int, int] = {}
        """For each that waits: how many of its own client's came before it."""

    def forget(self, ticket: int) -> str:
        client = next(client for client, line in self.asked.items() if ticket in line)
        self.asked[client].remove(ticket)
        del self.turns[ticket], self.before[ticket]
        return client

    def got_in(self, ticket: int) -> None:
        client = next(client for client, line in self.asked.items() if ticket in line)
        assert self.asked[client][0] == ticket, "first come first served"
        self.forget(ticket)
        assert len(self.slots.taken) <= self.slots.limit
        for waiting, turns in self.turns.items():
            turns[client] += 1
            others = {name: count for name, count in turns.items() if waiting not in self.asked[name]}
            assert all(count <= self.before[waiting] + 1 for count in others.values()), "nobody starves"

    @rule(client=st.sampled_from(CLIENTS))
    def ask(self, client: str) -> None:
        self.tickets += 1
        ticket, waited = self.tickets, len(self.slots.waiting)
        free = self.slots.limit - len(self.slots.taken)
        entry = self.slots.ask(client, ticket)
        if entry == "in":
            assert free > 0
        elif entry == "full":
            assert waited >= self.slots.queue_size and ticket not in self.slots.waiting
            assert max(map(len, self.asked.values())) < len(self.asked[client]) + 2, "nobody has clearly more"
        else:
            assert (entry.gave_way is not None) == (waited >= self.slots.queue_size)
            if entry.gave_way is not None:
                greedy = next(line for line in self.asked.values() if entry.gave_way in line)
                assert greedy[-1] == entry.gave_way and len(greedy) == max(map(len, self.asked.values()))
                self.forget(entry.gave_way)
            self.before[ticket], self.turns[ticket] = len(self.asked[client]), Counter()
            self.asked[client].append(ticket)
            assert entry.position == self.position_of(ticket)

    def position_of(self, ticket: int) -> int:
        """By waiting for it."""
        slots = deepcopy(self.slots)
        order = slots.change(len(slots.taken) + len(slots.waiting), slots.queue_size)
        return order.index(ticket) + 1

    @precondition(lambda self: self.slots.taken)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        taken = len(self.slots.taken)
        ticket = data.draw(st.sampled_from(sorted(self.slots.taken)))
        following = self.slots.release(ticket)
        assert ticket not in self.slots.taken
        if following is not None:
            assert len(self.slots.taken) == taken
            self.got_in(following)

    @precondition(lambda self: self.slots.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.slots.waiting)))
        self.slots.leave(ticket)
        self.forget(ticket)

    @rule(limit=st.integers(1, 5), queue_size=st.integers(0, 6))
    def change(self, limit: int, queue_size: int) -> None:
        taken = set(self.slots.taken)
        let_in = self.slots.change(limit, queue_size)
        assert taken <= self.slots.taken and self.slots.taken - taken == set(let_in)
        for ticket in let_in:
            self.got_in(ticket)

    @invariant()
    def no_slot_is_free_while_somebody_waits(self) -> None:
        assert not self.slots.waiting or len(self.slots.taken) >= self.slots.limit

    @invariant()
    def who_waits_is_who_should(self) -> None:
        waiting = sorted(ticket for line in self.asked.values() for ticket in line)
        assert sorted(self.slots.waiting) == waiting
        assert list(self.slots.waiting) == sorted(self.slots.waiting), "in the order in which they came"

    @invariant()
    def nothing_else_is_remembered(self) -> None:
        assert {client: list(line) for client, line in self.slots.lines.items()} == {c: w for c, w in self.asked.items() if w}


TestLives = SlotLives.TestCase
TestLives.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
