"""`python -m auth logout`: what is ended at the issuer, and what is deleted."""

import json

import pytest

from tests.auth.program import Program, Ran


def test_logout_ends_what_login_began_and_leaves_nothing(program: Program) -> None:
    fields = program.fake.control.login()
    program.place(fields, "work", signed_in_here=True)
    ran = program.run_here("logout", "--account", "work")
    assert ran == Ran(0, "", "account work is signed out at OpenAI, and deleted here\n")
    assert [seen.json["token"] for seen in program.fake.control.seen(route="revoke")] == [fields["tokens"]["refresh_token"]]
    assert not program.file("work").parent.exists()


def test_logout_after_refreshes_ends_the_current_token(program: Program) -> None:
    program.log_in()
    program.run_here("refresh")
    program.run_here("logout")
    assert [seen.json["token"] for seen in program.fake.control.seen(route="revoke")] == [
        program.fake.control.current("ada@example.com").refresh_token
    ]


def test_logout_that_keeps_the_sign_in_elsewhere(program: Program) -> None:
    program.place(program.fake.control.login(), signed_in_here=True)
    ran = program.run_here("logout", "--keep-remote")
    assert (ran.code, "its sign-in was not ended at OpenAI" in ran.err, program.file().exists()) == (0, True, False)
    assert program.fake.control.counts().revocations == 0


def test_logout_does_not_end_what_was_imported(program: Program) -> None:
    source = program.home / "cli.json"
    source.write_text(json.dumps(program.fake.control.login()))
    program.run_here("login", "--import", str(source))
    assert program.run_here("logout").code == 0
    assert (program.fake.control.counts().revocations, program.file().exists(), source.exists()) == (0, False, True)


def test_logout_goes_on_if_the_issuer_does_not_answer(program: Program) -> None:
    program.place(program.fake.control.login(), signed_in_here=True)
    program.fake.control.fault("revoke", reset="before_headers")
    ran = program.run_here("logout")
    assert (ran.code, "OpenAI did not confirm" in ran.err, program.file().exists()) == (0, True, False)


def test_logout_of_a_corrupt_account(program: Program) -> None:
    program.place({}, signed_in_here=True)
    assert (program.run_here("logout").code, program.file().exists()) == (0, False)


def test_logout_keeps_what_is_not_ours(program: Program) -> None:
    program.place(program.fake.control.login())
    note = program.file(name="note.txt")
    note.write_text("mine")
    program.run_here("logout")
    assert list(note.parent.iterdir()) == [note]


@pytest.mark.parametrize("name", ["default", "codex-cli"])
def test_the_codex_cli_s_own_file_is_left_alone(program: Program, name: str) -> None:
    path = program.place_cli(program.fake.control.login())
    ran = program.run_here("logout", "--account", name)
    assert (ran.code, "`codex logout`" in ran.err, path.exists()) == (1, True, True)
    assert program.fake.control.counts().revocations == 0


def test_logout_of_nobody(program: Program) -> None:
    ran = program.run_here("logout", "--account", "work")
    assert (ran.code, ran.err.splitlines()[0]) == (1, "codex-mitm: there is no account work of ours")
