"""`make bench-peers`: streamed chat at 16 clients, beside other programs that serve a ChatGPT plan as the OpenAI API.

Each is installed into an environment of its own under .bench-peers/, from PyPI or npm. It then runs with a fake sign-in, a home of
its own and no network but loopback: in a namespace where unshare can make one, else with proxies that do not exist as theirs.
"""

import argparse
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import report
from tests.bench.bars import PEER_BARS
from tests.bench.contestants import Contestant, Field, assembled
from tests.bench.figures import Case, Figures
from tests.bench.load import Refused, asking, called
from tests.bench.processes import allow_many_files, machine
from tests.bench.scenarios import Bench, Effort, Scenario, in_turns, times, warm
from tests.e2e.conftest import write_account
from tests.proxy import ROOT, environment, free_port

PLACE = ROOT / ".bench-peers"
CASE = Case("B4", "8 words streamed", 16)
# An import of LiteLLM's proxy takes ten seconds on a core of its own.
START_TIMEOUT = 120.0
NOWHERE = "http://127.0.0.1:9"
OFFLINE = {"HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE, "ALL_PROXY": NOWHERE, "NO_PROXY": "127.0.0.1,localhost"}
OFFLINE |= {name.lower(): value for name, value in OFFLINE.items()}


@dataclass(frozen=True)
class Started:
    """With what a peer is started."""

    command: Sequence[str]
    env: Mapping[str, str]


@dataclass(frozen=True)
class Place:
    environment: Path
    home: Path
    port: int
    backend: str
    tokens: Mapping[str, str]


@dataclass(frozen=True)
class Peer:
    name: str
    package: str
    """As its registry knows it, with the version that was tried."""
    start: Callable[[Place], Started]
    is_npm: bool = False

    @property
    def environment(self) -> Path:
        return PLACE / self.name

    def install(self) -> None:
        """Raises CalledProcessError. Does nothing where it has been done."""
        done = self.environment / "installed"
        if done.exists() and done.read_text() == self.package:
            return
        shutil.rmtree(self.environment, ignore_errors=True)
        self.environment.mkdir(parents=True)
        if self.is_npm:
            quiet = ["--loglevel=error", "--no-audit", "--no-fund", "--no-update-notifier", "--ignore-scripts"]
            command = ["npm", "install", *quiet, "--cache", str(self.environment / ".npm-cache"), "--prefix", str(self.environment)]
            run(*command, self.package)
        else:
            uv = str(ROOT / ".uv/bin/uv")
            run(uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(self.environment))
            run(uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(self.environment), self.package)
        done.write_text(self.package)


def run(*command: str) -> None:
    subprocess.run(command, cwd=PLACE, check=True, capture_output=True, text=True)


CHATMOCK = """
import sys
from chatmock.cli import main

for name, module in list(sys.modules.items()):
    if name.startswith("chatmock.") and hasattr(module, "CHATGPT_RESPONSES_URL"):
        module.CHATGPT_RESPONSES_URL = sys.argv[1] + "/responses"
del sys.argv[1]
sys.exit(main())
"""


def chatmock(place: Place) -> Started:
    """Its upstream is a constant."""
    program = [str(place.environment / "bin/python"), "-c", CHATMOCK, place.backend, "serve", "--port", str(place.port)]
    return Started(program, {"CHATGPT_LOCAL_HOME": str(place.home / ".codex"), "CHATGPT_LOCAL_MODEL_SYNC": "false"})


def litellm(place: Place) -> Started:
    config = {"model_list": [{"model_name": "gpt-5.5", "litellm_params": {"model": "chatgpt/gpt-5.5"}}]}
    (place.home / "config.yaml").write_text(json.dumps(config))
    (place.home / "auth.json").write_text(json.dumps({**place.tokens, "expires_at": time.time() + 86400}))
    program = [str(place.environment / "bin/litellm"), "--config", str(place.home / "config.yaml")]
    env = {"CHATGPT_API_BASE": place.backend, "CHATGPT_TOKEN_DIR": str(place.home), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    env["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"  # no key to be checked, as with the others
    return Started([*program, "--host", "127.0.0.1", "--port", str(place.port), "--telemetry", "False"], env)


def via_codex(place: Place) -> Started:
    """It lets 10 requests in at once by itself, which are fewer than the clients are."""
    program = [
        str(place.environment / "bin/openai-api-server-via-codex"),
        "-port",
        str(place.port),
        "-max-concurrent-requests",
        "64",
    ]
    paths = ["-auth-json", str(place.home / ".codex/auth.json"), "-config", str(place.home / "none.toml")]
    return Started([*program, *paths, "-backend-base-url", place.backend], {})


def openai_oauth(place: Place) -> Started:
    program = [str(place.environment / "node_modules/.bin/openai-oauth"), "--port", str(place.port), "--base-url", place.backend]
    rest = ["--oauth-file", str(place.home / ".codex/auth.json"), "--models", "gpt-5.5", "--codex-version", "0.169.0"]
    return Started([*program, *rest], {})


PEERS = (
    Peer("via-codex", "openai-api-server-via-codex==0.2.3", via_codex),
    Peer("openai-oauth", "openai-oauth@2.0.0", openai_oauth, is_npm=True),
    Peer("ChatMock", "chatmock==1.40", chatmock),
    Peer("LiteLLM", "litellm[proxy]==1.106.2", litellm),
)


class CannotRun(Exception):
    """The message says why, and what it said."""


@contextmanager
def running(peer: Peer, field: Field) -> Iterator[Contestant]:
    home, document = field.home(), field.openai.control.login()
    write_account(home / ".codex/auth.json", document)
    place = Place(
        peer.environment, home, free_port(), f"http://127.0.0.1:{field.upstream.port}/backend-api/codex", document["tokens"]
    )
    started, log = peer.start(place), home / "log"
    env = environment(home, {**OFFLINE, "CODEX_HOME": str(home / ".codex"), **started.env})
    with log.open("wb") as said:
        process = subprocess.Popen(
            started.command, cwd=home, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
        )
    contestant = Contestant(peer.name, place.port, process.pid)
    try:
        until_it_answers(contestant, process, log)
        yield contestant
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until_it_answers(contestant: Contestant, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            called(contestant.callers(1, asking("short", True)), calls=1)
            return
        except (Refused, OSError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise CannotRun(f"{error}; {log.read_text(errors='replace')[-1000:]}") from error
            time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="make bench-peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", metavar="ChatMock,LiteLLM", default=",".join(peer.name for peer in PEERS), help="some of them")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each, %(default)s")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a turn, %(default)s")
    parser.add_argument("--to", type=Path, default=ROOT / "bench-results", help="folder for the JSON, %(default)s")
    parser.add_argument("--without", metavar="NAME: WHY", action="append", default=[], help=argparse.SUPPRESS)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.alone:
        raise_loopback()
    else:
        for peer in [peer for peer in PEERS if peer.name in chosen.only.split(",")]:
            try:
                peer.install()
            except (OSError, subprocess.CalledProcessError) as error:
                chosen.without.append(f"{peer.name}: cannot be installed: {getattr(error, 'stderr', None) or error}")
        without = [word for each in chosen.without for word in ("--without", each)]
        enter_empty_network(["-m", "tests.bench.peers", *sys.argv[1:], *without])
    compare(chosen)


def enter_empty_network(arguments: Sequence[str]) -> None:
    """Returns only where there is none to be had."""
    unshare = shutil.which("unshare")
    if unshare and subprocess.run([unshare, "-rn", "true"], capture_output=True, check=False).returncode == 0:
        os.execv(unshare, [unshare, "-rn", sys.executable, *arguments, "--alone"])
    print("! no network namespace to be had: the peers are kept offline by their settings only", file=sys.stderr)


def raise_loopback() -> None:
    """In a new namespace it is down; netdevice(7), SIOCSIFFLAGS with IFF_UP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 1))


def compare(chosen: argparse.Namespace) -> None:
    allow_many_files()
    figures, before = Figures(), os.getloadavg()
    for each in chosen.without:
        figures.remark(each)
    lacking = {each.partition(":")[0] for each in chosen.without}
    with assembled() as field, ExitStack() as stack:
        bench = Bench(field, figures, Effort(rounds=chosen.rounds, seconds=chosen.seconds))
        contestants = bench.present(("direct", "bare mitmdump", "codex-mitm"))
        for peer in PEERS:
            if peer.name in chosen.only.split(",") and peer.name not in lacking:
                try:
                    contestants.append(stack.enter_context(running(peer, field)))
                except CannotRun as error:
                    figures.remark(f"{peer.name} does not run: {error}")
        with warm(contestants, CASE.load, asking("short", True)) as callers:
            in_turns(bench, CASE, contestants, lambda each: called(callers[each.name], chosen.seconds), times, chosen.rounds)
        for each in contestants:
            if each.pid:
                figures.note(CASE, each.name, memory=each.resident())
    about: dict[str, Any] = {"machine": machine(), "load_before": before, "load_after": os.getloadavg(), "rounds": chosen.rounds}
    about["versions"] = {peer.name: peer.package for peer in PEERS}
    scenario = Scenario("chat at 16 clients, kept alive, medians", lambda bench: None, ("rate", "p50", "memory", "cpu"))
    print("\n".join([*report.table("B4", scenario, figures), "", *report.judged(figures, PEER_BARS)]))
    for remark in figures.remarks:
        print(f"! {remark}")
    print(f"\nmedians of {chosen.rounds} rounds; load {before[0]:.1f} before and {about['load_after'][0]:.1f} after")
    path = chosen.to / time.strftime("peers-%Y%m%d-%H%M%S.json", time.gmtime())
    report.write(path, figures, about, PEER_BARS)
    print(f"all figures: {path}")


if __name__ == "__main__":
    main()
