"""What the user wants out of the record: wherever it stands and however it is written, and whatever the pattern costs."""

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addons.traffic import queries
from addons.traffic.exchange import Bodies, Body, Chunk, Client, Exchange, Failure
from addons.traffic.packing import unpack
from addons.traffic.patterns import BadPattern, patterns_in
from addons.traffic.recorded import load
from addons.traffic.schema import open_to_read
from addons.traffic.searching import WHY, PatternsFailed, Searching
from addons.traffic.secrets import YOURS, redacted_body
from addons.traffic.stories import exchange_of
from addons.traffic.upkeep import search
from addons.traffic.writer import Recorder
from addons.wire.plan import Edit
from tests.addons.traffic.calls import NOON, WAIT, call, record
from tests.addons.traffic.program import Program
from tests.addons.traffic.spelling import cut_up, said_in, said_in_pieces
from tests.auth.program import wait_until
from tests.proxy import ROOT

NAME = "Jörg Müller-42"
PATTERNS = (r"(?i)jörg m[üu]ller-\d+",)
# It tries every way to cut the letters into groups, twice as many with each letter.
NEVER_ENDS = "(a+)+$"
ENDLESS = b"a" * 60 + b"!"


@pytest.fixture(scope="module")
def searching() -> Iterator[Searching]:
    with closing(Searching(PATTERNS)) as started:
        yield started


def out_of(body: Body, searching: Searching) -> bytes:
    return redacted_body(body, searching).data


WRITTEN = {
    "plainly": f"ask {NAME} about it".encode(),
    "in capitals": f"ask {NAME.upper()} about it".encode(),
    "with escapes, as most programs do": json.dumps({"content": f"ask {NAME}"}).encode(),
    "with letters as they are": json.dumps({"content": f"ask {NAME}"}, ensure_ascii=False).encode(),
    "in JSON within JSON": json.dumps({"arguments": json.dumps({"who": NAME})}).encode(),
    "behind what is not UTF-8": b"\xff\xfe " + NAME.encode() + b" \xff",
    "twice": f"{NAME} and {NAME}".encode(),
}


@pytest.mark.parametrize("data", WRITTEN.values(), ids=WRITTEN)
def test_however_it_is_written(data: bytes, searching: Searching) -> None:
    out = out_of(Body.whole(data), searching)
    assert b"[redacted by your pattern]" in out and b"ller-42" not in out.lower()
    assert (out[:2], out[-1:]) == (data[:2], data[-1:]) or data.startswith(b"J"), "nothing else is gone"
    if data.startswith(b"{"):
        json.loads(out)


def test_what_does_not_match_is_let_alone(searching: Searching) -> None:
    body = Body((Chunk(0.0, "Jörg Müller".encode()), Chunk(1.0, b"\\u00fc \xff")))
    assert redacted_body(body, searching) is body


@settings(deadline=None)
@given(st.lists(st.integers(1, len(NAME) - 1), max_size=6), st.booleans(), st.text("ab \n", max_size=5))
def test_spelled_over_several_events(cuts: list[int], chat: bool, around: str) -> None:
    body = said_in_pieces([around, *cut_up(NAME, cuts), around], chat)
    out = redacted_body(body, find_name)
    assert said_in(out) == f"{around}[redacted {YOURS}]{around}"
    assert out.moments == body.moments


def find_name(texts: Sequence[bytes]) -> list[list[tuple[int, int]]]:
    """What the process would find; it is not started for each example."""
    name = NAME.encode()
    return [[(at, at + len(name))] if (at := text.find(name)) >= 0 else [] for text in texts]


def everywhere() -> Exchange:
    body = Body.whole(json.dumps({"input": f"I am {NAME}"}).encode())
    return call(
        1,
        client=Client(NAME, f"{NAME}/1.0", "127.0.0.1"),
        endpoint=f"/v1/{NAME}",
        model_asked=NAME,
        account=NAME,
        account_why=f"it is that of {NAME}",
        edits=(Edit("dropped", NAME, NAME),),
        error=Failure("x", NAME, f"{NAME} does not exist"),
        events={NAME: 1},
        event_fields=frozenset({f"response.created: {NAME}"}),
        bodies=Bodies(body, body, body, body),
    )


