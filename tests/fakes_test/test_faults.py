"""Faults as a client below HTTP meets them, how they are counted, and what is refused as no fault at all."""

import time
from typing import Any

import httpx
import pytest

from tests.fakes.control import ControlError
from tests.fakes.faults import CHALLENGE, GARBAGE
from tests.fakes.openai import FakeOpenAI
from tests.fakes_test.bodies import events_of, plain, refresh
from tests.fakes_test.raw import chunks_of, raw_client

PATH = "/backend-api/codex/responses"


def ask(fake: FakeOpenAI, headers: dict[str, str]) -> tuple[bytes, str]:
    with raw_client(fake.backend_url) as client:
        client.send("POST", PATH, headers | {"Connection": "close"}, plain("hello there"))
        return client.read_to_end()


class TestInsteadOfTheAnswer:
    def test_status_body_and_headers(self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str]) -> None:
        fake.control.fault("responses", status=503, body={"error": {"code": "slow_down"}}, headers={"retry-after": "1"})
        answer = http.post(f"{fake.backend_url}/responses", json=plain(), headers=ada)
        assert (answer.status_code, answer.json()) == (503, {"error": {"code": "slow_down"}})
        assert answer.headers["retry-after"] == "1"

    def test_status_with_text(self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str]) -> None:
        fake.control.fault("responses", status=502, body="upstream connect error")
        answer = http.post(f"{fake.backend_url}/responses", json=plain(), headers=ada)
        assert (answer.status_code, answer.text) == (502, "upstream connect error")

    def test_cloudflare_challenge(self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str]) -> None:
        fake.control.fault("responses", html=403)
        answer = http.post(f"{fake.backend_url}/responses", json=plain(), headers=ada)
        assert (answer.status_code, answer.text, answer.headers["cf-mitigated"]) == (403, CHALLENGE, "challenge")

    def test_redirect(self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str]) -> None:
        fake.control.fault("responses", redirect="http://127.0.0.1:1/elsewhere")
        answer = http.post(f"{fake.backend_url}/responses", json=plain(), headers=ada)
        assert (answer.status_code, answer.headers["location"]) == (307, "http://127.0.0.1:1/elsewhere")

    def test_garbage(self, fake: FakeOpenAI, ada: dict[str, str]) -> None:
        fake.control.fault("responses", garbage=True)
        assert ask(fake, ada) == (GARBAGE, "fin")

    def test_reset_before_headers(self, fake: FakeOpenAI, ada: dict[str, str]) -> None:
        fake.control.fault("responses", reset="before_headers")
        assert ask(fake, ada) == (b"", "rst")

    @pytest.mark.parametrize("do", [{"status": 503}, {"html": 403}, {"reset": "before_headers"}, {"garbage": True}])
    def test_no_token_rotates(self, fake: FakeOpenAI, http: httpx.Client, tokens: dict[str, Any], do: dict[str, Any]) -> None:
        fake.control.fault("token", do)
        url = f"{fake.issuer_url}/oauth/token"
        try:
            assert http.post(url, json=refresh(tokens["refresh_token"])).status_code != 200
        except httpx.TransportError:
            pass
        assert http.post(url, json=refresh(tokens["refresh_token"])).status_code == 200


class TestToTheAnswer:
    def test_a_lost_answer_has_rotated_the_token(self, fake: FakeOpenAI, http: httpx.Client, tokens: dict[str, Any]) -> None:
        fake.control.fault("token", lose_answer=True)
        with pytest.raises(httpx.RemoteProtocolError):
            http.post(f"{fake.issuer_url}/oauth/token", json=refresh(tokens["refresh_token"]))
        assert fake.control.current("ada@example.com").refresh_token != tokens["refresh_token"]
        answer = http.post(f"{fake.issuer_url}/oauth/token", json=refresh(tokens["refresh_token"]))
        assert answer.json()["error"]["code"] == "refresh_token_reused"

    def test_omit(self, fake: FakeOpenAI, http: httpx.Client, tokens: dict[str, Any]) -> None:
        fake.control.fault("token", omit=["refresh_token", "id_token"])
        answer = http.post(f"{fake.issuer_url}/oauth/token", json=refresh(tokens["refresh_token"])).json()
        assert answer.keys() == {"access_token", "expires_in", "scope", "token_type"}

    def test_bad_json(self, fake: FakeOpenAI, http: httpx.Client, tokens: dict[str, Any]) -> None:
        fake.control.fault("token", bad_json=True)
        answer = http.post(f"{fake.issuer_url}/oauth/token", json=refresh(tokens["refresh_token"]))
        assert answer.status_code == 200
        with pytest.raises(ValueError):
            answer.json()

    def test_delay_comes_before_the_head_and_combines(self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str]) -> None:
        fake.control.fault("responses", delay=0.1, status=503)
        started = time.monotonic()
        with http.stream("POST", f"{fake.backend_url}/responses", json=plain(), headers=ada) as answer:
            assert (answer.status_code, time.monotonic() - started > 0.1) == (503, True)


