"""The commands that read, as transcripts. What replays and exports has tests of its own."""

import argparse
import csv
import io
import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import zstandard

from addons.traffic import manual
from addons.traffic.__main__ import NAME, make_parser
from addons.traffic.exchange import Attempt, Bodies, Body, Client, Failure
from addons.traffic.remedies import BY_CODE
from addons.traffic.retention import Limits
from addons.traffic.schema import MIGRATIONS, open_to_write
from addons.traffic.writer import Recorder
from tests.addons.traffic.calls import NOON, WAIT, call, record, refused, with_bodies
from tests.addons.traffic.program import WIDTH, Program
from tests.pages import section
from tests.proxy import BIN, ROOT

NONE_YET = "codex-mitm: hint: the proxy makes it with the first call, start it with `make run`\n"

CUT = call(
    5,
    outcome="cut",
    error=Failure("server_error", "upstream_stream_incomplete", "upstream's stream ended before the answer was complete"),
    client=Client("laptop", "curl/8.5", "127.0.0.1"),
    started=NOON + 5,
)
DAY = [
    with_bodies(1),
    refused(2),
    call(3, outcome="client_left", tokens=None),
    call(4, edits=(), first_token=61.0, ended=125.0),
    CUT,
]


@pytest.fixture
def full(program: Program) -> Program:
    """With calls of a day in it."""
    record(program.path, *DAY)
    return program


# -- tail


def test_tail(full: Program) -> None:
    assert full.show("tail", "--no-follow") == (
        "time     id       client   model        state tokens      first total ed account\n"
        "12:00:01 00000001 OpenAI/… gpt-6-luna   200   812→344     0.92s 1.42s  2 ada\n"
        "12:00:02 00000002 OpenAI/… gpt-6-luna   429!  –               – 1.42s  2 ada\n"
        "         usage_limit_reached: The usage limit has been reached\n"
        "12:00:03 00000003 OpenAI/… gpt-6-luna   left  –           0.92s 1.42s  2 ada\n"
        "12:00:05 00000005 laptop   gpt-6-luna   cut!  812→344     0.92s 1.42s  2 ada\n"
        "         upstream_stream_incomplete: upstream's stream ended before the answer …\n"
        "12:00:04 00000004 OpenAI/… gpt-6-luna   200   812→344     61.0s    2m  – ada\n"
    )


@pytest.mark.parametrize(("number", "lines"), [("0", 1), ("1", 3), ("2", 4)])
def test_tail_of_the_last_few(full: Program, number: str, lines: int) -> None:
    assert len(full.show("tail", "--no-follow", "-n", number).splitlines()) == lines


def test_tail_tells_of_calls_that_were_not_recorded(full: Program) -> None:
    with closing(open_to_write(full.path)) as db:
        db.execute("INSERT INTO gaps VALUES (?, ?, 3, 'the disk was full')", (NOON + 4, NOON + 5))
    assert "12:00:04 3 calls were not recorded at 2025-11-21 12:00: the disk was full\n" in full.show("tail", "--no-follow")


def test_tail_follows(program: Program) -> None:
    with program.start("tail") as tail:
        tail.wait_until(lambda: "waiting for" in tail.err.read_text())
        recorder = Recorder(program.path, clock=lambda: NOON)
        recorder.start()
        recorder.put(call(1))
        assert " 00000001 " in tail.lines(2)[1]
        recorder.put(call(2))
        assert " 00000002 " in tail.lines(3)[2]
        recorder.close(WAIT)
        for file in list(program.path.parent.iterdir()):
            file.unlink()
        record(program.path, call(3))
        assert " 00000003 " in tail.lines(4)[3], "also in a database that is begun anew"
        tail.process.send_signal(signal.SIGINT)
        assert tail.process.wait(WAIT) == 130
        assert "Traceback" not in tail.err.read_text()


