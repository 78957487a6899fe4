"""The image as docker-compose.yml runs it, made by the Dockerfile's own steps, without a Docker engine."""

import http.client
import json
import re
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import compose
from tests.deploy.container import Container, Volume, ran, running
from tests.deploy.image import Image, build
from tests.deploy.network import own_network
from tests.fakes.openai import FakeOpenAI
from tests.needs import need_programs
from tests.proxy import ROOT, START_TIMEOUT
from tests.wire.test_nanobot_requests import REQUESTS
from tests.wire.test_nanobot_streams import Nanobot

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return compose.services("setup", "learn")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    need_programs("bwrap")
    return build((ROOT / "Dockerfile").read_text(), tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def openai(image: Image) -> Iterator[FakeOpenAI]:
    """In the containers' network, where everything is on loopback and port 9090 is free."""
    with own_network(), FakeOpenAI() as fake:
        yield fake


@pytest.fixture(scope="module")
def volume(image: Image, openai: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Volume:
    """New, but for a file of options that names the fake: so the commands can stay as they are."""
    volume = Volume(image, tmp_path_factory.mktemp("volume") / "data")
    folder = volume.folder / "mitmproxy"
    folder.mkdir()
    urls = {"issuer": openai.issuer_url, "backend": openai.backend_url, "platform": openai.platform_url}
    (folder / "config.yaml").write_text("".join(f"codex_{name}_url: {url}\n" for name, url in urls.items()))
    volume.own(folder)
    return volume


@dataclass(frozen=True)
class Serving:
    container: Container
    setup: str
    """What was printed when somebody signed in."""


@pytest.fixture(scope="module")
def serving(image: Image, volume: Volume, openai: FakeOpenAI, services: Mapping[str, Any]) -> Iterator[Serving]:
    """Signed in by `setup`, which has ended, and then served by `oauth-proxy`, which says that it is healthy."""
    openai.control.settings(device_interval="1")
    assert ran(image, volume, image.healthcheck).returncode != 0  # of nothing that listens
    said = sign_in(image, volume, services["setup"], openai)
    service = services["oauth-proxy"]
    with running(image, volume, service["command"], service["environment"]) as container:
        wait_until_healthy(image, volume, container)
        yield Serving(container, said)


def sign_in(image: Image, volume: Volume, service: Mapping[str, Any], openai: FakeOpenAI) -> str:
    command = [*service["command"], "--issuer", openai.issuer_url]
    with running(image, volume, command, service["environment"]) as setup:
        deadline = time.monotonic() + START_TIMEOUT
        while not (shown := re.search(r"\b[A-Z0-9]{4}-[A-Z0-9]{4,5}\b", setup.log())):
            assert time.monotonic() < deadline and setup.process.poll() is None, setup.log()
            time.sleep(0.05)
        openai.control.approve(shown[0])
        assert setup.process.wait(30) == 0, setup.log()
        return setup.log()


def wait_until_healthy(image: Image, volume: Volume, container: Container) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    # A company's proxy must not be asked for what is on this machine.
    while (
        ran(image, volume, image.healthcheck, {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}).returncode
        != 0
    ):
        assert time.monotonic() < deadline and container.process.poll() is None, container.log()


def asked(host: str, path: str, body: Any, key: str = "placeholder") -> tuple[int, bytes]:
    """As Go's http.DefaultClient sends it to another container."""
    connection = http.client.HTTPConnection("127.0.0.1", 9090, timeout=30)
    headers = {
        "Host": host,
        "User-Agent": "Go-http-client/1.1",
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
    }
    try:
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


# --- what is in it ----------------------------------------------------------------------------------------------------


def test_it_holds_the_product_and_nothing_else(image: Image) -> None:
    assert {found.name for found in image.inside(".").iterdir()} == {
        *(".venv", "addons", "auth", "mitm_config", "pyproject.toml", "uv.lock", "README.md", "LICENSE"),
    }
    assert not list(image.inside(".venv").rglob("pytest")) and not list(image.inside("addons").rglob("*.pem"))


def test_everything_is_compiled_because_nothing_can_be_when_it_runs(image: Image) -> None:
    sources = [file for folder in ("addons", "auth", ".venv/lib") for file in image.inside(folder).rglob("*.py")]
    lacking = [file for file in sources if not list((file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"))]
    assert len(sources) > 1000 and [file for file in lacking if "/lib2to3/" not in str(file)] == []


def test_its_user_can_write_nothing_in_it(image: Image) -> None:
    uid = int(image.user.split(":")[0])
    assert [found for found in image.inside(".").rglob("*") if found.lstat().st_uid == uid] == []
    assert stat.S_IMODE(image.inside("/data").stat().st_mode) == 0o700 and image.inside("/data").stat().st_uid == uid


# --- what it does -----------------------------------------------------------------------------------------------------


def test_nanobot_is_answered_by_the_name_of_the_service(serving: Serving) -> None:
    request = REQUESTS["plain_chat"]
    status, read = asked("oauth-proxy:9090", request["path"], request["body"])
    assert status == 200 and Nanobot().read(read) == {"text": "You said: M1 hello", "live": True}


def test_another_name_is_not_served(serving: Serving) -> None:
    status, read = asked("evil.example:9090", "/v1/responses", {})
    assert (status, json.loads(read)["error"]["code"]) == (421, "host_not_allowed")


def test_programs_of_it_run_beside_it(serving: Serving, image: Image, volume: Volume) -> None:
    status = ran(image, volume, ["python", "-m", "auth", "status"])
    assert (status.returncode, "default" in status.stdout) == (0, True), status.stdout + status.stderr
    tail = ran(image, volume, ["codex-traffic", "usage"])
    assert tail.returncode == 0, tail.stderr


def test_what_is_secret_is_in_the_volume_for_nobody_else(serving: Serving, volume: Volume, openai: FakeOpenAI) -> None:
    secrets = openai.control.tokens("access", "refresh", "id")
    assert secrets
    holding = [file for file in files_of(volume) if any(secret.encode() in file.read_bytes() for secret in secrets)]
    assert [file.relative_to(volume.folder).as_posix() for file in holding] == ["accounts/default/auth.json"]
    private = [*holding, volume.folder / "mitmproxy/mitmproxy-ca.pem", volume.folder / "traffic.db"]
    assert {(stat.S_IMODE(file.stat().st_mode), file.stat().st_uid) for file in private} == {(0o600, 10001)}
    for said in (serving.setup, serving.container.log()):
        assert not [secret for secret in secrets if secret in said]


def files_of(volume: Volume) -> list[Path]:
    return sorted(file for file in volume.folder.rglob("*") if file.is_file())


def test_it_is_on_the_network_without_a_key_only_if_told_so(image: Image, volume: Volume) -> None:
    log = ran(image, volume, image.command)
    assert log.returncode == 1 and "listening on 0.0.0.0 without a key" in log.stdout + log.stderr


def test_it_ends_when_it_is_told_to(serving: Serving) -> None:
    """The last one: the others need it. As process 1 it would not hear a signal that it does not listen to."""
    assert serving.container.stop() == 0, serving.container.log()
