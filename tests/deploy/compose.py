"""docker-compose.yml, or another such file, as Compose itself understands it."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from tests.deploy import debian
from tests.proxy import ROOT

# Its variables, which a test must not get from whoever runs it.
OURS = ("PROXY_", "NANOBOT_", "LEARN_", "COMPOSE_", "REDIS_")


def services(*profiles: str, env: Mapping[str, str] | None = None, file: str = "docker-compose.yml") -> dict[str, Any]:
    """Those that `up` with these profiles starts."""
    flags = [word for profile in profiles for word in ("--profile", profile)]
    command = [*_program(), "--file", file, "--env-file", os.devnull, *flags, "config", "--format", "json"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    ran = subprocess.run(command, cwd=ROOT, env=clean | dict(env or {}), capture_output=True, text=True, check=False)
    assert ran.returncode == 0 and not ran.stderr, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)["services"]
    return found


def _program() -> Sequence[str]:
    if shutil.which("docker") and not subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
        return ["docker", "compose"]
    return [str(debian.compose())]
