"""A clean Debian in a folder, in place of the base image, which only a Docker engine can fetch.

The packages are unpacked and not set up, which is half the work. What is missing then, and what the base image has besides Debian's
own, is done here.
"""

import shutil
import subprocess
from pathlib import Path

from tests.needs import need_programs, need_root
from tests.proxy import ROOT

# The base image that this can stand for: Debian's own Python is of that version.
STANDS_FOR = "python:3.13-slim-trixie"
SUITE, MIRROR = "trixie", "http://deb.debian.org/debian"
PACKAGES = "python3,python3-pip"
# Compose itself needs no engine to read a file.
COMPOSE = "docker-compose"
# What no program reads.
BALLAST = ("var/cache/apt/archives", "usr/share/doc", "usr/share/man", "usr/share/locale", "debootstrap")

# Kept: it takes half a minute to make. `make clean` removes it.
CACHE = ROOT / ".cache" / f"debian-{SUITE}"


def base() -> Path:
    """The root of a container from the base image, for others to copy."""
    return _made() / "root"


def compose() -> Path:
    """Compose, which does without Docker for what is asked of it here."""
    return _made() / "tools/usr/libexec/docker/cli-plugins/docker-compose"


def _made() -> Path:
    need_root()
    need_programs("debootstrap", "dpkg-deb")
    import fcntl  # not on Windows, where nobody comes this far

    CACHE.parent.mkdir(exist_ok=True)
    with CACHE.with_name(f"{CACHE.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        if not CACHE.exists():
            unfinished = CACHE.with_name(f"{CACHE.name}.new")
            shutil.rmtree(unfinished, ignore_errors=True)
            _make(unfinished / "root", unfinished / "tools")
            unfinished.rename(CACHE)
    return CACHE


def _make(root: Path, tools: Path) -> None:
    root.parent.mkdir(parents=True)
    wanted = f"--include={PACKAGES},{COMPOSE}"
    command = ["debootstrap", "--foreign", "--variant=minbase", wanted, SUITE, str(root), MIRROR]
    log = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert log.returncode == 0, log.stdout
    tools.mkdir()
    # Only what Debian cannot do without is unpacked by now.
    unpacked = (root / "debootstrap/required").read_text().split()
    for package in sorted(root.glob("var/cache/apt/archives/*.deb")):
        name = package.name.partition("_")[0]
        if name not in unpacked:
            subprocess.run(["dpkg-deb", "--extract", package, tools if name == COMPOSE else root], check=True)
    for folder in BALLAST:
        shutil.rmtree(root / folder, ignore_errors=True)
    if (root / "proc").is_symlink():  # debootstrap's way where nothing may be mounted, as in a container
        (root / "proc").unlink()
        (root / "proc").mkdir()
    for name in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / "etc" / name)
    (root / "usr/local/bin").mkdir(parents=True, exist_ok=True)
    for name, program in (("python", "python3"), ("python3", "python3"), ("pip", "pip3")):
        (root / "usr/local/bin" / name).symlink_to(f"/usr/bin/{program}")
    authorities = sorted(root.glob("usr/share/ca-certificates/mozilla/*.crt"))
    (root / "etc/ssl/certs/ca-certificates.crt").write_bytes(b"".join(file.read_bytes() for file in authorities))
    # Debian keeps pip from its own Python; the image's Python is nobody's.
    for mark in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        mark.unlink()
