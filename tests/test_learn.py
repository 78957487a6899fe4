"""docs/learn.md tells the truth: its commands are run, in its order, and print what stands there. The masks are in lessons.py."""

import re
import shlex
from pathlib import Path

import pytest

from addons.traffic.__main__ import make_parser as traffic_parser
from auth.__main__ import make_parser as auth_parser
from tests.lessons import DEMO, PAGE, is_open, learner, masked, steps_of
from tests.needs import need_programs

TEXT = PAGE.read_text()
# Lines of a lesson on which something stands, printed ones included: to be done in ten minutes.
LONGEST = 50


@pytest.mark.slow
def test_every_command_prints_what_stands_there(tmp_path: Path) -> None:
    need_programs("curl", "make")
    with learner(tmp_path) as someone:
        for step in steps_of(TEXT):
            printed = someone.do(step)
            where = f"{step.lesson}, line {step.line}: {step.command or "in the demo's terminal"}"
            assert masked(printed) == masked(step.printed), where
        with someone.control() as control:
            secrets = control.tokens()
    seen = someone.everything_printed()
    assert not Path(re.findall(r"CODEX_MITM_HOME=(\S+)", seen)[0]).exists()
    assert "nothing of it is left" in seen and "Traceback" not in seen
    assert len(secrets) > 10 and [secret for secret in secrets if secret in seen or secret in TEXT] == []


def test_there_are_nine_lessons_none_of_them_long() -> None:
    lessons = re.split(r"^## (?=\d\. )", TEXT, flags=re.M)[1:]
    assert [lesson[0] for lesson in lessons] == list("123456789")
    for lesson in lessons:
        assert "```text" in lesson and "```console\n$ " in lesson and "**Look at**" in lesson and "**Try next:**" in lesson
        assert len([line for line in lesson.splitlines() if line and not line.startswith("```")]) <= LONGEST, lesson.splitlines()[0]


def test_a_command_that_is_only_spoken_of_can_be_typed() -> None:
    """Between backticks in the prose: it parses, at least."""
    spoken = [" ".join(words.split()) for words in re.findall(r"`((?:codex-traffic|python -m auth) [^`]+)`", TEXT)]
    assert len(spoken) > 3
    for command in spoken:
        if command.startswith("codex-traffic"):
            traffic_parser().parse_args(shlex.split(command)[1:])
        else:
            auth_parser().parse_args(shlex.split(command)[3:])


def test_a_page_is_read_as_it_is_meant() -> None:
    page = """
## 1. A
```text
$ no
```
```console
$ make x
out

put
$ a 'b
    c'
$ d \\
    e &
```
```console
 seen
 too
```
"""
    steps = [(step.lesson, step.command, step.printed) for step in steps_of(page)]
    assert steps == [
        ("1. A", "make x", ["out", "", "put"]),
        ("1. A", "a 'b\n    c'", []),
        ("1. A", "d \\\n    e &", []),
        ("1. A", "", [" seen", " too"]),
    ]


@pytest.mark.parametrize(
    "of_the_page, of_now",
    [
        ("http://127.0.0.1:34245/v1", "http://127.0.0.1:9/v1"),
        ("req_0123456789abcdef0123456789abcdef resp_01ab", "req_f123456789abcdef0123456789abcdef resp_99ff"),
        ("rt_FAKE_8_tiwxRuEi", "rt_FAKE_8_xY-z_zzz"),
        ("First byte after 0.01s", "First byte after 12.4s"),
    ],
)
def test_what_is_volatile_makes_no_difference(of_the_page: str, of_now: str) -> None:
    assert masked([of_the_page]) == masked([of_now])


@pytest.mark.parametrize(
    "of_the_page, of_now",
    [
        ("rt_FAKE_8_tiwxRuEi", "rt_FAKE_11_tiwxRuEi"),
        ("HTTP/1.1 200 OK", "HTTP/1.1 429 Too Many Requests"),
        ("- dropped temperature: it", "- dropped top_p: it"),
        ("48 models", "0 models"),
    ],
)
def test_and_what_is_said_does(of_the_page: str, of_now: str) -> None:
    assert masked([of_the_page]) != masked([of_now])


def test_the_first_command_is_the_demo() -> None:
    assert steps_of(TEXT)[0].command == DEMO and not any(is_open(step.command) for step in steps_of(TEXT))