def test_nothing_of_a_call_keeps_it(tmp_path: Path, searching: Searching) -> None:
    recorder = Recorder(tmp_path / "traffic.db", clock=lambda: NOON)
    recorder.start()
    assert recorder.put(everywhere(), PATTERNS) and recorder.flush(WAIT)
    files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert "Müller".encode() not in files and b"M\\u00fcller" not in files and b"[redacted by your pattern]" in files
    with closing(open_to_read(tmp_path / "traffic.db")) as db:
        assert list(search(db, searching)) == []
        [packed] = {bytes(row[0]) for row in db.execute("SELECT packed FROM bodies WHERE part != 'upstream_request'")}
        assert unpack(packed).data == b'{"input": "I am [redacted by your pattern]"}'
    recorder.close(WAIT)


def test_a_call_keeps_the_words_of_the_proxy(tmp_path: Path) -> None:
    """Or it could not be found again, and nobody could tell what became of it."""
    recorder = Recorder(tmp_path / "traffic.db", clock=lambda: NOON)
    recorder.start()
    assert recorder.put(call(1), (r"[a-z0-9_]+",)) and recorder.flush(WAIT)
    recorder.close(WAIT)
    with closing(open_to_read(tmp_path / "traffic.db")) as db:
        told = load(db, "00000001")
    assert (told.id, told.outcome, told.method, told.dialect) == (call(1).id, "complete", "POST", "chat")
    assert told.account == f"[redacted {YOURS}]" and told.tokens


def test_no_first_word_of_it_becomes_the_name_of_a_client(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "traffic.db", clock=lambda: NOON)
    recorder.start()
    assert recorder.put(call(1, client=Client("", "Ada Lovelace 1.0", "127.0.0.1")), ("Ada Lovelace",)) and recorder.flush(WAIT)
    recorder.close(WAIT)
    with closing(open_to_read(tmp_path / "traffic.db")) as db:
        assert [one.client for one in queries.latest(db, 9)] == [f"[redacted {YOURS}]"]
        assert [total.key for total in queries.totals(db, "client", "0")] == [f"[redacted {YOURS}]"]


def test_a_change_holds_for_what_is_put_from_then_on(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "traffic.db", clock=lambda: NOON)
    recorder.start()
    for number, patterns in enumerate([(), ("ada",), ("luna",), ()]):
        assert recorder.put(call(number), patterns)
    assert recorder.flush(WAIT)
    recorder.close(WAIT)
    with closing(open_to_read(tmp_path / "traffic.db")) as db:
        told = [exchange_of(queries.story(db, one)) for one in queries.latest(db, 9)]
    hidden = f"[redacted {YOURS}]"
    assert [one.account for one in told] == ["ada", hidden, "ada", "ada"]
    assert [one.model_used for one in told] == ["gpt-6-luna", "gpt-6-luna", f"gpt-6-{hidden}", "gpt-6-luna"]


# -- a pattern that takes for ever


def test_it_is_given_up_and_the_next_search_works() -> None:
    with closing(Searching(["x", NEVER_ENDS], patience=0.3)) as searching:
        assert searching([b"axb"]) == [[(1, 2)]]
        with pytest.raises(PatternsFailed, match="number 2 of redact_patterns took more than 0.3 seconds") as failed:
            searching([ENDLESS])
        assert NEVER_ENDS not in str(failed.value), "a pattern may be what nobody shall read"
        assert searching([b"xax", b"", b"xa"]) == [[(0, 1), (2, 3)], [], [(0, 1), (1, 2)]]


def test_everybody_else_goes_on_meanwhile(tmp_path: Path) -> None:
    """With the pattern in a thread of this process this loop would not be through a handful of times."""
    failed = threading.Event()

    def look() -> None:
        with closing(Searching([NEVER_ENDS], patience=0.5)) as searching, pytest.raises(PatternsFailed):
            searching([ENDLESS])
        failed.set()

    searcher = threading.Thread(target=look)
    searcher.start()
    rounds = 0
    while not failed.wait(0.001):
        rounds += 1
    searcher.join()
    assert rounds > 20


