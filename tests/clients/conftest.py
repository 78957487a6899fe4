"""Clients meet the same fake OpenAI, and the same proxy before it, as the other end-to-end tests."""

import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import account, control, home, openai, proxy, shared_proxy
from tests.needs import missing
from tests.proxy import BIN, ROOT

__all__ = ["account", "control", "home", "openai", "proxy", "shared_proxy"]


@pytest.fixture(scope="session")
def js() -> Path:
    """The folder of the JavaScript clients, with what they need: node, and the packages that `make test` puts there."""
    folder = Path(__file__).parent / "js"
    if not shutil.which("node") or not (folder / "node_modules" / ".package-lock.json").exists():
        missing("needs node, and npm, with which make test installs the JavaScript clients")
    return folder


@pytest.fixture(scope="session")
def clients() -> Path:
    """The programs of Python clients that cannot live beside mitmproxy, which holds typing-extensions back under Python 3.12."""
    programs = ROOT / ".venv-clients" / BIN.name
    if not (programs / "nanobot").exists() and not (programs / "nanobot.exe").exists():
        missing("needs the Python clients, which make test installs (.venv-clients)")
    return programs
