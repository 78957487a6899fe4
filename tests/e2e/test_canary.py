"""No secret is ever anywhere but in the store and on the wire to its own host: sentinel tokens, then a search through everything.

What is searched: logs at debug level with every flow printed in full, save_stream_file, hardump, mitmweb's own JSON of flows
while they run and afterwards, the answers and errors that clients get, the processes' command lines, all files in the home, what
every command of codex-traffic makes of the record, the page, and the traceback of a script that tells all it has seen.
"""

import json
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from addons.traffic.packing import unpack
from tests.addons.traffic.program import Program
from tests.e2e.client import ask, post, said
from tests.e2e.conftest import options_for, write_account
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.proxy import ENTRY, RunningProxy, free_port, running_proxy

CLIENT_KEY = "sk-CANARY-client"
# It looks like one, so it is taken out of what is said as well.
LIKE_A_KEY = "sk-" + "CANARY0client0key0of0this0test1234"

CREATED = {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}
DELTA = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "item_id": "msg_1"}
COMPLETED = {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": []}}

# Another script of the user's, with a bug: each traceback in the log tells everything that was to be seen at that moment.
TELLS_ALL = """
def tell(flow):
    raise RuntimeError(f"all of it: {flow.get_state()!r}")
requestheaders = request = responseheaders = response = error = tell
"""


@pytest.fixture
def watched(openai: FakeOpenAI, control: Control, tmp_path: Path) -> Iterator[Any]:
    """A proxy that writes down all it can, and the account it runs on."""
    account = write_account(tmp_path / "store/auth.json", control.login())
    options = options_for(openai, codex_accounts=str(account))
    kept = {"save_stream_file": str(tmp_path / "kept.flows"), "hardump": str(tmp_path / "kept.har")}
    (tmp_path / "tells_all.py").write_text(TELLS_ALL)
    scripts = [ENTRY, tmp_path / "tells_all.py"]

    @contextmanager
    def start(program: str = "mitmdump", **more: str) -> Iterator[tuple[RunningProxy, Path]]:
        quiet = ["--no-web-open-browser", "--web-port", str(free_port()), "--set", "web_password=of-the-test"]
        loud = ["--flow-detail", "4"] if program == "mitmdump" else quiet
        arguments = ["-p", "0", "-v", *loud]
        with running_proxy(tmp_path, options | kept | more, program=program, arguments=arguments, scripts=scripts) as proxy:
            yield proxy, account

    return start


def findings(control: Control, folder: Path, *texts: str) -> list[str]:
    """Where a secret is that must not be there."""
    secrets = [*control.tokens(), CLIENT_KEY, LIKE_A_KEY]
    assert len(secrets) > 3
    places = {f"text {n}": text.encode() for n, text in enumerate(texts)}
    for file in folder.rglob("*"):
        if file.is_file() and file != folder / "store/auth.json":
            places[str(file)] = file.read_bytes()
    return [place for place, content in places.items() for secret in secrets if secret.encode() in content]


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
    assert proxy.log().count("RuntimeError: all of it: ") > 20
    assert (tmp_path / "kept.flows").stat().st_size > 1000 and len(
        json.loads((tmp_path / "kept.har").read_text())["log"]["entries"]
    ) > 4
    assert findings(control, tmp_path, *heard) == []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_when_it_ends_with_requests_in_flight(how: signal.Signals, watched: Any, control: Control, tmp_path: Path) -> None:
    control.fault("responses", {"delay": 20}, times=None)
    with watched() as (proxy, _):
        client = threading.Thread(target=ask_with_key, args=(proxy.url,), daemon=True)
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


def test_in_what_is_recorded_and_in_all_that_tells_of_it(watched: Any, control: Control, tmp_path: Path) -> None:
    """The client says its key and a token, and upstream says a token back. What was said is recorded, and those are not."""
    token, program = control.tokens("access")[0], Program(tmp_path)
    control.script([{"event": CREATED}, {"event": DELTA | {"delta": f"it is {token}"}}, {"event": COMPLETED}])
    control.fault("responses", {"status": 401, "body": {"detail": f"Bearer {token} is not good"}}, times=2, after=1)
    with watched(codex_traffic_bodies="true") as (proxy, _):
        good, bad = (ask_with_key(proxy.url, text=f"my key is {LIKE_A_KEY}, my token {token}") for _ in range(2))
        assert (good.status_code, bad.status_code) == (200, 502) and token in good.text
        calls = [answer.headers["x-request-id"] for answer in (good, bad)]
        deadline = time.monotonic() + 10
        while program.run("explain", calls[1]).code != 0:
            assert time.monotonic() < deadline, "it was not recorded"
        told = {form: program.show("export", *calls, form) for form in ("--har", "--jsonl", "--curl")}
        told |= {"show": program.show("show", calls[0]), "--events": program.show("show", calls[0], "--events")}
        again = program.run("replay", calls[0], "--to", proxy.origin)
        told["replay"] = again.out + again.err
        with program.start("replay", calls[0], "--offline", "--speed", "0") as running:
            told["offline"] = httpx.post(running.lines(1)[0], json={}, timeout=20, trust_env=False).text
        assert again.code == 0 and [name for name, text in told.items() if "[redacted" not in text] == [], "it is all searched"
        told |= {"explain": program.show("explain", calls[1]), "tail": program.show("tail", "--no-follow"), "error": bad.text}
        for page in ("/", "/codex/calls?limit=20", "/codex/usage"):
            told[page] = httpx.get(proxy.origin + page, timeout=20, trust_env=False).raise_for_status().text
        told["bodies"] = "\n".join(recorded_bodies(program.path))
    assert calls[0].removeprefix("req_")[:8] in told["tail"] and calls[0] in told["/codex/calls?limit=20"]
    assert program.run("verify").code == 0
    # The log and mitmproxy's own files have what was said, as the user of mitmproxy wants it.
    assert findings(control, program.path.parent, *told.values()) == []


def recorded_bodies(path: Path) -> list[str]:
    """As they are when they are unpacked: in the file they are compressed."""
    with closing(sqlite3.connect(path)) as db:
        return [unpack(packed).data.decode("utf-8", "replace") for (packed,) in db.execute("SELECT packed FROM bodies")]


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