class TestToTheBytes:
    def test_reset_after_headers(self, fake: FakeOpenAI, ada: dict[str, str]) -> None:
        fake.control.fault("responses", reset="after_headers")
        received, end = ask(fake, ada)
        assert received.startswith(b"HTTP/1.1 200") and received.endswith(b"\r\n\r\n")
        assert end == "rst"

    @pytest.mark.parametrize("how", ["fin", "rst"])
    @pytest.mark.parametrize("size", [0, 1, 700, 100_000])
    def test_cut_after_bytes(self, fake: FakeOpenAI, ada: dict[str, str], size: int, how: str) -> None:
        whole = b"".join(chunks_of(ask(fake, ada)[0])[0])
        fake.control.fault("responses", cut_after_bytes=size, how=how)
        received, end = ask(fake, ada)
        chunks, ended = chunks_of(received)
        assert (len(b"".join(chunks)), ended, end) == (min(size, len(whole)), False, how)

    def test_clean_eof_ends_the_body_in_good_form(self, fake: FakeOpenAI, ada: dict[str, str]) -> None:
        fake.control.fault("responses", clean_eof_after_events=3)
        chunks, ended = chunks_of(ask(fake, ada)[0])
        assert (len(chunks), ended) == (3, True)
        assert chunks[-1].startswith(b"event: response.in_progress\n")

    @pytest.mark.parametrize("how", ["fin", "rst"])
    @pytest.mark.parametrize("count", [0, 3, 1000])
    def test_cut_after_events(self, fake: FakeOpenAI, ada: dict[str, str], count: int, how: str) -> None:
        whole = chunks_of(ask(fake, ada)[0])[0]
        fake.control.fault("responses", cut_after_events=count, how=how)
        received, end = ask(fake, ada)
        chunks, ended = chunks_of(received)
        assert (len(chunks), ended, end) == (min(count, len(whole)), False, how)

    def test_last_words_in_place_of_the_rest(self, fake: FakeOpenAI, ada: dict[str, str]) -> None:
        fake.control.fault("responses", say_after_events=2, text="data: these\n\n")
        chunks, ended = chunks_of(ask(fake, ada)[0])
        assert (len(chunks), chunks[-1], ended) == (3, b"data: these\n\n", True)

    def test_every_event_is_one_write_unless_split(self, fake: FakeOpenAI, ada: dict[str, str]) -> None:
        chunks, _ = chunks_of(ask(fake, ada)[0])
        assert all(chunk.startswith(b"event: ") and chunk.endswith(b"\n\n") for chunk in chunks)

    @pytest.mark.parametrize("split, size", [("bytes", 1), (7, 7)])
    def test_split(self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str], split: Any, size: int) -> None:
        fake.control.fault("responses", split=split, times=2)
        chunks, ended = chunks_of(ask(fake, ada)[0])
        assert ended and max(len(chunk) for chunk in chunks) == size
        assert events_of(http.post(f"{fake.backend_url}/responses", json=plain(), headers=ada))[-1]["type"] == "response.completed"

    def test_split_reaches_the_reader_in_pieces(self, fake: FakeOpenAI, ada: dict[str, str]) -> None:
        fake.control.fault("responses", split="bytes")
        with raw_client(fake.backend_url) as client:
            client.send("POST", PATH, ada | {"Connection": "close"}, plain())
            reads = 0
            while client.socket.recv(65536):
                reads += 1
        # How many depends on the machine; a reader that assumed one read for one event would meet it hundreds of times.
        assert reads > 20

    def test_silence_then_it_goes_on(self, fake: FakeOpenAI, ada: dict[str, str]) -> None:
        fake.control.fault("responses", silence_after_events=2, seconds=0.3)
        with raw_client(fake.backend_url) as client:
            client.send("POST", PATH, ada | {"Connection": "close"}, plain())
            started, received = time.monotonic(), b""
            while received.count(b"event: ") < 2:
                received += client.socket.recv(65536)
            assert received.count(b"event: ") == 2
            rest, _ = client.read_to_end()
            assert time.monotonic() - started >= 0.3
        assert b"response.completed" in rest


