"""`make demo` tells the truth: it works, offline, and on a terminal of 80 columns."""

import subprocess
import sys
from pathlib import Path

from tests.proxy import ROOT, environment


def test_the_demo(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.demo"], cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout + ran.stderr
    assert "refreshes: 1; refresh tokens used twice: 0" in ran.stdout
    assert "clients that noticed anything: 0 of 2" in ran.stdout
    assert [line for line in ran.stdout.splitlines() if len(line) > 80] == []
    assert list(tmp_path.iterdir()) == [], "it cleans up and leaves the user's own home alone"
