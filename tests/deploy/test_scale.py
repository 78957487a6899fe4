"""Three proxies behind HAProxy that share a Redis, with everything that goes wrong between machines: no refresh token is spent
twice, and every client gets an answer or an honest error."""

import asyncio
import http.client
import json
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.deploy.kubernetes import manifest
from tests.deploy.network import own_network
from tests.deploy.scale import FRONT, KINDS, PASSWORD, Farm, Replica, ask_at_once, farm, haproxy, is_served, wait_until
from tests.e2e.client import ask, post, said
from tests.e2e.endings import Ending, ask_for
from tests.e2e.test_shared_accounts import sign_in
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.needs import need_programs, need_root

pytestmark = pytest.mark.slow

WHOLE = Ending("whole", 200)
# The honest error of a proxy that must not, or cannot, renew the token just now. Who streams and has waited for long is told in the
# stream.
LATER = {Ending("refused", 503, "auth_unavailable"), Ending("failed", 200, "auth_unavailable")}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeOpenAI, Farm]]:
    with farm(tmp_path_factory.mktemp("farm")) as (openai, running):
        yield openai, running


@pytest.fixture
def control(everything: tuple[FakeOpenAI, Farm]) -> Control:
    everything[0].control.reset()
    return everything[0].control


@pytest.fixture
def three(everything: tuple[FakeOpenAI, Farm], control: Control) -> Iterator[Farm]:
    """Signed in with a token that is good, as each of them and HAProxy knows."""
    running = everything[1]
    sign_in(running.redis, control.login())
    wait_until(lambda: all(serves(replica) for replica in running.replicas))
    for replica in running.replicas:
        running.wait_until_ready(replica)
    yield running
    assert control.counts().reuses == 0
    secrets = [PASSWORD, *control.tokens()]
    assert [secret for replica in running.replicas for secret in secrets if secret in replica.log()] == []
    assert [secret for secret in secrets if secret.encode() in running.redis.written()] == []


def serves(replica: Replica) -> bool:
    return asyncio.run(ask_at_once(replica.url, 1)) == [WHOLE]


def metric(replica: Replica, name: str) -> float:
    lines = httpx.get(f"http://127.0.0.1:{replica.port}/metrics", trust_env=False).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def all_serve(three: Farm) -> bool:
    """Each is asked, whatever the others say."""
    return [serves(replica) for replica in three.replicas] == [True] * 3


@dataclass
class MidRefresh:
    holder: Replica
    endings: list[Ending] = field(default_factory=list)
    """Of the clients that wait for the token, when all is over."""


@contextmanager
def in_mid_refresh(three: Farm, control: Control, delay: float) -> Iterator[MidRefresh]:
    """No token is good any more, one of the three has asked for a new one, and sixty clients of HAProxy wait for it."""
    control.revoke("access")
    control.fault("token", delay=delay)
    sign_in(three.redis, control.login(lifetime=-3600, last_refresh_ago=7200))
    wait_until(lambda: control.seen("issuer", "token"))  # by HAProxy's look whether they are ready
    asked_by = control.seen("issuer", "token")[0].header("originator")
    now = MidRefresh(next(replica for replica in three.replicas if replica.name == asked_by))
    with ThreadPoolExecutor(1) as clients:
        waiting = clients.submit(asyncio.run, ask_at_once(three.url, 60))
        wait_until(lambda: sum(metric(replica, "codex_mitm_requests_in_flight") for replica in three.replicas) >= 60)
        yield now
        now.endings += waiting.result()


def honest(endings: Iterable[Ending]) -> bool:
    return set(endings) <= {WHOLE, *LATER}


def test_three_hundred_at_once_on_an_expired_token_make_one_refresh(three: Farm, control: Control) -> None:
    before = [metric(replica, "codex_mitm_requests_total") for replica in three.replicas]
    sign_in(three.redis, control.login(lifetime=-3600, last_refresh_ago=7200))
    control.fault("token", delay=1.0)
    assert Counter(asyncio.run(ask_at_once(three.url, 300))) == {WHOLE: 300}
    assert control.counts().refreshes == 1
    shares = [metric(replica, "codex_mitm_requests_total") - had for replica, had in zip(three.replicas, before, strict=True)]
    assert sum(shares) == 300 and min(shares) > 80, "who has least to do is asked"


def test_the_holder_is_killed_in_mid_refresh(three: Farm, control: Control) -> None:
    with in_mid_refresh(three, control, delay=60) as now:
        now.holder.process.kill()
    assert set(now.endings) <= LATER, Counter(now.endings)
    assert set(asyncio.run(ask_at_once(three.url, 4))) <= LATER
    assert len(control.seen("issuer", "token")) == 1, "nobody spends that token again"
    now.holder.start()
    sign_in(three.redis, control.login())
    wait_until(lambda: all_serve(three))


