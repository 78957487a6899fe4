"""A rotated token that cannot be saved, on a real full disk and a real read-only mount; disks.py has the scenarios."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.auth.minting import ROOT
from tests.fakes.openai import FakeOpenAI
from tests.needs import need_mounts

EXPIRED = {"lifetime": 3600, "issued_ago": 7200}
STALE = {"lifetime": 3600, "issued_ago": 3500}

type Play = Callable[..., tuple[list[dict[str, Any]], str]]


@pytest.fixture(scope="module")
def mounts() -> None:
    need_mounts()


@pytest.fixture
def play(mounts: None, fake: FakeOpenAI, tmp_path: Path) -> Play:
    def play(scenario: str, **login: Any) -> tuple[list[dict[str, Any]], str]:
        """What the scenario saw, and what it logged."""
        played = subprocess.run(
            ["unshare", "-rm", sys.executable, "-m", "tests.auth.disks", scenario, str(tmp_path), fake.issuer_url],
            input=json.dumps(fake.control.login(**login)),
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=60,
        )
        assert played.returncode == 0, played.stderr
        assert [token for token in fake.control.tokens() if token in played.stderr] == []
        return json.loads(played.stdout), played.stderr

    return play


def test_on_a_full_disk_the_new_token_is_used_and_saved_as_soon_as_there_is_room(play: Play, fake: FakeOpenAI) -> None:
    (during, after), log = play("full", **EXPIRED)
    current = fake.control.current()
    assert fake.control.counts().refreshes == 1
    assert during["bearer"] == after["bearer"] == current.access_token
    assert during["refresh_token_on_disk"] != current.refresh_token == after["refresh_token_on_disk"]
    assert (during["state"], after["state"]) == ("trouble", "ok")
    assert during["probe"] == "no space left on device"
    assert during["nap"] == 5
    assert log.count("ERROR") == 1
    assert "auth.json could not be written, no space left on device: make room on that disk. The rotated token is in memory" in log


def test_the_sidecar_takes_a_note_on_a_full_disk(play: Play) -> None:
    (during, after), _ = play("full", **EXPIRED)
    assert during["remembered"]["unsaved_why"] == "no space left on device"
    assert during["remembered"]["unsaved_since"] > 0
    assert after["remembered"]["unsaved_why"] == ""


def test_without_a_sidecar_a_full_disk_is_no_worse(play: Play, fake: FakeOpenAI) -> None:
    (during,), log = play("full_before_anything_was_remembered", **EXPIRED)
    assert during["bearer"] == fake.control.current().access_token
    assert "no space left on device" in log


def test_on_a_read_only_mount_the_new_token_is_used(play: Play, fake: FakeOpenAI) -> None:
    (during, after), log = play("read_only", **EXPIRED)
    current = fake.control.current()
    assert during["bearer"] == after["bearer"] == current.access_token
    assert during["probe"] == "read-only file system"
    assert during["refresh_token_on_disk"] != current.refresh_token == after["refresh_token_on_disk"]
    assert "mount its folder read-write" in log


@pytest.mark.parametrize("scenario", ["full", "read_only"])
def test_a_refresh_token_is_not_spent_while_its_successor_has_no_place_and_the_old_token_works(
    play: Play, fake: FakeOpenAI, scenario: str
) -> None:
    (during, _), log = play(scenario, **STALE)
    assert fake.control.counts().refreshes == 0
    assert during["bearer"] == fake.control.current().access_token
    assert "and its token still works" in log


def test_an_edited_file_takes_the_tokens_that_memory_holds(play: Play, fake: FakeOpenAI) -> None:
    (during, after), _ = play("touched_while_unsaved", **EXPIRED)
    current = fake.control.current()
    assert during["bearer"] == current.access_token
    assert (after["refresh_token_on_disk"], after["note"]) == (current.refresh_token, "by an editor")


def test_a_new_sign_in_wins_over_the_tokens_that_memory_holds(play: Play, fake: FakeOpenAI) -> None:
    (during,), _ = play("signed_in_anew_while_unsaved", **EXPIRED)
    assert during["refresh_token_on_disk"] == "rt_of_a_new_sign_in"
    assert during["bearer"] != fake.control.current().access_token