def test_what_was_not_searched_is_not_recorded_and_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("addons.traffic.searching.PATIENCE", 0.3)
    caplog.set_level(logging.WARNING)
    path = tmp_path / "traffic.db"
    recorder = Recorder(path, clock=lambda: NOON)
    recorder.start()
    slow = call(2, bodies=Bodies(client_request=Body.whole(ENDLESS)))
    for exchange in (call(1), slow, call(3), slow, call(5)):
        assert recorder.put(exchange, (NEVER_ENDS,))
    assert recorder.flush(WAIT) and recorder.health() == (0, 2, "")
    recorder.close(WAIT)
    with closing(open_to_read(path)) as db:
        assert [one.id for one in queries.latest(db, 9)] == [call(n).id for n in (1, 3, 5)]
        assert [(gap.calls, gap.why) for gap in queries.gaps(db, 0)] == [(2, WHY)]
    assert ENDLESS not in b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert f"{slow.id} is not recorded: number 1 of redact_patterns" in caplog.text


def test_a_process_that_is_killed_is_not_called_slow() -> None:
    with closing(Searching(["x"])) as searching:
        assert searching([b"x"]) == [[(0, 1)]]
        assert searching._process
        searching._process.kill()
        with pytest.raises(PatternsFailed, match="the search for number 1 of redact_patterns ended with code -9"):
            searching([b"x"])
        assert searching([b"x"]) == [[(0, 1)]]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_the_process_ends_with_the_proxy_however_that_ends() -> None:
    program = (
        "from addons.traffic.searching import Searching\n"
        "searching = Searching(['x'])\nsearching([b''])\nprint(searching._process.pid, flush=True)\ninput()\n"
    )
    proxy = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with proxy:
        assert proxy.stdout
        pid = int(proxy.stdout.readline())
        assert is_running(pid)
        proxy.kill()
        wait_until(lambda: not is_running(pid))


def is_running(pid: int) -> bool:
    """A dead one may wait for somebody to notice."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# -- verify


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def test_verify_finds_what_was_recorded_before_there_was_the_pattern(program: Program, tmp_path: Path) -> None:
    record(program.path, call(1, bodies=Bodies(client_answer=said_in_pieces(["J\u00f6rg", " Mü", "ller-42"], chat=False))))
    policy = tmp_path / "policy.yaml"
    policy.write_text("nonsense: [1]\nredact_patterns:\n  - 'ACME'\n  - '(?i)jörg müller'\n")
    ran = program.run("verify", "--policy", str(policy))
    assert ran.code == 1 and "Müller" not in ran.out
    assert ran.out == f"bodies.packed client_answer of {call(1).id}: matches one of redact_patterns\n"
    policy.write_text("redact_patterns: ['ACME']\n")
    told = program.show("verify", "--policy", str(policy)).splitlines()
    assert "nothing that looks like a secret" in told[0] and told[1:] == ["and nothing that matches redact_patterns"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("redact_patterns: [ok, 'a(']", "redact_patterns: number 2: a( is not a regular expression"),
        ("redact_patterns: 5", "redact_patterns: it must be a list"),
        ("a: {", "it cannot be read as YAML"),
    ],
)
def test_a_policy_that_is_wrong(text: str, why: str, program: Program, tmp_path: Path) -> None:
    record(program.path, call(1))
    (tmp_path / "policy.yaml").write_text(text)
    ran = program.run("verify", "--policy", str(tmp_path / "policy.yaml"))
    assert (ran.code, ran.out) == (1, "") and f"policy.yaml cannot be used: {why}" in ran.err


def test_a_policy_without_patterns() -> None:
    assert patterns_in("") == patterns_in("redact_patterns:") == patterns_in("- a list") == ()
    with pytest.raises(BadPattern):
        patterns_in("redact_patterns: ['']")