def test_tail_shows_what_came_from_the_network_as_text(program: Program) -> None:
    record(program.path, call(1, model_used="\x1b[31mred\x9b", account="a\nb", client=Client("\u202eevil", "", "")))
    [_, line] = program.show("tail", "--no-follow").splitlines()
    assert " [31mred " in line and line.endswith("a b") and line.isprintable()


# -- explain


def test_explain(full: Program) -> None:
    assert full.show("explain", "00000001") == (
        "00000001  2025-11-21 12:00  POST /v1/chat/completions\n"
        "  OpenAI/Python 3.52.0 from 127.0.0.1 asked for gpt-4.1-nano in the chat\n"
        "    dialect, streamed.\n"
        "  It went to gpt-6-luna on account ada at codex: the conversation is here.\n"
        "  2 things were changed in the request:\n"
        "  - mapped model: policy.yaml: gpt-4.1-nano is @smallest\n"
        "  - dropped temperature: the backend does not take it\n"
        "  First byte after 0.41s, first token after 0.92s, done after 1.42s; the longest\n"
        "    silence was 0.51s.\n"
        "  It cost 812 tokens in (79 % of it from the cache) and 344 out (120 of it\n"
        "    reasoning).\n"
        "  The plan after it: 5h 38 % used, resets 21 Nov 14:30; weekly 12 % used, resets\n"
        "    26 Nov 03:06.\n"
        "  The answer is complete, status 200.\n"
    )


def test_explain_a_failure(program: Program) -> None:
    attempts = (Attempt("ada", 0.01, 401, outcome="token renewed"), Attempt("bob", 0.5, None, "connection refused", "", 0.2))
    record(program.path, refused(1, attempts=attempts, edits=(), quota=(), account_why="", client=Client("laptop", "curl/8.5", "")))
    assert program.show("explain", "last") == (
        "00000001  2025-11-21 12:00  POST /v1/chat/completions\n"
        "  laptop (curl/8.5) asked for gpt-4.1-nano in the chat dialect, streamed.\n"
        "  It went to gpt-6-luna on account ada at codex.\n"
        "  Nothing was changed in the request.\n"
        "  It took 2 attempts:\n"
        "  1. 0.01s in, account ada: answered 401, token renewed\n"
        "  2. after a wait of 0.20s, 0.50s in, account bob: connection refused\n"
        "  First byte after 0.41s, done after 1.42s; the longest silence was 0.51s.\n"
        "  It was refused, status 429. usage_limit_reached: The usage limit has been\n"
        "    reached.\n"
        "  What to do: the plan is used up: wait until it resets, or sign in with another\n"
        "    account (`make login ARGS='--account NAME'`).\n"
    )


def test_explain_a_call_that_never_got_anywhere(program: Program) -> None:
    record(
        program.path, call(1, account="", status=None, outcome="client_left", tokens=None, quota=(), attempts=(), model_asked="")
    )
    told = program.show("explain", "last")
    assert "No account was chosen for it.\n" in told
    assert "The client left before the end, and the client saw no status.\n" in told


@pytest.mark.parametrize("name", ["00000002", "req_00000002", refused(2).id, "0000000" + "2" + "0" * 10])
def test_a_call_is_named_by_the_beginning_of_its_id(full: Program, name: str) -> None:
    assert full.show("explain", name).startswith("00000002 ")


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("99", "codex-mitm: no call is recorded whose id begins with 99\ncodex-mitm: hint: `codex-traffic tail` shows"),
        ("0000000", f"codex-mitm: the ids of several calls begin with 0000000\ncodex-mitm: hint: name one of {CUT.id}, "),
        ("%", "codex-mitm: no call is recorded whose id begins with %"),
        ("", "codex-mitm: no call is recorded whose id begins with "),
    ],
)
def test_a_call_that_cannot_be_found(full: Program, name: str, complaint: str) -> None:
    ran = full.run("explain", name)
    assert (ran.code, ran.out) == (1, "") and ran.err.startswith(complaint)


