"""The fault drill's grammar as a table, what faults make of an answer however it is cut up, and docs/drill.md against both."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import exceptions
from mitmproxy.test import taddons

from addons.drill import GARBAGE, KINDS, REFUSALS, BadDrill, End, Fault, Spoiler, draw, halves, labels, parse, pieces
from addons.fault import CodexFault
from tests.pages import PAGES

GOOD: dict[str, tuple[Fault, ...]] = {
    "": (),
    "  ": (),
    "429": (Fault("429"),),
    "429@0.1": (Fault("429", chance=0.1),),
    "429@1": (Fault("429"),),
    "cut@2000b": (Fault("cut", 2000),),
    "cut": (Fault("cut", 2000),),
    "cut@0.5": (Fault("cut", 2000, 0.5),),
    "cut@10b@0.5": (Fault("cut", 10, 0.5),),
    "cut@0.5@10b": (Fault("cut", 10, 0.5),),
    "silence@0.25s": (Fault("silence", 0.25),),
    "slow@100b/s": (Fault("slow", 100),),
    " 429@0.1 , cut @ 2000b,silence@30s ": (Fault("429", chance=0.1), Fault("cut", 2000), Fault("silence", 30)),
    "cut@10b@0.5,cut@20b": (Fault("cut", 10, 0.5), Fault("cut", 20)),
}


@pytest.mark.parametrize(("text", "drill"), GOOD.items(), ids=GOOD)
def test_a_drill_is_read(text: str, drill: tuple[Fault, ...]) -> None:
    assert parse(text) == drill


# What is wrong with which word, and what would be right.
BAD = {
    "silense@30s": "'silense' is no fault, did you mean silence?",
    "4299": "'4299' is no fault, did you mean 429?",
    "xyzzy": "'xyzzy' is no fault: there are 401, 429, ",
    "429,": "'' is no fault: there are 401, ",
    "429@": "429@: '' is no condition, write it as in 429@0.1",
    "429@10%": "429@10%: '10%' is no condition, write it as in 429@0.1",
    "429@0": "'0' is no chance, which is above 0 and at most 1",
    "429@2": "'2' is no chance, which is above 0 and at most 1",
    "silence@30": "'30' is no chance, which is above 0 and at most 1, did you mean silence@30s?",
    "cut@2000": "did you mean cut@2000b?",
    "429@30s": "'30s' is not for 429, it takes nothing but a chance, as in 429@0.1",
    "cut@30s": "'30s' is not for cut, it takes bytes, as in cut@2000b",
    "slow@100b": "'100b' is not for slow, it takes bytes a second, as in slow@1000b/s",
    "silence@0s": "'0s' is not a number of seconds above 0, write it as in silence@30s",
    "cut@1.5b": "'1.5b' is not a number of bytes above 0, write it as in cut@2000b",
    "cut@1b@2b": "cut@1b@2b: it says how much twice",
    "cut@0.1@0.2": "cut@0.1@0.2: it says how often twice",
    "429@-0.1": "'-0.1' is no condition",
    "delay@1e9s": "'1e9s' is no condition, write it as in delay@2s",
    "delay@٣s": "'٣s' is no condition",
}


@pytest.mark.parametrize(("text", "why"), BAD.items(), ids=BAD)
def test_what_is_no_drill_is_named_with_what_would_be_right(text: str, why: str) -> None:
    with pytest.raises(BadDrill, match=re.escape(why)):
        parse(text)


ALPHABET = st.sampled_from([*KINDS, "@", ",", ".", "0", "1", "30", "s", "b", "b/s", " ", "%", "x", "\n", "é", "٣"])


@given(st.one_of(st.text(), st.lists(ALPHABET).map("".join)))
def test_nothing_crashes_the_parser_and_what_it_takes_can_be_written_and_read_again(text: str) -> None:
    try:
        drill = parse(text)
    except BadDrill as e:
        assert str(e)
        return
    assert parse(",".join(map(str, drill))) == drill
    assert all(0 < fault.chance <= 1 and (fault.amount > 0 or not KINDS[fault.kind].unit) for fault in drill)


def test_each_fault_comes_by_its_own_chance() -> None:
    drill = parse("401@0.5,429,cut@0.2")
    numbers = iter([0.5, 0.999, 0.1, 0.4, 0.999, 0.2])
    assert labels(draw(drill, lambda: next(numbers))) == "429, cut@2000b"
    assert labels(draw(drill, lambda: next(numbers))) == "401, 429"


def test_a_fault_says_its_chance_where_it_is_set_and_not_where_it_has_come() -> None:
    (fault,) = parse("silence@0.50s@0.1")
    assert (str(fault), fault.label) == ("silence@0.5s@0.1", "silence@0.5s")


class TestTheOption:
    @pytest.fixture
    def tctx(self) -> Iterator[taddons.context]:
        with taddons.context() as tctx:
            yield tctx

    async def test_it_is_off_unless_it_is_set(self, tctx: taddons.context, caplog: pytest.LogCaptureFixture) -> None:
        fault = CodexFault()
        tctx.master.addons.add(fault)
        assert fault.drill == () and caplog.messages == []

    async def test_it_is_told_when_it_begins_and_when_it_ends(
        self, tctx: taddons.context, caplog: pytest.LogCaptureFixture
    ) -> None:
        tctx.master.addons.add(CodexFault())
        for setting in ("429@0.1,cut", "429@0.1, cut", "", ""):
            tctx.options.update(codex_fault=setting)
        assert [(record.levelname, record.message) for record in caplog.records] == [
            ("WARNING", "the fault drill is on: 429@0.1, cut@2000b; answers fail on purpose"),
            ("WARNING", "the fault drill is off"),
        ]

    async def test_a_change_for_the_worse_leaves_what_was_set(
        self, tctx: taddons.context, caplog: pytest.LogCaptureFixture
    ) -> None:
        fault = CodexFault()
        tctx.master.addons.add(fault)
        tctx.options.update(codex_fault="429")
        with pytest.raises(exceptions.OptionsError, match="codex_fault: 'cutt' is no fault, did you mean cut?"):
            tctx.options.update(codex_fault="cutt")
        assert labels(fault.drill) == "429" and len(caplog.records) == 1


EVENTS = [b"data: %d\n\n" % i for i in range(4)]  # of nine bytes


def told(drill: str, parts: list[bytes], events: bool = True) -> tuple[bytes, list[float], End | None, str]:
    """All that comes out, the pauses behind each part, how it ends, and the faults that were met."""
    spoiler = Spoiler(parse(drill), events)
    spoiled = [spoiler.take(part) for part in parts]
    ends = [one.end for one in spoiled if one.end]
    assert len(ends) <= 1
    met = labels([fault for one in spoiled for fault in one.struck])
    return b"".join(one.out for one in spoiled), [one.pause for one in spoiled], ends[0] if ends else None, met


ALL = b"".join(EVENTS)
SPOILED: dict[str, tuple[bytes, list[float], End | None, str]] = {
    "cut@1b": (b"d", [0, 0, 0, 0], "cut", "cut@1b"),
    "cut@9b": (EVENTS[0], [0, 0, 0, 0], "cut", "cut@9b"),
    "cut@20b": (ALL[:20], [0, 0, 0, 0], "cut", "cut@20b"),
    "end@20b": (ALL[:20], [0, 0, 0, 0], "end", "end@20b"),
    "end@36b": (ALL, [0, 0, 0, 0], "end", "end@36b"),
    "cut@37b": (ALL, [0, 0, 0, 0], None, ""),
    "end@30b,cut@20b": (ALL[:20], [0, 0, 0, 0], "cut", "cut@20b"),
    "silence@5s": (ALL, [5, 0, 0, 0], None, "silence@5s"),
    "silence@5s,silence@6s": (ALL, [11, 0, 0, 0], None, "silence@5s, silence@6s"),
    "slow@90b/s": (ALL, [0.1, 0.1, 0.1, 0.1], None, "slow@90b/s"),
    "slow@90b/s,silence@1s": (ALL, [1.1, 0.1, 0.1, 0.1], None, "slow@90b/s, silence@1s"),
    "garbage": (EVENTS[0] + GARBAGE + ALL[9:], [0, 0, 0, 0], None, "garbage"),
    "failed": (EVENTS[0], [0, 0, 0, 0], "failed", "failed"),
    "failed,silence@5s": (EVENTS[0], [5, 0, 0, 0], "failed", "silence@5s, failed"),
    "failed,cut@5b": (ALL[:5], [0, 0, 0, 0], "cut", "cut@5b"),
    "429,drop,delay@1s": (ALL, [0, 0, 0, 0], None, ""),
}


@pytest.mark.parametrize(("drill", "expected"), SPOILED.items(), ids=SPOILED)
def test_what_a_drill_makes_of_an_answer(drill: str, expected: tuple[bytes, list[float], End | None, str]) -> None:
    out, pauses, end, met = told(drill, EVENTS)
    assert (out, pauses, end, met) == (expected[0], pytest.approx(expected[1]), *expected[2:])


@pytest.mark.parametrize("drill", SPOILED)
def test_it_does_not_depend_on_how_the_answer_is_cut_up(drill: str) -> None:
    out, pauses, end, met = told(drill, [bytes([byte]) for byte in ALL])
    expected = SPOILED[drill]
    assert (out, sum(pauses), end, met) == (expected[0], pytest.approx(sum(expected[1])), *expected[2:])


def test_an_event_that_comes_in_two_parts_is_not_torn() -> None:
    parts = [EVENTS[0][:4], EVENTS[0][4:], EVENTS[1]]
    assert told("garbage", parts)[0] == EVENTS[0] + GARBAGE + EVENTS[1]
    assert told("failed", parts)[0] == EVENTS[0]


def test_an_answer_of_another_kind_is_spoiled_behind_its_first_piece() -> None:
    assert told("garbage", [b'{"a":', b"1}"], events=False)[0] == b'{"a":' + GARBAGE + b"1}"
    assert told("silence@3s", [b'{"a":', b"1}"], events=False)[1] == [3, 0]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"], ids=["LF", "CR LF", "CR"])
def test_a_packet_comes_in_its_events(newline: bytes) -> None:
    events = [event.replace(b"\n", newline) for event in EVENTS]
    assert pieces(b"".join(events)) == events
    assert pieces(b"".join(events) + b"data: half") == [*events, b"data: half"]
    assert pieces(b"half") == [b"half"] and pieces(b"") == []


@given(st.binary())
def test_nothing_is_lost_of_a_packet(data: bytes) -> None:
    assert b"".join(pieces(data)) == data == b"".join(halves(data))


DRILL = PAGES["docs/drill.md"]


def test_its_page_has_the_table() -> None:
    rows = dict(re.findall(r"^\| `(.+?)` \| (.+) \|$", DRILL, re.M))
    assert rows == {Fault(name, kind.usual).label: kind.about for name, kind in KINDS.items()}
    assert set(REFUSALS) < set(KINDS)


def test_every_drill_on_its_page_is_one() -> None:
    drills = re.findall(r"codex_fault=([^\s\"`]+)", DRILL) + re.findall(r"`([a-z]+@[^`]+)`", DRILL)
    assert len(drills) > 5 and all(parse(drill) for drill in drills)
