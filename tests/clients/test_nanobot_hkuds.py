"""HKUDS nanobot (PyPI nanobot-ai; not the Go program of that name): the real command with one message, in both dialects.

It is kept on loopback. The one thing that it wants from elsewhere is tiktoken's table, to estimate the length of a prompt, and it
counts bytes where it does not get it.
"""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.control import Control, Seen
from tests.proxy import RunningProxy, environment
from tests.rawserver import RawServer, raw_server, read_request, response

TIKTOKENS_TABLE = "openaipublic.blob.core.windows.net:443"

# provider and its settings. Only `openai` can be told to use Responses; `custom` is for whatever else is compatible.
DIALECTS: dict[str, tuple[str, dict[str, Any]]] = {"responses": ("openai", {"apiType": "responses"}), "chat": ("custom", {})}


@pytest.fixture(scope="module")
def way_out() -> Iterator[RawServer]:
    """What nanobot is told is the proxy to the world: it lets nobody through, and remembers who asked."""

    def refuse(server: RawServer, connection: Any, number: int) -> None:
        server.received.append(read_request(connection))
        connection.sendall(response(403))

    with raw_server(refuse) as server:
        yield server


@dataclass(frozen=True)
class Nanobot:
    program: Path
    home: Path
    base_url: str
    way_out: RawServer

    def says(self, message: str, dialect: str) -> str:
        """What it prints for one message, from a home and a workspace that are new."""
        provider, settings = DIALECTS[dialect]
        config = {
            "agents": {"defaults": {"model": "gpt-5.5", "provider": provider, "workspace": str(self.home / "workspace")}},
            "providers": {provider: {"apiKey": "placeholder", "apiBase": self.base_url, **settings}},
        }
        file = self.home / "config.json"
        file.write_text(json.dumps(config))
        outward = {name: self.way_out.url for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")}
        ran = subprocess.run(
            [self.program, "agent", "--no-markdown", "-c", file, "-m", message],
            cwd=self.home,
            env=environment(self.home, {**outward, "NO_PROXY": "127.0.0.1", "COLUMNS": "200"}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert {head.split()[1].decode() for head in self.way_out.received} <= {TIKTOKENS_TABLE}
        _, _, said = ran.stdout.rpartition("🐈 nanobot\n")
        return said


@pytest.fixture
def nanobot(clients: Path, tmp_path: Path, proxy: RunningProxy, way_out: RawServer) -> Nanobot:
    return Nanobot(clients / "nanobot", tmp_path, proxy.url, way_out)


def asked(control: Control) -> list[Seen]:
    return control.seen("backend", "responses")


@pytest.mark.slow
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_call_that_breaks_off_is_asked_for_again_and_its_result_answered(
    dialect: str, nanobot: Nanobot, control: Control
) -> None:
    # Within the arguments of the call: enough to run a tool with, for somebody who does not notice.
    control.fault("responses", clean_eof_after_events=5)
    said = nanobot.says('call list_dir {"path": "."}', dialect)
    assert "Tool said: " in said and "AGENTS.md" in said
    broken, again, with_result = asked(control)
    assert broken.json == again.json and (broken.fault, again.fault) == (True, False)
    kinds = [item.get("type") for item in with_result.json["input"]]
    assert (kinds.count("function_call"), kinds.count("function_call_output")) == (1, 1)
    # A system message is a developer's here; only Responses has a place of its own for it.
    assert bool(with_result.json["instructions"]) == (dialect == "responses")


@pytest.mark.slow
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_refusal_is_shown_with_its_reason_and_not_asked_again(dialect: str, nanobot: Nanobot, control: Control) -> None:
    control.fault("responses", status=400, body={"detail": "not on this plan"}, times=None)
    said = nanobot.says("hello", dialect)
    assert said.startswith("Error: ") and "'not on this plan'" in said
    assert len(asked(control)) == 1