def test_every_error_code_of_the_readme_has_a_remedy() -> None:
    cells = re.findall(r"^\| (\d[^|]*)\|", section("README.md", "Troubleshooting"), re.M)
    codes = {code for cell in cells for code in re.findall(r"`(\w+)`", cell)}
    assert len(codes) > 30 and codes - set(BY_CODE) == set()


# -- show


def test_show(full: Program) -> None:
    told = full.show("show", "00000001")
    assert told.startswith('the client\'s request, 102 bytes\n{\n  "model": "gpt-4.1-nano",\n  "temperature": 0.3,\n')
    assert '\nthe request to upstream, 109 bytes\n{\n  "model": "gpt-6-luna",\n' in told


def test_show_the_difference(full: Program) -> None:
    assert full.show("show", "00000001", "--diff") == (
        "--- client\n+++ upstream\n@@ -1,10 +1,11 @@\n {\n"
        '-  "messages": [\n+  "input": [\n     {\n       "content": "Say hello.",\n       "role": "user"\n     }\n   ],\n'
        '-  "model": "gpt-4.1-nano",\n-  "temperature": 0.3\n+  "model": "gpt-6-luna",\n+  "store": false,\n+  "stream": true\n }\n'
    )


def test_show_no_difference(program: Program) -> None:
    same = Body.whole(b'{"a": 1}')
    record(program.path, call(1, bodies=Bodies(same, same)))
    assert program.show("show", "last", "--diff") == "the client's request went upstream as it was\n"


def test_show_the_events_with_the_moment_at_which_each_was_whole(full: Program) -> None:
    assert full.show("show", "00000001", "--events") == (
        "   0.410s +0.410s  response.created\n"
        '    {"type":"response.created"}\n'
        "   0.920s +0.510s  response.output_text.delta\n"
        '    {"type":"response.output_text.delta","delta":"Hel"}\n'
        "   1.400s +0.480s  response.completed\n"
        '    {"type":"response.completed"}\n'
    )


def test_show_a_body_that_is_not_whole_and_not_json(program: Program) -> None:
    long = Body.whole(b"\x1b[2Jnot json " + b"x" * 1000 + b" the end")
    record(program.path, call(1, bodies=Bodies(long, long, long)), body_limit=100)
    told = program.show("show", "last")
    assert "bytes were too many to be recorded" in told and "the end" in told and "\x1b" not in told
    assert "(a gap)" in program.show("show", "last", "--events")


@pytest.mark.parametrize("more", [[], ["--diff"], ["--events"]])
def test_show_what_was_not_recorded(full: Program, more: list[str]) -> None:
    ran = full.run("show", "00000004", *more)
    assert (ran.code, ran.out) == (1, "")
    assert "was not recorded\ncodex-mitm: hint: bodies are recorded with `--set codex_traffic_bodies=true`\n" in ran.err


# -- usage


def test_usage(full: Program) -> None:
    assert full.show("usage", "--days", "10000") == (
        "day               calls failed     in cached    out reasoning\n"
        "2025-11-21            5      2   2.4k   79 %   1.0k       360  ████████████\n"
        "ada's plan, 5h: 0 % of it used in 10000 days, now at 38 %, resets 21 Nov 14:30\n"
        "ada's plan, weekly: 0 % of it used in 10000 days, now at 12 %, resets 26 Nov\n"
        "  03:06\n"
    )


def test_usage_by_client(full: Program) -> None:
    assert full.show("usage", "--by", "client", "--days", "10000").splitlines()[:4] == [
        "client            calls failed     in cached    out reasoning",
        "OpenAI/Python         4      1   1.6k   79 %    688       240  ████████████",
        "laptop                1      1    812   79 %    344       120  ██████",
        "all                   5      2   2.4k   79 %   1.0k       360",
    ]


