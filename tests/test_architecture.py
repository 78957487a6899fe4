"""Imports go one way, and what is called pure touches no machine. Read from the source, so that a lazy import counts too."""

import ast
from pathlib import Path

import pytest

from tests.proxy import ROOT

PRODUCT = sorted([*ROOT.glob("auth/*.py"), *ROOT.glob("addons/**/*.py")])

# No os, socket, clock, asyncio, logging, randomness: time and chance are parameters there.
PURE = [
    "auth/pkce.py",
    "auth/device.py",
    "auth/grants.py",
    "auth/tokens.py",
    "auth/authjson.py",
    "addons/drill.py",
    "addons/limits.py",
    "addons/keys.py",
    "addons/hosts.py",
    "addons/asked_model.py",
    "addons/bounded_yaml.py",
    "addons/patience.py",
    "addons/pool/",
    "addons/kept.py",
    "addons/shared/facts.py",
    "addons/slots.py",
    "addons/telemetry/attributes.py",
    "addons/telemetry/labels.py",
    "addons/telemetry/lines.py",
    "addons/traffic/exchange.py",
    "addons/traffic/headers.py",
    "addons/traffic/passing.py",
    "addons/traffic/patterns.py",
    "addons/traffic/readings.py",
    "addons/traffic/remedies.py",
    "addons/traffic/secrets.py",
    "addons/traffic/stories.py",
    "addons/traffic/strangers.py",
    "addons/traffic/tee.py",
    "addons/traffic/untranslated.py",
    "addons/traffic/vocabulary.py",
    "addons/upstreams.py",
    "addons/wire/",
]
MACHINE = {
    "asyncio",
    "httpx",
    "io",
    "logging",
    "os",
    "random",
    "secrets",
    "shutil",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "time",
}

# Who among the addons may know `auth`: whoever handles accounts, and the entry that puts the parts together.
MAY_SEE_AUTH = {
    "addons/accounts.py",
    "addons/roster.py",
    "addons/inject.py",
    "addons/sign_in.py",
    "addons/shared/line.py",  # one connection for the accounts and for all else that proxies share
    "addons/codex_auth.py",
}


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def imports_of(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(file)}: a script of mitmproxy is in no package, relative imports fail"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return found


def packages(imported: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in imported}


@pytest.mark.parametrize("file", PRODUCT, ids=name_of)
def test_imports_go_one_way(file: Path) -> None:
    name, imported = name_of(file), imports_of(file)
    assert "tests" not in packages(imported)
    if name.startswith("auth/"):
        assert not packages(imported) & {"addons", "mitmproxy"}
    elif name not in MAY_SEE_AUTH:
        assert "auth" not in packages(imported)
    if name.startswith("addons/wire/"):
        assert not {i for i in imported if i.startswith("addons.") and not i.startswith("addons.wire")}
        assert "mitmproxy" not in packages(imported)
    if name != "addons/codex_auth.py":
        assert "addons.codex_auth" not in imported
    if not name.startswith("addons/engine/"):
        assert not {i for i in imported if i.startswith("mitmproxy.proxy.layers")}, "only the engine knows mitmproxy's layers"


@pytest.mark.parametrize("file", [f for f in PRODUCT if name_of(f).startswith(tuple(PURE))], ids=name_of)
def test_what_is_called_pure_is_pure(file: Path) -> None:
    # io.BytesIO is memory, not a machine.
    assert packages(imports_of(file)) & MACHINE <= ({"io"} if name_of(file) == "addons/wire/encoding.py" else set())


def test_every_file_that_is_called_pure_exists() -> None:
    assert [name for name in PURE if not (ROOT / name).exists()] == []


def test_fcntl_is_not_needed_to_import_anything() -> None:
    # As on Windows, as far as that can be seen from here: no fcntl at import time.
    source = [f for f in PRODUCT if "fcntl" in packages(imports_of(f))]
    assert [name_of(f) for f in source] == ["auth/locks.py"]
    tree = ast.parse(source[0].read_text())
    top_level = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    assert "fcntl" not in top_level


def test_one_broad_except_at_each_boundary() -> None:
    broad = [
        name_of(f)
        for f in PRODUCT
        for node in ast.walk(ast.parse(f.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and isinstance(node.type, ast.Name)
        and node.type.id in ("Exception", "BaseException")
    ]
    of_mitmproxy = ["addons/engine/dispatch.py", "addons/engine/turns.py"]  # which has them there
    assert broad == [*of_mitmproxy, *["addons/guard.py"] * 3, *["addons/streams.py"] * 2, "addons/traffic/writer.py"]


def test_every_file_says_what_it_is_for() -> None:
    assert [name_of(f) for f in PRODUCT if f.stem in ("utils", "helpers", "manager", "common", "misc")] == []
    assert [name_of(f) for f in PRODUCT if not ast.get_docstring(ast.parse(f.read_text()))] == []