def test_the_holder_stands_still_for_ten_seconds(three: Farm, control: Control) -> None:
    with in_mid_refresh(three, control, delay=8) as now:
        now.holder.process.send_signal(signal.SIGSTOP)
        time.sleep(10)
        now.holder.process.send_signal(signal.SIGCONT)
    assert honest(now.endings) and WHOLE in now.endings, Counter(now.endings)
    wait_until(lambda: all_serve(three))
    assert control.counts().refreshes == 1


def test_redis_is_killed_in_mid_refresh_and_comes_back(three: Farm, control: Control) -> None:
    with in_mid_refresh(three, control, delay=8) as now:
        three.redis.kill()
        wait_until(lambda: control.seen("issuer", "token")[0].ended_at is not None)
        three.redis.start()
    assert honest(now.endings) and WHOLE in now.endings, Counter(now.endings)
    wait_until(lambda: all_serve(three))
    assert control.counts().refreshes == 1


def test_the_holder_is_cut_off_from_redis_in_mid_refresh(three: Farm, control: Control) -> None:
    """Its answer comes, and it can tell nobody. The others do not know whether one came, and leave that token alone."""
    with in_mid_refresh(three, control, delay=8) as now:
        three.cable(now.holder, "down")
    assert honest(now.endings) and WHOLE in now.endings and set(now.endings) & LATER, Counter(now.endings)
    assert [serves(replica) for replica in three.replicas] == [replica is now.holder for replica in three.replicas]
    three.cable(now.holder, "up")
    wait_until(lambda: all_serve(three))
    assert control.counts().refreshes == 1


def test_who_is_cut_off_serves_what_it_can_and_says_what_it_cannot(three: Farm, control: Control) -> None:
    cut_off = three.replicas[2]
    three.cable(cut_off, "down")
    assert all_serve(three), "with what is in memory"
    control.revoke("access")
    assert honest(asyncio.run(ask_at_once(three.url, 30)))
    assert set(asyncio.run(ask_at_once(cut_off.url, 4))) <= LATER

    cut_off.process.kill()
    three.wait_until_ready(cut_off, False)
    cut_off.start()
    wait_until(lambda: is_served(f"http://127.0.0.1:{cut_off.port}/healthz"))
    assert Counter(asyncio.run(ask_at_once(three.url, 30))) == {WHOLE: 30}, "it knows no account, and is not asked"
    assert not three.is_ready(cut_off)
    three.cable(cut_off, "up")
    wait_until(lambda: all_serve(three))
    three.wait_until_ready(cut_off)
    assert control.counts().refreshes == 1


def test_a_rolling_restart_under_a_hundred_open_streams_loses_none(three: Farm, control: Control) -> None:
    control.settings(delta_delay=0.4)
    restarted = threading.Event()

    async def ask_on_and_on(client: httpx.AsyncClient, n: int) -> list[Ending]:
        endings = []
        while not restarted.is_set():
            endings.append(
                await ask_for(client, three.url, KINDS[n % 2][0], True, "ten words that come one by one, and take some time")
            )
        return endings

    async def hundred() -> list[Ending]:
        async with httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=None)) as client:
            return sum(await asyncio.gather(*(ask_on_and_on(client, n) for n in range(100))), [])

    with ThreadPoolExecutor(1) as clients:
        running = clients.submit(asyncio.run, hundred())
        try:
            for replica in three.replicas:
                wait_until(lambda: sum(metric(each, "codex_mitm_requests_in_flight") for each in three.replicas) >= 90)
                replica.process.send_signal(signal.SIGTERM)
                assert replica.process.wait(30) == 0
                three.wait_until_ready(replica, False)
                replica.start()
                three.wait_until_ready(replica)
        finally:
            restarted.set()
        endings = running.result()
    assert len(endings) > 200 and Counter(endings) == {WHOLE: len(endings)}


def test_an_answer_of_a_proxy_that_is_killed_is_broken_off_and_not_ended(three: Farm, control: Control) -> None:
    control.settings(delta_delay=0.2)
    body = ask(" ".join(["word"] * 100))
    with httpx.stream("POST", f"{three.url}/responses", json=body, timeout=30, trust_env=False) as answer:
        pieces = answer.iter_bytes()
        assert next(pieces)
        asked_by = control.seen("backend", "responses")[-1].header("originator")
        (replica,) = [each for each in three.replicas if each.name == asked_by]
        replica.process.kill()
        with pytest.raises(httpx.RemoteProtocolError):
            list(pieces)
    replica.start()


