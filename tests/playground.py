"""`make demo ARGS=--stay`: the fake OpenAI and the proxy, in mitmweb, for the lessons of docs/learn.md. It stays until Ctrl-C.

The learner's commands run in another terminal, with the settings that are printed first. What is printed after them is what OpenAI
sees of it: a line for each request, with tokens by their number.
"""

import itertools
import secrets
import shlex
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from tests.demo import lines_of
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.proxy import BIN, RunningProxy, free_port, running_proxy

# Seconds between two looks at what the fake has seen. A request is to be there before its reader has turned their head.
LOOK_EVERY = 0.2
CURL_SETTINGS = "mitmweb.curl"
# Windows has no SIGHUP.
ENDINGS = ("SIGINT", "SIGTERM", "SIGHUP")

HOW = """\
A fake OpenAI, and the proxy before it. Nobody is signed in. Go on in another
terminal: paste these lines there, and follow docs/learn.md.
"""
WATCH = """
Every request can be looked at in mitmweb: {url}
Ctrl-C ends it all. From here on: what the fake OpenAI is asked.
"""


def stay() -> int:
    # A shell that starts it in the background has it ignore Ctrl-C, and a terminal that closes must not leave a proxy behind.
    for name in ENDINGS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    try:
        with ExitStack() as stack:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="codex-mitm-demo-", ignore_cleanup_errors=True)))
            fake = stack.enter_context(FakeOpenAI(sentinel="FAKE"))
            fake.control.settings(device_interval="1")
            port, password = free_port(), secrets.token_hex(16)
            proxy = stack.enter_context(start(home, fake, port, password))
            write_curl_settings(home / CURL_SETTINGS, port, password)
            proxy.wait_for_log("Web server listening at ")
            print(HOW)
            for name, value in exports(home, fake, proxy).items():
                print(f"    export {name}={value}")
            print(WATCH.format(url=f"http://127.0.0.1:{port}/?token={password}"), flush=True)
            for line in lines(fake.control):
                print(line, flush=True)
    except KeyboardInterrupt:
        print("\nThe demo has ended, and nothing of it is left.", flush=True)
    return 0


def start(home: Path, fake: FakeOpenAI, web_port: int, password: str) -> AbstractContextManager[RunningProxy]:
    options = {
        "codex_issuer_url": fake.issuer_url,
        "codex_backend_url": fake.backend_url,
        "codex_platform_url": fake.platform_url,
        "codex_traffic_bodies": "true",
    }
    arguments = ["-p", "0", "--no-web-open-browser", "--set", f"web_port={web_port}", "--set", f"web_password={password}"]
    return running_proxy(home, options, program="mitmweb", arguments=arguments)


def exports(home: Path, fake: FakeOpenAI, proxy: RunningProxy) -> dict[str, str]:
    """As a shell reads them."""
    plain = {
        "CODEX_MITM_HOME": str(home / ".codex-mitm"),
        "OPENAI_BASE_URL": proxy.url,
        "ISSUER": fake.issuer_url,
        "CONTROL": fake.control_url,
        "MITMWEB": str(home / CURL_SETTINGS),
    }
    return {"PATH": f'{shlex.quote(str(BIN))}:"$PATH"'} | {name: shlex.quote(value) for name, value in plain.items()}


def write_curl_settings(path: Path, web_port: int, password: str) -> None:
    """For `curl -K`: mitmweb's options are changed by whoever knows its password and sends its cookie twice, as its pages do."""
    lines = [
        f'url = "http://127.0.0.1:{web_port}/options"',
        'request = "PUT"',
        'header = "content-type: application/json"',
        f'header = "authorization: Bearer {password}"',
        f'header = "x-xsrftoken: {password}"',
        f'cookie = "_mitmproxy_xsrf={password}"',
    ]
    path.touch(0o600)
    path.write_text("\n".join([*lines, ""]))


def lines(control: Control) -> Iterator[str]:
    """For ever: a line for each request, in the order in which they came."""
    told = 0
    while True:
        seen = control.seen()[told:]
        answered = list(itertools.takewhile(lambda request: request.status or request.ended, seen))
        told += len(answered)
        yield from lines_of(answered, control)
        time.sleep(LOOK_EVERY)