class TestCounting:
    def statuses(self, fake: FakeOpenAI, http: httpx.Client, headers: dict[str, str], n: int) -> list[int]:
        url = f"{fake.backend_url}/responses"
        return [http.post(url, json=plain(), headers=headers).status_code for _ in range(n)]

    def test_after_and_times(self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str]) -> None:
        fake.control.fault("responses", status=503, after=1, times=2)
        assert self.statuses(fake, http, ada, 5) == [200, 503, 503, 200, 200]
        assert fake.control.faults()[0]["used"] == 2

    def test_for_ever_until_cleared(self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str]) -> None:
        fake.control.fault("responses", status=503, times=None)
        assert self.statuses(fake, http, ada, 3) == [503] * 3
        fake.control.clear_faults()
        assert self.statuses(fake, http, ada, 1) == [200]

    def test_first_match_wins(self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str]) -> None:
        fake.control.fault("responses", status=500)
        fake.control.fault("backend", status=502)
        assert self.statuses(fake, http, ada, 3) == [500, 502, 200]

    def test_by_chance_and_the_same_each_time(self, fake: FakeOpenAI, http: httpx.Client) -> None:
        lives = []
        for _ in range(2):
            fake.control.reset()
            tokens = fake.control.login()["tokens"]
            headers = {"authorization": f"Bearer {tokens['access_token']}", "chatgpt-account-id": tokens["account_id"]}
            fake.control.fault("responses", status=503, times=None, chance=0.5)
            lives.append(self.statuses(fake, http, headers, 20))
        assert lives[0] == lives[1] and set(lives[0]) == {200, 503}

    def test_of_one_identity(self, fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str]) -> None:
        tokens = fake.control.login("grace@example.com")["tokens"]
        grace = {"authorization": f"Bearer {tokens['access_token']}", "chatgpt-account-id": tokens["account_id"]}
        fake.control.fault("responses", status=429, email="grace@example.com", times=None)
        assert self.statuses(fake, http, ada, 1) + self.statuses(fake, http, grace, 1) == [200, 429]

    def test_of_one_identity_at_the_token_endpoint(self, fake: FakeOpenAI, http: httpx.Client, tokens: dict[str, Any]) -> None:
        fake.control.fault("token", status=500, email="ada@example.com")
        url = f"{fake.issuer_url}/oauth/token"
        assert http.post(url, json=refresh("rt_of_nobody")).status_code == 401
        assert http.post(url, json=refresh(tokens["refresh_token"])).status_code == 500


@pytest.mark.parametrize(
    "fault, complaint",
    [
        ({"at": "nowhere", "do": {"status": 500}}, "at: one of accounts_check"),
        ({"at": "responses", "do": {}}, "do: takes an object"),
        ({"at": "responses", "do": {"explode": True}}, "explode: no such effect"),
        ({"at": "responses", "do": {"status": "500"}}, "status: takes int"),
        ({"at": "responses", "do": {"split": 0}}, "split: "),
        ({"at": "responses", "do": {"reset": "sometime"}}, "reset: one of before_headers, after_headers"),
        ({"at": "responses", "do": {"seconds": 1}}, "seconds: only together with silence_after_events"),
        ({"at": "responses", "do": {"how": "rst"}}, "how: only together with cut_after_events or cut_after_bytes"),
        ({"at": "responses", "do": {"status": 500}, "chance": 0}, "chance: a number above 0"),
        ({"at": "responses", "do": {"status": 500}, "until": 3}, "until: a fault has"),
        ({"at": "responses", "do": {"status": 500}, "times": "twice"}, "times: takes int | None"),
    ],
)
def test_what_could_never_come_true_is_refused(fake: FakeOpenAI, http: httpx.Client, fault: dict[str, Any], complaint: str) -> None:
    answer = http.post(f"{fake.control_url}/faults", json=fault)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(complaint)


def test_the_client_says_why(fake: FakeOpenAI) -> None:
    with pytest.raises(ControlError, match="explode: no such effect"):
        fake.control.fault("responses", explode=True)