def test_usage_for_programs(full: Program) -> None:
    with closing(open_to_write(full.path)) as db:
        db.execute("INSERT INTO gaps VALUES (?, ?, 3, 'the disk was full')", (NOON, NOON))
    told = json.loads(full.show("usage", "--by", "model", "--days", "10000", "--json"))
    [total] = told["totals"]
    expected = {"model": "gpt-6-luna", "calls": 5, "failed": 2, "input": 2436, "cached": 1920, "output": 1032, "reasoning": 360}
    assert total == expected
    assert {(plan["account"], plan["minutes"], plan["used"]) for plan in told["plan"]} == {("ada", 300, 38.0), ("ada", 10080, 12.0)}
    assert told["not_recorded"] == [{"since": NOON, "until": NOON, "calls": 3, "why": "the disk was full"}]
    assert "3 calls were not recorded at 2025-11-21 12:00: the disk was full\n" in full.show("usage", "--days", "10000")


def test_usage_for_spreadsheets(program: Program) -> None:
    record(program.path, call(1, client=Client("=HYPERLINK(1)", "", "")), call(2, client=Client('a "b", c', "", "")))
    rows = list(csv.reader(io.StringIO(program.show("usage", "--by", "client", "--days", "10000", "--csv"))))
    assert rows[0] == ["client", "calls", "failed", "input", "cached", "output", "reasoning"]
    assert {row[0] for row in rows[1:]} == {"'=HYPERLINK(1)", 'a "b", c'}


def test_usage_when_there_was_none_lately(full: Program) -> None:
    assert full.show("usage", "--days", "1").startswith("no calls since 20")


# -- drift


def test_drift_on_the_first_day(program: Program) -> None:
    record(program.path, call(1, started=time.time()))
    told = program.show("drift")
    assert told.startswith("nothing new\n") and "those of the first day are shown with" in told


def test_drift_later(program: Program) -> None:
    now = time.time()
    record(program.path, call(1, started=now - 9 * 86400), limits=Limits(days=10**6))
    new = {"events": {"response.brand_new": 1}, "event_fields": frozenset({"response.created: response.mood"})}
    record(program.path, call(2, started=now, unknown=frozenset({"response.brand_new"}), **new), refused(3, started=now))
    lines = [re.sub(r"  \d{4}-\d\d-\d\d \d\d:\d\d", "", line) for line in program.show("drift").splitlines()]
    assert lines[:8] == [
        "not known to the proxy",
        "  00000002  response.brand_new",
        "error code",
        "  00000003  usage_limit_reached",
        "event type",
        "  00000002  response.brand_new",
        "field of an event",
        "  00000002  response.created: response.mood",
    ]
    assert "response.output_text.delta" in program.show("drift", "--all")


# -- prune and verify


def test_prune(program: Program) -> None:
    record(program.path, *(call(n) for n in range(1, 1200)), limits=Limits(days=10**6))
    before = program.path.stat().st_size
    told = program.show("prune", "--days", "1")
    assert told.startswith("1199 calls removed, ") and program.path.stat().st_size < before / 2
    assert "1199" in program.show("usage", "--days", "10000"), "the sums stay"


def test_prune_while_the_proxy_writes(program: Program) -> None:
    record(program.path, *(call(n) for n in range(1, 500)))
    recorder = Recorder(program.path, clock=lambda: NOON)
    recorder.start()
    recorder.put(call(1000))
    assert recorder.flush(WAIT)
    assert program.run("prune", "--bytes", "200K").code == 0
    assert recorder.put(call(1001)) and recorder.flush(WAIT)
    assert recorder.health().trouble == ""
    recorder.close(WAIT)
    assert " 00000" in program.show("tail", "--no-follow", "-n", "1")


def test_verify_finds_nothing(full: Program) -> None:
    assert re.fullmatch(r"5 calls searched, \d+\.\d KiB: nothing that looks like a secret\n", full.show("verify"))


