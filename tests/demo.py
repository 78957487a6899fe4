"""`make demo`: the whole story offline in a few seconds. A fake OpenAI, the real proxy, a sign-in, an answer, and an answer on a
token that was revoked in between; then what happened to each, as the fake saw it.

With --stay there is no story: the two are there for the lessons of docs/learn.md, see playground.py.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx

from tests.e2e.client import ask
from tests.fakes.control import Control, Seen
from tests.fakes.openai import FakeOpenAI
from tests.proxy import ROOT, RunningProxy, environment, running_proxy

# What a request to the token endpoint brings, for tokens.
GRANTS = {"authorization_code": "a code", "refresh_token": "a refresh token"}


def say(text: str = "") -> None:
    print(text, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", usage="make demo [ARGS=--stay]", description="offline, with a fake OpenAI")
    parser.add_argument("--stay", action="store_true", help="stay until Ctrl-C, for the lessons of docs/learn.md")
    if parser.parse_args().stay:
        from tests.playground import stay

        return stay()
    return tell()


def tell() -> int:
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="codex-mitm-demo-", ignore_cleanup_errors=True)))
        fake = stack.enter_context(FakeOpenAI())
        say("1. A fake OpenAI listens on loopback: sign-in, Codex backend, platform.")
        options = {
            "codex_issuer_url": fake.issuer_url,
            "codex_backend_url": fake.backend_url,
            "codex_platform_url": fake.platform_url,
        }
        proxy = stack.enter_context(running_proxy(home, options))
        say(f"2. The proxy serves at {proxy.url}; nobody is signed in:")
        say(f"   > {first_line(refusal(proxy))}")
        fake.control.settings(device_interval="1")
        say("3. Signing in with a device code (`make login ARGS=--device`):")
        sign_in(fake, home)
        fake.control.settings(delta_delay=0.1)
        say("4. A client chats, with any key and a model that the plan does not have:")
        statuses = [stream(proxy, "what does this proxy do?")]
        fake.control.revoke("access")
        say("5. OpenAI revokes the token behind our back. The client asks again:")
        statuses.append(stream(proxy, "did you notice?"))
        say("6. What happened to each request, as the fake OpenAI saw it:")
        explain(fake.control)
        noticed = sum(status != 200 for status in statuses)
        say(f"   clients that noticed anything: {noticed} of {len(statuses)}")
    return 1 if noticed else 0


def refusal(proxy: RunningProxy) -> str:
    answer = httpx.post(f"{proxy.url}/responses", json=ask(), trust_env=False)
    return f"{answer.status_code} {answer.json()['error']['message']}"


def first_line(text: str, width: int = 72) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def sign_in(fake: FakeOpenAI, home: Path) -> None:
    command = [sys.executable, "-m", "auth", "login", "--device", "--issuer", fake.issuer_url]
    login = subprocess.Popen(command, cwd=ROOT, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert login.stdout
    for line in login.stdout:
        say(f"   | {line.rstrip()}")
        for word in line.split():
            if is_user_code(word):
                threading.Thread(target=fake.control.approve, args=(word,), daemon=True).start()
    if login.wait() != 0:
        raise SystemExit("the sign-in of the demo failed")


def is_user_code(word: str) -> bool:
    """`ABCD-12345`, the only word of that shape in what the sign-in prints."""
    left, dash, right = word.partition("-")
    return bool(dash) and len(left) == 4 and len(right) >= 4 and word.upper() == word and word.replace("-", "").isalnum()


def stream(proxy: RunningProxy, text: str) -> int:
    print("   < ", end="", flush=True)
    body = {"model": "gpt-4.1-nano", "stream": True, "messages": [{"role": "user", "content": text}]}
    with httpx.stream("POST", f"{proxy.url}/chat/completions", json=body, trust_env=False, timeout=30) as answer:
        for delta in deltas(answer):
            print(delta, end="", flush=True)
    say(f"   ({answer.status_code})")
    say(f"     asked for gpt-4.1-nano, answered by {answer.headers.get('x-codex-model')}")
    return answer.status_code


def deltas(answer: httpx.Response) -> Iterator[str]:
    for line in answer.iter_lines():
        if line.startswith("data: {"):
            for choice in json.loads(line[6:])["choices"]:
                yield choice["delta"].get("content") or ""


def explain(control: Control) -> None:
    for line in lines_of(control.seen(), control):
        say(line)
    counts = control.counts()
    say(f"   refreshes: {counts.refreshes}; refresh tokens used twice: {counts.reuses}")


def lines_of(requests: Iterable[Seen], control: Control) -> Iterator[str]:
    """What the fake OpenAI was asked, with tokens by their number."""
    known = {token: f"token {n}" for n, token in enumerate(control.tokens("access"), 1)}
    for seen in requests:
        bearer = str(seen.header("authorization") or "").removeprefix("Bearer ")
        asked = dict(seen.form or []) or (seen.json if isinstance(seen.json, dict) else {})
        what = known.get(bearer) or GRANTS.get(str(asked.get("grant_type")))
        with_what = f"with {what}" if what else ""
        status = "none" if seen.status is None else seen.status
        yield f"   {seen.origin:8} {seen.method:4} {seen.target.partition('?')[0]:36} {status} {with_what}".rstrip()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        os._exit(130)
