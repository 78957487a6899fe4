"""What is recorded on a real full disk and a real read-only mount; disks.py has the scenarios."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.addons.traffic.calls import call
from tests.addons.traffic.disks import QUEUE, SCENARIOS
from tests.needs import need_mounts
from tests.proxy import ROOT


@pytest.fixture(scope="module")
def mounts() -> None:
    need_mounts()


def play(scenario: str, folder: Path) -> tuple[dict[str, Any], str]:
    """What the scenario saw, and what it logged."""
    command = ["unshare", "-rm", sys.executable, "-m", "tests.addons.traffic.disks", scenario, str(folder)]
    played = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=90)
    assert played.returncode == 0, played.stderr
    return json.loads(played.stdout), played.stderr


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_callers_notice_nothing_and_recording_goes_on_when_it_can(mounts: None, scenario: str, tmp_path: Path) -> None:
    saw, log = play(scenario, tmp_path)
    why = saw["trouble"]
    assert why == ("the disk was full" if scenario.startswith("full") else "the disk was read-only")
    # One waits to be written, the others in the queue; then it is full.
    fits = QUEUE - 1
    assert saw["taken"] == [True] * fits + [False] * (6 - fits)
    first = [] if scenario.endswith("from_the_start") else [call(0).id]
    assert saw["calls"] == first + [call(n).id for n in range(1, QUEUE + 1)]
    assert saw["gaps"] == [[6 - fits, why]]
    assert saw["flushed"] and saw["state"] == "ok"
    assert log.count("WARNING") == 1 and "calls are recorded again" in log


def test_a_database_on_a_read_only_mount_can_be_read(mounts: None, tmp_path: Path) -> None:
    saw, _ = play("read", tmp_path)
    assert saw["codes"] == [0, 1] and " 00000000 " in saw["out"]
    assert "traffic.db cannot be used, the disk was read-only\ncodex-mitm: hint: nothing is lost" in saw["err"]
