"""The Dockerfile without Docker: its instructions as they stand, one after the other, in a copy of a clean Debian."""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.deploy import context, debian
from tests.deploy.dockerfile import Stage, Step, pairs, parse
from tests.proxy import ROOT

# As the base image sets it.
BASE_ENV = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}

# How packages are fetched from this machine: an index or a company's proxy and certificate.
ABOUT_PACKAGES = ("PIP_", "UV_", "SSL_CERT_FILE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@dataclass
class Image:
    root: Path
    env: dict[str, str] = field(default_factory=lambda: dict(BASE_ENV))
    arguments: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0:0"
    volumes: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)

    def inside(self, path: str) -> Path:
        """Where it is in the root; a path that is not absolute starts in the working directory."""
        return self.root / os.path.normpath(os.path.join(self.folder, path)).lstrip("/")


def build(dockerfile: str, folder: Path) -> Image:
    """The last stage, in a new folder."""
    stages: dict[str, Image] = {}
    for number, stage in enumerate(parse(dockerfile)):
        assert stage.base == debian.STANDS_FOR, f"{stage.base}: debian.py stands for {debian.STANDS_FOR}"
        root = folder / f"{number}-{stage.name or 'last'}"
        _copy(debian.base(), root)
        stages[stage.name] = _built(stage, Image(root), stages)
    return stages[""]


def _built(stage: Stage, image: Image, others: Mapping[str, Image]) -> Image:
    for step in stage.steps:
        variables = image.arguments | image.env
        match step.word:
            case "ARG":
                name, _, value = step.rest.partition("=")
                image.arguments[name] = value
            case "ENV":
                image.env |= pairs(step.rest, variables)
            case "LABEL":
                image.labels |= pairs(step.rest, variables)
            case "WORKDIR":
                image.folder = step.rest
                image.inside(".").mkdir(parents=True, exist_ok=True)
            case "USER":
                image.user = step.rest
            case "VOLUME":
                image.volumes += json.loads(step.rest)
            case "CMD":
                image.command = json.loads(step.rest)
            case "HEALTHCHECK":
                image.healthcheck = json.loads(step.rest.removeprefix("CMD"))
            case "COPY":
                _copy_into(image, step, others)
            case "RUN":
                _run(image, step)
            case "EXPOSE":
                pass  # it is said to people
            case word:
                raise AssertionError(f"{word} is not known here")
    return image


def _copy_into(image: Image, step: Step, others: Mapping[str, Image]) -> None:
    *sources, target = shlex.split(step.rest)
    if step.flags:
        (flag,) = step.flags
        other = others[flag.removeprefix("--from=")]
        (source,) = sources
        _copy(other.inside(source), image.inside(target))
        return
    patterns = context.rules((ROOT / ".dockerignore").read_text())
    for source in sources:
        copied = list(context.files(ROOT, source, patterns))
        assert copied, f"COPY {source}: .dockerignore leaves nothing of it"
        # What is in a folder is copied, and not the folder; a file under its own name.
        above = ROOT / source if (ROOT / source).is_dir() else (ROOT / source).parent
        for path in copied:
            to = image.inside(target) / (ROOT / path).relative_to(above)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, to)


def _run(image: Image, step: Step) -> None:
    assert image.user == "0:0", "after USER nothing is run here"
    settings = {name: value for name, value in os.environ.items() if name.startswith(ABOUT_PACKAGES)}
    binds = ["--bind", str(image.root), "/", "--ro-bind", "/etc/resolv.conf", "/etc/resolv.conf"]
    for name in ("SSL_CERT_FILE", "PIP_CERT"):
        if name in settings:
            binds += ["--ro-bind", settings[name], f"/tmp/{name}"]
            settings[name] = f"/tmp/{name}"
    for flag in step.flags:
        assert flag.startswith("--mount=type=cache,target=/cache/"), f"{flag} is not known here"
        target = flag.removeprefix("--mount=type=cache,target=")
        # That of whoever tests, so that nothing is fetched twice.
        kept = Path.home() / ".cache" / Path(target).name
        kept.mkdir(parents=True, exist_ok=True)
        binds += ["--bind", str(kept), target]
    command = sandbox({"HOME": "/tmp"} | settings | image.env, image.folder, binds) + ["/bin/sh", "-c", step.rest]
    ran = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert ran.returncode == 0, f"RUN {step.rest}\n{ran.stdout}"


def sandbox(env: Mapping[str, str], folder: str, binds: list[str]) -> list[str]:
    """What a command is put behind: the file system as given, these variables and no others, processes and devices of its own."""
    own = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent", "--new-session"]
    mounts = [*binds[:3], "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", *binds[3:]]
    variables = [word for name, value in env.items() for word in ("--setenv", name, value)]
    return ["bwrap", *own, *mounts, "--clearenv", *variables, "--chdir", folder, "--"]


def _copy(source: Path, target: Path) -> None:
    """With owners, modes and times, as layers keep them."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "--archive", "--reflink=auto", source, target], check=True)
