"""What a machine may lack: a test that needs it is skipped on a user's machine and fails in CI, which has to have it."""

import os
import shutil
import subprocess
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


def need_mounts() -> None:
    """A mount namespace of one's own, for disks that are full or read-only: needs no root."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "true"], capture_output=True, check=False).returncode != 0:
        missing("unshare -rm (util-linux, user namespaces) is missing or not permitted")


def need_programs(*names: str) -> None:
    if lacking := [name for name in names if shutil.which(name) is None]:
        missing(f"needs {', '.join(lacking)}")


def need_root() -> None:
    """For files of other users, and for a network of one's own; a container's root may often do neither."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "--mount", "--net", "true"], capture_output=True, check=False).returncode != 0:
        missing("needs root, and unshare --mount --net (util-linux)")
