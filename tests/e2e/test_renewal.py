"""The token's life under load and under faults: refreshed once, never lost, never refreshed in vain."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.e2e.client import ask, error, events, post, said
from tests.e2e.conftest import options_for, write_account
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.proxy import ROOT, RunningProxy, environment, running_proxy

RESPONSES = "/backend-api/codex/responses"
EXPIRED = {"lifetime": 1000, "issued_ago": 2000}


def refresh_token(file: Path) -> str:
    return str(json.loads(file.read_text())["tokens"]["refresh_token"])


async def _ask_all(urls: Sequence[str]) -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(trust_env=False, timeout=60, limits=limits) as client:
        return list(await asyncio.gather(*[client.post(f"{url}/responses", json=ask(f"number {n}")) for n, url in enumerate(urls)]))


def ask_all(urls: Sequence[str]) -> list[str]:
    return [said(answer) for answer in asyncio.run(_ask_all(urls))]


def answers(count: int) -> list[str]:
    return [f"You said: number {n}" for n in range(count)]


def test_fifty_requests_on_an_expired_token_refresh_it_once(proxy: RunningProxy, control: Control, account: Path) -> None:
    control.fault("token", delay=0.3)
    write_account(account, control.login(**EXPIRED))
    assert ask_all([proxy.url] * 50) == answers(50)
    counts = control.counts()
    assert (counts.refreshes, counts.reuses) == (1, 0)
    assert refresh_token(account) == control.current().refresh_token


def test_two_proxies_on_one_file_refresh_it_once(openai: FakeOpenAI, control: Control, tmp_path: Path) -> None:
    control.fault("token", delay=0.3)
    file = write_account(tmp_path / "shared/auth.json", control.login(**EXPIRED))
    options = options_for(openai, codex_accounts=str(file))
    with ExitStack() as stack:
        proxies = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            proxies.append(stack.enter_context(running_proxy(tmp_path / name, options)))
        assert ask_all([proxy.url for proxy in proxies] * 25) == answers(50)
    counts = control.counts()
    assert (counts.refreshes, counts.reuses) == (1, 0)
    assert refresh_token(file) == control.current().refresh_token


# A second program on the same login, written from the CLI's lock protocol and not from our store: auth.lock over it all, the
# file read anew, one refresh, auth.json.lock over the write, temp file, rename.
NEIGHBOUR = """
import fcntl, json, os, sys, time, urllib.request
folder, issuer, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
path = os.path.join(folder, "auth.json")
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for _ in range(rounds):
    with open(os.path.join(folder, "auth.lock"), "a") as outer:
        fcntl.flock(outer, fcntl.LOCK_EX)
        document = json.load(open(path))
        body = {"client_id": "app_EMoamEEZ73f0CkXaXp7hrann", "grant_type": "refresh_token",
                "refresh_token": document["tokens"]["refresh_token"], "refresh_reason": "proactive_expiry"}
        request = urllib.request.Request(issuer + "/oauth/token", json.dumps(body).encode(), {"content-type": "application/json"})
        document["tokens"].update(json.load(opener.open(request)))
        document["tokens"].pop("expires_in", None)
        document["last_refresh"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with open(path + ".lock", "a") as inner:
            fcntl.flock(inner, fcntl.LOCK_EX)
            temp = os.path.join(folder, ".auth-neighbour")
            with os.fdopen(os.open(temp, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
                json.dump(document, file)
            os.rename(temp, path)
    time.sleep(0.01)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the neighbour uses flock as the CLI does on Unix")
def test_a_neighbour_that_keeps_the_clis_locks_and_a_proxy_never_reuse_a_token(
    openai: FakeOpenAI, control: Control, tmp_path: Path
) -> None:
    control.lifetime(access=2)
    file = write_account(tmp_path / "shared/auth.json", control.login(lifetime=2))
    with running_proxy(tmp_path, options_for(openai, codex_accounts=str(file))) as proxy:
        neighbour = subprocess.Popen([sys.executable, "-c", NEIGHBOUR, str(file.parent), openai.issuer_url, "60"])
        while neighbour.poll() is None:
            assert ask_all([proxy.url] * 4) == answers(4)
        assert neighbour.returncode == 0
        time.sleep(2)
        assert ask_all([proxy.url] * 4) == answers(4)
    counts = control.counts()
    assert counts.reuses == 0 and counts.refreshes > 60, "both must have refreshed"
    assert refresh_token(file) == control.current().refresh_token


def test_a_token_revoked_amid_a_hundred_streams_is_seen_by_no_client(proxy: RunningProxy, control: Control) -> None:
    control.settings(delta_delay=0.1)
    control.fault("token", delay=0.5)

    async def one(client: httpx.AsyncClient, number: int) -> tuple[int, str, int]:
        await asyncio.sleep(number * 0.01)
        async with client.stream("POST", f"{proxy.url}/responses", json=ask(f"number {number} of very many")) as answer:
            pieces = [piece async for piece in answer.aiter_raw()]
            return answer.status_code, b"".join(pieces).decode(), len(pieces)

    async def all_of_them() -> list[tuple[int, str, int]]:
        async with httpx.AsyncClient(trust_env=False, timeout=60, limits=httpx.Limits(max_connections=None)) as client:
            tasks = [asyncio.get_running_loop().create_task(one(client, n), name=f"client {n}") for n in range(100)]
            await asyncio.sleep(0.5)
            await asyncio.to_thread(control.revoke, "access")
            return list(await asyncio.gather(*tasks))

    for number, (status, text, pieces) in enumerate(asyncio.run(all_of_them())):
        found = events(text)
        assert status == 200 and found[-1]["type"] == "response.completed"
        said = "".join(event["delta"] for event in found if event["type"] == "response.output_text.delta")
        assert said == f"You said: number {number} of very many"
        assert [event["type"] for event in found].count("response.created") == 1, "one stream, not two"
        assert pieces > 1, "it must stream, the second time too"  # what came together while the machine was busy goes on together
    counts = control.counts()
    assert (counts.refreshes, counts.reuses) == (1, 0)
    refused = [seen for seen in control.seen("backend", "responses") if seen.status == 401]
    assert refused and counts.of("backend", RESPONSES) == 100 + len(refused), (
        "each refused request goes out once more and no oftener"
    )


def test_a_token_that_is_refused_after_its_renewal_is_told_once(proxy: RunningProxy, control: Control) -> None:
    control.fault("responses", status=401, body={"detail": "Unauthorized"}, times=None)
    answer = post(proxy.url)
    assert answer.status_code == 502 and answer.headers["x-should-retry"] == "false"
    assert error(answer)["code"] == "upstream_auth_error"
    assert control.counts().refreshes == 1 and control.counts().of("backend", RESPONSES) == 2
    assert post(proxy.url).status_code == 502
    assert control.counts().refreshes == 1, "a token refreshed moments ago is not the trouble"


def test_a_dead_login_is_remembered_until_there_is_another(proxy: RunningProxy, control: Control, account: Path) -> None:
    control.revoke("all")
    for _ in range(3):
        answer = post(proxy.url)
        assert answer.status_code == 401 and error(answer)["code"] == "login_required"
        assert "make login" in error(answer)["message"]
    assert control.counts().of("issuer", "/oauth/token") == 1
    write_account(account, control.login())
    assert said(post(proxy.url)) == "You said: hello there"


def test_an_issuer_that_is_away_is_a_503_and_its_return_is_noticed(proxy: RunningProxy, control: Control, account: Path) -> None:
    control.fault("token", reset="before_headers", times=None)
    write_account(account, control.login(**EXPIRED))
    answer = post(proxy.url)
    assert answer.status_code == 503 and error(answer)["code"] == "auth_unavailable"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    control.clear_faults()
    time.sleep(int(answer.headers["retry-after"]))
    assert said(post(proxy.url)) == "You said: hello there"


@pytest.mark.parametrize("offset", [3600, -3600], ids=["ahead", "behind"])
def test_an_issuer_whose_clock_is_an_hour_off_costs_no_refresh(
    offset: float, proxy: RunningProxy, control: Control, account: Path
) -> None:
    """Tokens live half an hour here: by the issuer's clock they are over on ours before they begin, or begin when they are over."""
    control.clock(offset)
    control.lifetime(access=1800)
    write_account(account, control.login(lifetime=1800, last_refresh_ago=offset))
    for _ in range(3):
        assert said(post(proxy.url)) == "You said: hello there"
    assert control.counts().refreshes == 0
    control.revoke("access")
    for _ in range(3):
        assert said(post(proxy.url)) == "You said: hello there"
    assert control.counts().refreshes == 1


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_refresh_under_way_is_finished_before_the_end(
    how: signal.Signals, openai: FakeOpenAI, control: Control, tmp_path: Path
) -> None:
    control.fault("token", delay=1.5)
    file = write_account(tmp_path / "auth.json", control.login(**EXPIRED))
    with running_proxy(tmp_path, options_for(openai, codex_accounts=str(file))) as proxy:
        waiting = threading.Thread(target=lambda: httpx.get(proxy.url, timeout=20), daemon=True)
        deadline = time.monotonic() + 20
        while not control.seen("issuer", "token"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        proxy.stop(how)
        del waiting
    assert refresh_token(file) == control.current().refresh_token
    assert "Traceback" not in proxy.log()


ON_A_FULL_DISK = """
set -e
mount -t tmpfs -o size=128k,mode=700 tmpfs "$1"; cp "$2" "$1/auth.json"
cat /dev/zero > "$1/ballast" 2>/dev/null || true
shift 2; exec "$@"
"""
ON_A_READ_ONLY_DISK = """
set -e
mount -t tmpfs -o size=128k,mode=700 tmpfs "$1"; cp "$2" "$1/auth.json"
mount -o remount,ro "$1"
shift 2; exec "$@"
"""


@pytest.mark.parametrize(
    ("preparation", "why"), [(ON_A_FULL_DISK, "no space left"), (ON_A_READ_ONLY_DISK, "read-only")], ids=["full", "read-only"]
)
def test_where_nothing_can_be_saved_the_request_is_served_and_the_loss_is_shouted(
    preparation: str, why: str, openai: FakeOpenAI, control: Control, tmp_path: Path, needs_unshare: None
) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    original = write_account(tmp_path / "original/auth.json", control.login(**EXPIRED))
    inside = ("unshare", "-rm", "sh", "-c", preparation, "sh", str(folder), str(original))
    with running_proxy(tmp_path, options_for(openai, codex_accounts=str(folder / "auth.json")), inside=inside) as proxy:
        assert said(post(proxy.url)) == "You said: hello there"
        assert said(post(proxy.url)) == "You said: hello there"
        proxy.wait_for_log("in memory only and lost if this process ends")
        same_disk = ("nsenter", "-t", str(proxy.process.pid), "-U", "-m", "--preserve-credentials")
        status = subprocess.run(
            [*same_disk, sys.executable, "-m", "auth", "status", "--accounts", str(folder)],
            env=environment(tmp_path, {"PYTHONPATH": str(ROOT)}),
            capture_output=True,
            text=True,
        )
    assert control.counts().refreshes == 1, "what is in memory is used"
    assert why in proxy.log().lower() and why in status.stdout.lower() + status.stderr.lower()
