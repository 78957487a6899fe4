"""A container without Docker, by the rules of docker-compose.yml: a root that is read-only, a volume, the image's own user, no
capabilities and no way to get some."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.image import Image, sandbox


class Volume:
    """Empty, with the owner and the mode that the image's folder has: so Docker makes a new one."""

    def __init__(self, image: Image, folder: Path) -> None:
        (self.target,) = image.volumes
        self.folder = folder
        folder.mkdir()
        shutil.copystat(image.inside(self.target), folder)
        as_in_image = image.inside(self.target).stat()
        self.owner = as_in_image.st_uid, as_in_image.st_gid
        self.own(folder)

    def own(self, path: Path) -> None:
        """Gives it and what is in it to the image's user."""
        for each in [path, *path.rglob("*")]:
            os.chown(each, *self.owner)


@dataclass
class Container:
    process: subprocess.Popen[bytes]
    first: int
    """Process 1 of the container, as it is numbered outside."""
    logfile: Path

    def log(self) -> str:
        return self.logfile.read_text(errors="replace")

    def stop(self) -> int:
        """As `docker stop` does it without an init: process 1 itself gets the signal. Returns its exit code."""
        os.kill(self.first, signal.SIGTERM)
        return self.process.wait(20)


def command_line(image: Image, volume: Volume, command: Sequence[str], env: Mapping[str, str] | None = None) -> list[str]:
    uid, gid = image.user.split(":")
    who = [f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]
    binds = ["--ro-bind", str(image.root), "/", "--bind", str(volume.folder), volume.target]
    return [*sandbox(image.env | dict(env or {}), image.folder, binds), "setpriv", *who, *command]


def ran(
    image: Image, volume: Volume, command: Sequence[str], env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What comes of a command, as `docker run --rm IMAGE COMMAND` would have it."""
    return subprocess.run(
        command_line(image, volume, command, env), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )


@contextmanager
def running(image: Image, volume: Volume, command: Sequence[str], env: Mapping[str, str] | None = None) -> Iterator[Container]:
    with tempfile.TemporaryDirectory() as temp:
        logfile = Path(temp) / "log"
        told, tell = os.pipe()
        line = command_line(image, volume, command, env)
        line[1:1] = ["--as-pid-1", "--info-fd", str(tell)]
        with logfile.open("wb") as log:
            process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, pass_fds=[tell])
        os.close(tell)
        with os.fdopen(told) as info:
            first = json.load(info)["child-pid"]
        try:
            yield Container(process, first, logfile)
        finally:
            if process.poll() is None:
                os.kill(first, signal.SIGKILL)  # not bwrap: the signal of its death is lost when process 1 becomes another user
            process.wait()
