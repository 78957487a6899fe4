import os
import subprocess
import sys
from pathlib import Path

import pytest

from auth import locks
from tests.auth.minting import ROOT

# What is left of Windows on other machines: its name, and a lock call that notes how it was called.
WINDOWS = """
import os, sys, types
sys.platform = "win32"
sys.modules["fcntl"] = None
sys.modules["msvcrt"] = types.SimpleNamespace(LK_NBLCK=2, locking=lambda *call: calls.append(call) or refuse())
calls = []
def refuse():
    if len(calls) > 1:
        raise PermissionError
from auth.locks import try_lock
with open(sys.argv[1], "rb+") as file:
    print(try_lock(file.fileno()), try_lock(file.fileno()), calls == [(file.fileno(), 2, 1)] * 2)
"""


def test_one_holder_at_a_time_until_its_descriptor_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "auth.lock"
    path.touch()
    first, second = (os.open(path, os.O_RDWR) for _ in range(2))
    assert locks.try_lock(first)
    assert not locks.try_lock(second)
    os.close(first)
    assert locks.try_lock(second)
    os.close(second)


@pytest.mark.skipif(sys.platform == "win32", reason="the real one is tested above")
def test_on_windows_fcntl_is_not_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "auth.lock"
    path.touch()
    ran = subprocess.run([sys.executable, "-c", WINDOWS, str(path)], capture_output=True, text=True, cwd=ROOT)
    assert (ran.stdout, ran.stderr) == ("True False True\n", "")