def test_verify_finds_what_somebody_put_there_and_does_not_repeat_it(full: Program) -> None:
    key = "sk-proj-SENTINEL456def789jkl012"
    with closing(sqlite3.connect(full.path)) as db:
        db.execute("UPDATE calls SET error = ? WHERE seq = 2", (key,))
        # As a packing without redaction would have written it.
        packed = zstandard.compress(b'{"chunks":[[0,%d]],"left_out":0,"gap":0}\n%b' % (len(key), key.encode()))
        db.execute("UPDATE bodies SET packed = ? WHERE part = 'client_answer'", (packed,))
        db.execute("UPDATE bodies SET packed = x'00' WHERE part = 'client_request'")
        db.commit()
    ran = full.run("verify")
    assert ran.code == 1 and key[:10] not in ran.out
    assert f"calls.error of {refused(2).id}: looks like a key\n" in ran.out
    assert f"bodies.packed client_answer of {call(1).id}: looks like a key\n" in ran.out
    assert f"bodies.packed client_request of {call(1).id}: a recorded body cannot be read" in ran.out


# -- what holds for all of them


COMMANDS = {
    "tail": ["tail", "--no-follow"],
    "explain": ["explain", "last"],
    "show": ["show", "last"],
    "usage": ["usage"],
    "export": ["export", "last", "--har"],
    "replay": ["replay", "last"],
    "drift": ["drift"],
    "prune": ["prune"],
    "verify": ["verify"],
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_there_is_no_database_yet(program: Program, arguments: list[str]) -> None:
    ran = program.run(*arguments)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"codex-mitm: nothing is recorded yet, there is no {program.path}\n{NONE_YET}"
    assert not program.path.exists()


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_a_database_from_the_future(program: Program, arguments: list[str]) -> None:
    open_to_write(program.path, [*MIGRATIONS, "CREATE TABLE more (a)"]).close()
    ran = program.run(*arguments)
    assert ran.code == 1 and "it has version 2 and this codex-mitm knows 1\ncodex-mitm: hint: use the codex-mitm that" in ran.err


def test_it_fits_into_80_columns(full: Program) -> None:
    words = "because " * 60
    record(full.path, call(9, model_used=words, account=words, client=Client(words), account_why=words))
    more = (["drift", "--all"], ["usage", "--by", "account", "--days", "10000"])
    for arguments in (*(COMMANDS[name] for name in ("tail", "explain", "usage", "drift", "verify")), *more):
        assert [line for line in full.show(*arguments).splitlines() if len(line) > WIDTH] == []


def test_another_place(program: Program, tmp_path: Path) -> None:
    record(tmp_path / "other.db", call(1))
    assert " 00000001 " in program.show("--db", str(tmp_path / "other.db"), "tail", "--no-follow")
    (tmp_path / "home").mkdir()
    record(tmp_path / "home" / "traffic.db", call(2))
    assert " 00000002 " in program.run("tail", "--no-follow", CODEX_MITM_HOME=str(tmp_path / "home")).out


def test_a_terminal_without_unicode(full: Program) -> None:
    ran = full.run("tail", "--no-follow", PYTHONIOENCODING="ascii")
    assert ran.code == 0 and " 812>344 " in ran.out
    assert "############" in full.run("usage", "--days", "10000", PYTHONIOENCODING="ascii").out


@pytest.mark.parametrize(
    ("env", "coloured"), [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_are_for_terminals_that_want_them(full: Program, env: dict[str, str], coloured: bool) -> None:
    ours, theirs = pty.openpty()
    ran = subprocess.run(
        full.command("tail", "--no-follow"),
        cwd=ROOT,
        env=full.environment(env),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        timeout=WAIT,
    )
    os.close(theirs)
    written = b""
    while b"00000005" not in written:
        written += os.read(ours, 65536)
    os.close(ours)
    assert ran.returncode == 0 and (b"\x1b[31m429!" in written) == coloured == (b"\x1b" in written)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["tail", "--no-follow"], ["show", "00000001"], ["usage"], ["export", "last", "--har"]]
)
def test_a_reader_that_left(full: Program, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ran = subprocess.run(
        full.command(*arguments), cwd=ROOT, env=full.environment(), stdin=subprocess.DEVNULL, stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    assert ran.stderr == b"" and ran.returncode in (0, 1)


HELP = {name: getattr(manual, name.upper()) for name in COMMANDS}


@pytest.mark.parametrize("arguments", [[], *([name] for name in HELP)], ids=["all", *HELP])
def test_help_is_prose_with_an_example(program: Program, arguments: list[str]) -> None:
    told = program.show(*arguments, "--help")
    assert told == HELP.get("".join(arguments), manual.HELP).replace(NAME, "python -m addons.traffic")
    assert "\nUsage:\n    python -m addons.traffic" in told and "\nExample:\n    $ python -m addons.traffic" in told
    assert max(map(len, told.splitlines())) <= WIDTH


@pytest.mark.parametrize(
    ("typed", "called"),
    [
        ([str(BIN / NAME)], str(BIN / NAME)),
        ([os.path.relpath(BIN / NAME, ROOT)], os.path.relpath(BIN / NAME, ROOT)),
        (["sh", "-c", f'PATH="$0:$PATH" {NAME} "$@"', f"{BIN}/"], NAME),
    ],
    ids=["a path", "a path from here", "found on PATH"],
)
def test_the_installed_program_calls_itself_as_it_was_typed(program: Program, typed: list[str], called: str) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*typed, *arguments], cwd=ROOT, env=program.environment(), capture_output=True, text=True)

    assert run("--help").stdout == manual.HELP.replace(NAME, called)
    assert run("tail", "--mood").stderr.endswith(f"codex-mitm: hint: `{called} --help` shows the usage\n")


def test_it_is_there_at_once(program: Program) -> None:
    """Nothing is loaded that takes long to load; `tail` is started often."""
    uncovered = program.environment({"COVERAGE_PROCESS_START": "", "COVERAGE_PROCESS_CONFIG": ""})  # coverage loads much itself
    loads = "import sys; from addons.traffic.__main__ import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    record(program.path, call(1))
    ran = subprocess.run(
        [sys.executable, "-c", loads, "tail", "--no-follow"], cwd=ROOT, env=uncovered, capture_output=True, text=True
    )
    loaded = {name.partition(".")[0] for name in ran.stderr.split()}
    assert ran.returncode == 0 and "sqlite3" in loaded
    assert loaded & {"asyncio", "auth", "http", "httpx", "json", "jwt", "mitmproxy", "orjson", "zstandard"} == set()


def test_help_names_every_command_and_option() -> None:
    [commands] = [action for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction)]
    assert set(commands.choices) == set(HELP) == set(re.findall(r"^    (\w+)  +\w", manual.HELP, re.M))
    for name, command in commands.choices.items():
        options = {option for action in command._actions for option in action.option_strings} - {"-h", "--help"}
        assert options == set(re.findall(r"^    (--?[a-z-]+)(?= )", HELP[name], re.M))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["watch"], "invalid choice: 'watch'"),
        (["explain"], "the following arguments are required: ID"),
        (["show", "last", "--diff", "--events"], "not allowed with argument"),
        (["usage", "--by", "mood"], "invalid choice: 'mood'"),
        (["usage", "--days", "0"], "a number of days from 1 to 10000, not 0"),
        (["usage", "--days", "many"], "a number of days from 1 to 10000, not many"),
        (["tail", "-n", "-3"], "a number up to 100000, not -3"),
        (["export", "last"], "one of the arguments --har --jsonl --curl is required"),
        (["replay", "last", "--speed", "-1"], "a number of at least 0, not -1"),
        (["replay", "last", "--speed", "nan"], "a number of at least 0, not nan"),
        (["replay", "last", "--account", "a\nb"], "printable ASCII"),
        (["prune", "--bytes", "lots"], "a number of bytes as 1000000, 500M or 2G, not lots"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_a_wrong_usage(program: Program, arguments: list[str], why: str) -> None:
    ran = program.run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert why in ran.err and re.search(r"codex-mitm: hint: `python -m addons\.traffic.* --help` shows the usage\n", ran.err)
