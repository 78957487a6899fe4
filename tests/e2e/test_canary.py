"""No secret is ever anywhere but in the store and on the wire to its own host: sentinel tokens, then a search through everything.

What is searched: logs at debug level with every flow printed in full, save_stream_file, hardump, mitmweb's own JSON of flows
while they run and afterwards, the answers and errors that clients get, the processes' command lines, all files in the home.
"""

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.client import ask, post, said
from tests.e2e.conftest import options_for, write_account
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.proxy import ENTRY, RunningProxy, running_proxy

CLIENT_KEY = "sk-CANARY-client"


@pytest.fixture
def watched(openai: FakeOpenAI, control: Control, tmp_path: Path) -> Iterator[Any]:
    """A proxy that writes down all it can, and the account it runs on."""
    account = write_account(tmp_path / "store/auth.json", control.login())
    options = options_for(openai, codex_accounts=str(account))
    kept = {"save_stream_file": str(tmp_path / "kept.flows"), "hardump": str(tmp_path / "kept.har")}

    @contextmanager
    def start(program: str = "mitmdump", **more: str) -> Iterator[tuple[RunningProxy, Path]]:
        quiet = ["--no-web-open-browser", "--web-port", str(free_port()), "--set", "web_password=of-the-test"]
        loud = ["--flow-detail", "4"] if program == "mitmdump" else quiet
        with running_proxy(tmp_path, options | kept | more, program=program, arguments=["-p", "0", "-v", *loud]) as proxy:
            yield proxy, account

    return start


def findings(control: Control, folder: Path, *texts: str) -> list[str]:
    """Where a secret is that must not be there."""
    secrets = [*control.tokens(), CLIENT_KEY]
    assert len(secrets) > 3
    places = {f"text {n}": text.encode() for n, text in enumerate(texts)}
    for file in folder.rglob("*"):
        if file.is_file() and file != folder / "store/auth.json":
            places[str(file)] = file.read_bytes()
    return [place for place, content in places.items() for secret in secrets if secret.encode() in content]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def command_lines() -> str:
    return "\n".join(file.read_bytes().decode(errors="replace") for file in Path("/proc").glob("[0-9]*/cmdline") if file.exists())


def ask_with_key(url: str, **body: Any) -> httpx.Response:
    return post(url, ask(**body), headers={"authorization": f"Bearer {CLIENT_KEY}", "x-api-key": CLIENT_KEY, "cookie": CLIENT_KEY})


def ask_slowly(url: str) -> None:
    """The body comes half a second after the head, which is when mitmweb shows the request already."""

    def body() -> Iterator[bytes]:
        time.sleep(0.5)
        yield json.dumps(ask()).encode()

    post(url, content=body(), headers={"authorization": f"Bearer {CLIENT_KEY}"})


