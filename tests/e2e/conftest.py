"""A fake OpenAI for the whole run, and a proxy before it that tests of a module share; each test signs in afresh."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.needs import need_mounts
from tests.proxy import RunningProxy, running_proxy


@pytest.fixture(scope="session")
def openai() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture(scope="module", autouse=True)
def _as_new(openai: FakeOpenAI) -> None:
    """Before what a module sets up for itself: the tests of another one may have left faults behind."""
    openai.control.reset()


@pytest.fixture
def control(openai: FakeOpenAI) -> Control:
    """The fake as new: nobody signed in, nothing seen, no faults."""
    openai.control.reset()
    return openai.control


def options_for(openai: FakeOpenAI, **more: str) -> dict[str, str]:
    """What points a proxy at the fake."""
    return {
        "codex_issuer_url": openai.issuer_url,
        "codex_backend_url": openai.backend_url,
        "codex_platform_url": openai.platform_url,
    } | more


def write_account(path: Path, document: dict[str, Any]) -> Path:
    """As a sign-in leaves it; replaced in one step, as the CLI does, because a running proxy may be reading."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name("new")
    temp.write_text(json.dumps(document, indent=2))
    temp.chmod(0o600)
    os.replace(temp, path)
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def shared_proxy(openai: FakeOpenAI, home: Path) -> Iterator[RunningProxy]:
    with running_proxy(home, options_for(openai)) as proxy:
        yield proxy


@pytest.fixture
def account(home: Path) -> Iterator[Path]:
    """Where the shared proxy's account is. A test that signs in writes it; nobody is signed in afterwards."""
    folder = home / ".codex-mitm" / "accounts" / "default"
    yield folder / "auth.json"
    for file in folder.glob("*"):
        file.unlink()


@pytest.fixture
def proxy(shared_proxy: RunningProxy, control: Control, account: Path) -> RunningProxy:
    """The shared proxy, signed in with a fresh ChatGPT login."""
    write_account(account, control.login())
    return shared_proxy


@pytest.fixture
def needs_unshare() -> None:
    need_mounts()
