"""The unit of systemd: read by systemd itself, as far as it can be where systemd does not run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.client import post, said
from tests.e2e.conftest import options_for, write_account
from tests.fakes.openai import FakeOpenAI
from tests.needs import missing, need_programs
from tests.pages import section
from tests.proxy import ROOT, running_proxy

FOLDER = ROOT / "deploy/systemd"
UNIT = FOLDER / "codex-mitm.service"

# In tenths, as systemd-analyze takes it, 0 is best. What is left: the network, which is what it is for, and AF_UNIX, for names.
EXPOSURE = 11

# What a unit of any system hangs on.
OF_THE_SYSTEM = ("sysinit", "basic", "shutdown", "multi-user", "network-online", "network-pre", "network")


def systemd_analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    need_programs("systemd-analyze")
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A root in which it is installed as docs/deploy.md says, beside the targets of the system."""
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    for name in OF_THE_SYSTEM:
        (units / f"{name}.target").write_text("[Unit]\n")
    (units / UNIT.name).write_text(UNIT.read_text())
    program = tmp_path / "opt/codex-mitm/.venv/bin/mitmdump"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    return tmp_path


def test_systemd_finds_nothing_wrong_with_it(installed: Path) -> None:
    found = systemd_analyze("verify", f"--root={installed}", UNIT.name)
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


def test_and_would_find_it(installed: Path) -> None:
    unit = installed / "etc/systemd/system" / UNIT.name
    unit.write_text(unit.read_text().replace("PrivateTmp=yes", "PrivateTmp=perhaps"))
    assert "perhaps" in systemd_analyze("verify", f"--root={installed}", UNIT.name).stderr


def test_it_may_do_as_little_as_it_can_work_with() -> None:
    found = systemd_analyze("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}", UNIT)
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_key_is_no_variable_and_on_no_command_line() -> None:
    """Both can be seen by whoever is on the machine. A credential is a file that only the service can open."""
    unit = UNIT.read_text()
    (name,) = re.findall(r"^LoadCredential=([\w-]+):/etc/codex-mitm/\1$", unit, re.M)
    assert (
        f"PROXY_API_KEY_FILE=%d/{name}\n" in unit and "PROXY_API_KEY=" not in unit + (FOLDER / "codex-mitm.env.example").read_text()
    )


def test_its_user_and_files_are_those_of_the_manual() -> None:
    unit, manual = UNIT.read_text(), section("docs/deploy.md", "A service of systemd")
    user = re.findall(r"^User=(\S+)$", unit, re.M)[0]
    assert re.search(rf"^u {user} ", (FOLDER / "codex-mitm.sysusers").read_text(), re.M)
    files = {*re.findall(r"/etc/codex-mitm/[\w.-]+", unit), "/var/lib/codex-mitm"}
    assert [named for named in (*files, f"sudo -u {user} ", f"gives it {EXPOSURE / 10}") if named not in manual] == []


@pytest.mark.slow
def test_it_serves_as_it_is_started_there(openai: FakeOpenAI, tmp_path: Path) -> None:
    """With the key in a file, and with MemoryDenyWriteExecute, which libraries that make code at run time do not survive."""
    assert "MemoryDenyWriteExecute=yes\n" in UNIT.read_text()
    refused = [sys.executable, str(Path(__file__).with_name("refuse_executable_memory.py"))]
    probe = [*refused, sys.executable, "-c", "import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)"]
    tried = subprocess.run(probe, capture_output=True, text=True, check=False)
    if "PR_SET_MDWE" in tried.stderr:
        missing(f"needs Linux 6.3: {tried.stderr}")
    assert "PermissionError" in tried.stderr
    write_account(tmp_path / ".codex-mitm/accounts/default/auth.json", openai.control.login())
    key = "cmx-SENTINEL-of-the-service"
    (tmp_path / "proxy-api-key").write_text(f"{key}\n")
    env = {"PROXY_API_KEY_FILE": str(tmp_path / "proxy-api-key")}
    with running_proxy(tmp_path, options_for(openai), inside=refused, env=env) as proxy:
        assert post(proxy.url).status_code == 401
        assert said(post(proxy.url, headers={"authorization": f"Bearer {key}"})) == "You said: hello there"
    kept = [file for file in tmp_path.rglob("*") if file.is_file() and key.encode() in file.read_bytes()]
    assert [file.name for file in kept] == ["proxy-api-key"]