def test_through_streaming_refresh_and_errors(watched: Any, control: Control, tmp_path: Path) -> None:
    heard = []
    with watched() as (proxy, account):
        answers = [ask_with_key(proxy.url)]
        control.revoke("access")
        answers.append(ask_with_key(proxy.url))
        assert [said(answer) for answer in answers] == ["You said: hello there"] * 2
        for fault in ({"status": 500, "body": "oops"}, {"garbage": True}):
            control.fault("responses", fault)
            answers.append(ask_with_key(proxy.url))
        control.fault("responses", {"cut_after_bytes": 500})
        control.fault("responses", {"cut_after_bytes": 4000}, after=1)
        answers += [ask_with_key(proxy.url), ask_with_key(proxy.url)]
        control.revoke("all")
        answers.append(ask_with_key(proxy.url))
        assert answers[-1].status_code in (401, 502)
        heard = [answer.text + str(answer.headers) for answer in answers] + [command_lines()]
        proxy.stop()
    assert "[put on the wire by codex-mitm: account store]" in proxy.log(), "what is searched must show the requests at all"
    assert (tmp_path / "kept.flows").stat().st_size > 1000 and len(
        json.loads((tmp_path / "kept.har").read_text())["log"]["entries"]
    ) > 4
    assert findings(control, tmp_path, *heard) == []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_when_it_ends_with_requests_in_flight(how: signal.Signals, watched: Any, control: Control, tmp_path: Path) -> None:
    control.fault("responses", {"delay": 20}, times=None)
    with watched() as (proxy, _):
        client = threading.Thread(target=lambda: pytest.raises(httpx.HTTPError, ask_with_key, proxy.url), daemon=True)
        client.start()
        deadline = time.monotonic() + 10
        while not control.seen("backend"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        proxy.stop(how)
        client.join(10)
    assert (tmp_path / "kept.flows").stat().st_size > 100, "the flow in flight was saved, and must be clean"
    assert findings(control, tmp_path) == []


def test_in_what_mitmweb_shows_before_during_and_after(watched: Any, control: Control, tmp_path: Path) -> None:
    """A request is watched from the moment its head arrives, waiting for its body, until after its answer. There is no window."""
    control.fault("responses", {"delay": 1.0})
    shown: list[str] = []
    with watched("mitmweb") as (proxy, _):
        proxy.wait_for_log("Web server listening at ")
        web = "http://127.0.0.1:" + proxy.log().partition("Web server listening at http://127.0.0.1:")[2].partition("/")[0]
        with httpx.Client(base_url=web, headers={"authorization": "Bearer of-the-test"}, trust_env=False) as mitmweb:
            client = threading.Thread(target=ask_slowly, args=(proxy.url,), daemon=True)
            client.start()
            while client.is_alive():
                shown.append(mitmweb.get("/flows").raise_for_status().text)
                time.sleep(0.005)
            shown.append(mitmweb.get("/flows").raise_for_status().text)
    states = {bool(flow.get("response")) for text in shown for flow in json.loads(text)}
    assert states == {True, False}, "it must have been seen unanswered and answered"
    assert "put on the wire by codex-mitm" in shown[-1]
    assert findings(control, tmp_path, *shown) == []


def test_the_bearer_goes_to_the_upstream_and_nowhere_else(watched: Any, control: Control, openai: FakeOpenAI) -> None:
    """Not to the other origins of OpenAI, not where a redirect points; the refresh token to the issuer alone."""
    control.fault("responses", {"redirect": f"{openai.platform_url}/v1/responses"})
    with watched() as (proxy, _):
        ask_with_key(proxy.url)
        control.revoke("access")
        said(ask_with_key(proxy.url))
    access, refresh = control.tokens("access"), control.tokens("refresh")
    for seen in control.seen():
        everything = json.dumps([seen.headers, seen.json, seen.form])
        assert seen.origin == "backend" or not any(token in everything for token in access)
        assert seen.origin == "issuer" or not any(token in everything for token in refresh)
    assert control.seen("platform") == []


def test_a_script_that_points_a_request_elsewhere_gets_no_bearer(openai: FakeOpenAI, control: Control, tmp_path: Path) -> None:
    """Another addon may sit between ours; the credential is for the configured upstream, whatever the flow says by then."""
    meddler = tmp_path / "meddler.py"
    meddler.write_text(
        "from mitmproxy import ctx\n"
        "class Meddler:\n"
        "    def request(self, flow):\n"
        f"        flow.request.host, flow.request.port = '127.0.0.1', {httpx.URL(openai.platform_url).port}\n"
        "addons = [Meddler()]\n"
    )
    entry = tmp_path / "entry_with_meddler.py"
    entry.write_text(
        f"import runpy; _ours = runpy.run_path({str(ENTRY)!r}); _meddler = runpy.run_path({str(meddler)!r})\n"
        "addons = [*_ours['addons'][:-1], *_meddler['addons'], _ours['addons'][-1]]\n"
    )
    account = write_account(tmp_path / "store/auth.json", control.login())
    with running_proxy(tmp_path, options_for(openai, codex_accounts=str(account)), scripts=[entry]) as proxy:
        answer = post(proxy.url)
    assert answer.status_code == 500
    assert control.seen("platform") == [] and control.seen("backend", "responses") == []
