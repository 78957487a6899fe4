"""Where the database is unless somebody says otherwise: beside the accounts."""

from collections.abc import Mapping
from pathlib import Path

NAME = "traffic.db"


def default_place(env: Mapping[str, str]) -> Path:
    return own_folder(env) / NAME


def own_folder(env: Mapping[str, str]) -> Path:
    if env.get("CODEX_MITM_HOME"):
        return Path(env["CODEX_MITM_HOME"])
    home = env.get("HOME") or env.get("USERPROFILE")
    return (Path(home) if home else Path.home()) / ".codex-mitm"