def test_a_request_that_is_larger_than_haproxys_buffers_passes(three: Farm, control: Control) -> None:
    said(post(three.url, ask(instructions="x" * 300_000)))
    assert control.seen("backend", "responses")[-1].size > 300_000


@pytest.mark.parametrize("words", [0, 12])
def test_upstream_learns_that_a_client_has_left(words: int, three: Farm, control: Control) -> None:
    """Before the first word of its answer, and after some."""
    before = len(control.seen("backend", "responses"))
    control.fault("responses", silence_after_events=words, seconds=60)
    body = {"model": "gpt-5.5", "input": "hello there", "stream": True}
    client = http.client.HTTPConnection("127.0.0.1", FRONT, timeout=30)
    client.request("POST", "/v1/responses", json.dumps(body), {"content-type": "application/json"})
    if words:
        assert client.getresponse().read(20)
    wait_until(lambda: len(control.seen("backend", "responses")) > before)
    client.close()
    wait_until(lambda: control.seen("backend", "responses")[-1].ended == "client_left")


def test_if_none_is_ready_clients_learn_why(three: Farm, control: Control) -> None:
    """HAProxy could only say that there is none."""
    used_up = {"type": "usage_limit_reached", "message": "The usage limit has been reached", "resets_in_seconds": 9000}
    control.fault("responses", {"status": 429, "body": {"error": used_up}}, times=None)

    def none_is_ready() -> bool:
        asyncio.run(ask_at_once(three.url, 1))
        return not any(three.is_ready(replica) for replica in three.replicas)

    wait_until(none_is_ready)
    endings = asyncio.run(ask_at_once(three.url, 8))
    assert set(endings) == {Ending("refused", 429, "usage_limit_reached")}
    assert all(int(ending.headers["retry-after"]) > 8000 for ending in endings)


def test_a_sign_in_from_the_page_stays_where_it_was_begun(three: Farm, control: Control) -> None:
    page = httpx.Client(base_url=f"http://127.0.0.1:{FRONT}", headers={"x-codex-page": "1"}, trust_env=False)
    begun = page.post("/codex/sign-in", json={"account": "another"}).json()
    place = f"/codex/sign-in/{begun['id']}"
    assert {httpx.get(str(page.base_url.join(place)), trust_env=False).json().get("state") for _ in range(9)} == {"waiting"}
    assert page.delete(place).status_code == 200
    page.close()


def test_kubernetes_is_answered_under_the_address_of_a_pod(three: Farm) -> None:
    """It asks for that, unless the probe names another host."""
    (container,) = manifest("Deployment", "codex-mitm")["spec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        named = {header["name"]: header["value"] for header in asked["httpHeaders"]}
        url = f"http://127.0.0.1:{three.replicas[0].port}{asked['path']}"
        assert httpx.get(url, headers={"host": named["Host"]}, trust_env=False).status_code == 200
        assert httpx.get(url, headers={"host": "10.0.0.7:9090"}, trust_env=False).status_code == 421


def test_the_number_that_kubernetes_scales_by_is_one_of_ours(three: Farm) -> None:
    (wanted,) = manifest("HorizontalPodAutoscaler", "codex-mitm")["spec"]["metrics"]
    metrics = httpx.get(f"http://127.0.0.1:{three.replicas[0].port}/metrics", trust_env=False).text
    assert f"\n{wanted['pods']['metric']['name']} 0" in metrics


@contextmanager
def closes_without_a_word() -> Iterator[int]:
    """A proxy that seems to be well, and dies as soon as it is asked."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def close() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                if client.recv(1 << 16).startswith(b"GET /"):
                    client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                client.close()

        closing = threading.Thread(target=close)
        closing.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            closing.join(20)


def test_what_haproxy_says_by_itself_is_an_openai_error(tmp_path: Path) -> None:
    need_programs("haproxy")
    need_root()
    url = f"http://127.0.0.1:{FRONT}/v1"
    with own_network(), ExitStack() as stack:
        with closes_without_a_word() as port:
            stack.enter_context(haproxy(tmp_path, [port] * 3))
            assert set(asyncio.run(ask_at_once(url, 4))) == {Ending("refused", 502, "proxy_lost")}
        endings = asyncio.run(ask_at_once(url, 4))
        assert set(endings) == {Ending("refused", 503, "proxy_unavailable")}
        assert {ending.headers["retry-after"] for ending in endings} == {"2"}
