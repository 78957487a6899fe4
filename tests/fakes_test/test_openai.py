"""The whole: four origins that do not answer for each other, control over them, and the fake as a program of its own."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.control import Control, ControlError, Counts, Seen
from tests.fakes.journal import Entry
from tests.fakes.openai import FakeOpenAI
from tests.fakes_test.bodies import plain, refresh

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def program(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    command = [sys.executable, "-m", "tests.fakes.openai", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


class TestOrigins:
    @pytest.mark.parametrize(
        "path, home",
        [("/oauth/token", "issuer"), ("/backend-api/codex/responses", "backend"), ("/v1/responses", "platform")],
    )
    @pytest.mark.parametrize("origin", ["issuer", "backend", "platform", "control"])
    def test_a_path_on_the_wrong_one_is_404(self, fake: FakeOpenAI, http: httpx.Client, path: str, home: str, origin: str) -> None:
        url = getattr(fake, f"{origin}_url").removesuffix("/backend-api/codex") + path
        assert (http.post(url).status_code == 404) is (origin != home)

    def test_requests_are_on_record_where_they_went(
        self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str], tokens: dict[str, Any]
    ) -> None:
        http.post(f"{fake.backend_url}/responses?x=1", json=plain(), headers=ada | {"X-Case": "kept"})
        http.post(f"{fake.issuer_url}/oauth/token", data={"a": "b"})
        backend, issuer = fake.control.seen()
        assert (backend.origin, backend.route, backend.status, backend.ended) == ("backend", "responses", 200, "complete")
        assert (backend.json, backend.header("x-case"), backend.target[-4:]) == (plain(), "kept", "?x=1")
        assert (issuer.origin, issuer.form, issuer.json) == ("issuer", [("a", "b")], None)
        counts = fake.control.counts()
        assert counts.of("backend", "/backend-api/codex/responses") == counts.of("issuer") == 1
        assert counts.of("platform") == 0


class TestControl:
    def test_login_is_an_auth_json_of_the_cli(self, fake: FakeOpenAI) -> None:
        document = fake.control.login("ada@example.com", plan="pro", account_id="acct-1", issued_ago=60, last_refresh_ago=30)
        assert document.keys() == {"auth_mode", "OPENAI_API_KEY", "tokens", "last_refresh"}
        assert (document["auth_mode"], document["OPENAI_API_KEY"]) == ("chatgpt", None)
        assert document["tokens"]["account_id"] == "acct-1"
        assert document["tokens"]["oauth_provenance"]["issuer"] == fake.issuer_url
        assert len(document["tokens"]["login_owner_id"]) == 43
        assert document["last_refresh"].endswith("Z")

    def test_an_identity_keeps_its_account(self, fake: FakeOpenAI) -> None:
        first, second = (fake.control.login("ada@example.com")["tokens"] for _ in range(2))
        assert first["account_id"] == second["account_id"]
        assert first["access_token"] != second["access_token"]
        assert fake.control.current("ada@example.com").access_token == second["access_token"]

    def test_reset_forgets_everything(self, fake: FakeOpenAI, http: httpx.Client, tokens: dict[str, Any]) -> None:
        fake.control.fault("token", status=500, times=None)
        fake.control.reset(sentinel="OTHER")
        assert (fake.control.tokens(), fake.control.seen()) == ([], [])
        answer = http.post(f"{fake.issuer_url}/oauth/token", json=refresh(tokens["refresh_token"]))
        assert answer.json()["error"]["code"] == "refresh_token_invalidated"
        assert fake.control.login()["tokens"]["refresh_token"].startswith("rt_OTHER_")

    def test_revoke_is_of_whom_it_names(self, fake: FakeOpenAI) -> None:
        fake.control.login("ada@example.com")
        fake.control.login("grace@example.com")
        assert fake.control.revoke("all", "ada@example.com") == 2
        assert fake.control.revoke("access") == 1

    @pytest.mark.parametrize(
        "call, complaint",
        [
            (lambda control: control.settings(volume=11), "unknown setting volume"),
            (lambda control: control.settings(models="gpt-5.5"), "setting models takes list, not str"),
            (lambda control: control.revoke("some"), "what: one of access, refresh, all"),
            (lambda control: control.current("nobody@example.com"), "nobody with that email"),
            (lambda control: control.script([{"say": "x"}]), "a step is"),
            (lambda control: control.script([], at="models"), "at: one of chat"),
            (lambda control: control.clock("soon"), "could not convert"),
        ],
    )
    def test_says_what_is_wrong(self, fake: FakeOpenAI, call: Any, complaint: str) -> None:
        with pytest.raises(ControlError, match=complaint):
            call(fake.control)

    def test_client_knows_every_field(self, fake: FakeOpenAI) -> None:
        assert [field.name for field in fields(Seen)] == [field.name for field in fields(Entry)]
        assert isinstance(fake.control.counts(), Counts)


class TestProgram:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_announces_itself_and_ends_on_a_signal(self, number: signal.Signals) -> None:
        with program("--until-eof") as (process, urls):
            with Control(urls["control_url"]) as control:
                assert control.login()["auth_mode"] == "chatgpt"
            assert urls["backend_url"].endswith("/backend-api/codex")
            process.send_signal(number)
            assert process.wait(timeout=10) == 0

    def test_ends_with_its_stdin_if_asked_to(self) -> None:
        with program("--until-eof") as (process, _):
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(timeout=10) == 0


def test_a_taken_port_is_an_error(fake: FakeOpenAI) -> None:
    port = int(fake.control_url.rpartition(":")[2])
    with pytest.raises(OSError), FakeOpenAI(control_port=port):
        pass


def test_a_bug_of_its_own_fails_the_test(http: httpx.Client) -> None:
    with pytest.raises(RuntimeError, match="the fake itself failed"), FakeOpenAI() as fake:
        del fake._world.sites["backend"]
        with pytest.raises(httpx.RemoteProtocolError):
            http.get(fake.backend_url)
