"""The Dockerfile and .dockerignore as they are written; test_image.py runs them."""

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from tests.deploy.context import is_left_out, rules
from tests.deploy.dockerfile import Stage, parse
from tests.needs import missing
from tests.proxy import BIN, ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = tomllib.loads((ROOT / "uv.lock").read_text())


@pytest.fixture(scope="module")
def stages() -> list[Stage]:
    return parse(DOCKERFILE)


def steps(stage: Stage, word: str) -> list[str]:
    return [step.rest for step in stage.steps if step.word == word]


# --- the file ---------------------------------------------------------------------------------------------------------


def test_every_stage_is_from_one_base_of_a_known_version(stages: list[Stage]) -> None:
    (base,) = {stage.base for stage in stages}
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", base)


def test_it_says_which_version_it_is(stages: list[Stage]) -> None:
    assert f"VERSION={PROJECT['version']}" in steps(stages[-1], "ARG")
    (labels,) = steps(stages[-1], "LABEL")
    assert set(re.findall(r"org\.opencontainers\.image\.(\w+)=", labels)) == {
        "title",
        "description",
        "licenses",
        "version",
        "revision",
        "source",
    }


def test_it_runs_as_a_number_that_is_not_root(stages: list[Stage]) -> None:
    (user,) = steps(stages[-1], "USER")
    assert re.fullmatch(r"[1-9]\d{4}:[1-9]\d{4}", user)


def test_its_check_needs_no_program_but_python(stages: list[Stage]) -> None:
    (check,) = steps(stages[-1], "HEALTHCHECK")
    program, *_ = json.loads(check.removeprefix("CMD"))
    assert program == "python"


def test_only_what_is_locked_is_installed_and_nothing_to_develop_with(stages: list[Stage]) -> None:
    syncs = [command for command in steps(stages[0], "RUN") if "uv sync" in command]
    extras = "".join(f" --extra {extra}" for extra in PROJECT["optional-dependencies"])
    assert len(syncs) == 2 and all(f"uv sync --locked --no-dev{extras}" in command for command in syncs)


def test_hadolint_finds_nothing_in_it() -> None:
    hadolint = shutil.which("hadolint", path=str(ROOT / ".venv-clients" / BIN.name)) or shutil.which("hadolint")
    if hadolint is None:
        missing("needs hadolint, which make test installs (.venv-clients)")
    for text, findings in ((DOCKERFILE, []), ("FROM python\n", ["DL3006"])):
        ran = subprocess.run([hadolint, "--format", "json", "-"], input=text, capture_output=True, text=True, check=False)
        assert [finding["code"] for finding in json.loads(ran.stdout)] == findings


# --- both kinds of machine ---------------------------------------------------------------------------------------------


def in_the_image() -> Iterator[dict[str, Any]]:
    """The packages of the lock that are installed, on Linux, with every extra of ours."""
    packages = {package["name"]: package for package in LOCK["package"]}
    ours = packages.pop(PROJECT["name"])
    waiting = [*ours["dependencies"], *(one for extra in ours["optional-dependencies"].values() for one in extra)]
    while waiting:
        needed = waiting.pop()
        if needed["name"] in packages and not NOT_FOR_LINUX.search(needed.get("marker", "")):
            package = packages.pop(needed["name"])
            waiting += package.get("dependencies", [])
            waiting += [one for extra in needed.get("extra", []) for one in package["optional-dependencies"][extra]]
            yield package


NOT_FOR_LINUX = re.compile(r"(sys_platform|os_name|platform_system) == '(win32|darwin|nt|Windows|Darwin)'")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_package_is_there_built_for(machine: str, stages: list[Stage]) -> None:
    """The builder has no compiler, so what is not there built cannot be had."""
    minor = int(re.sub(r"python:3\.(\d+)-.*", r"\1", stages[0].base))
    systems = [f"manylinux_2_{glibc}_{machine}" for glibc in range(17, 42)] + [
        f"manylinux2014_{machine}"
    ]  # Debian 13 has glibc 2.41
    fitting = {*cpython_tags((3, minor), platforms=systems), *compatible_tags((3, minor), f"cp3{minor}", systems)}
    packages = list(in_the_image())
    assert len(packages) > 40 and {"mitmproxy-rs", "cryptography", "redis"} <= {package["name"] for package in packages}
    assert [package["name"] for package in packages if not any(tags_of(wheel) & fitting for wheel in package["wheels"])] == []


def tags_of(wheel: dict[str, Any]) -> frozenset[Tag]:
    return parse_wheel_filename(wheel["url"].rpartition("/")[2])[3]


# --- what goes to whoever builds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".git/config",
        ".venv/bin/python",
        "tests/proxy.py",
        "docker-compose.yml",
        "mitm_config/mitmproxy-ca.pem",
        "addons/__pycache__/gate.cpython-313.pyc",
        "addons/wire/__pycache__/sse.cpython-313.pyc",
        "auth.json",
        "anything/else",
    ],
)
def test_it_is_left_out(path: str) -> None:
    assert is_left_out(path, rules((ROOT / ".dockerignore").read_text()))


@pytest.mark.parametrize(
    "path", ["addons/codex_auth.py", "addons/page.html", "auth/store.py", "mitm_config/policy.yaml", "uv.lock"]
)
def test_it_is_in(path: str) -> None:
    assert (ROOT / path).exists() and not is_left_out(path, rules((ROOT / ".dockerignore").read_text()))


def test_it_is_an_allow_list() -> None:
    first, *_ = rules((ROOT / ".dockerignore").read_text())
    assert first == ("*", True)
