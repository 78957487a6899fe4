"""Exported calls, as other programs read them: mitmproxy the HAR, a shell the curl command."""

import io
import json
import stat
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.http import HTTPFlow
from mitmproxy.io import FlowReader

from addons.traffic.exchange import Bodies, Body, Chunk
from addons.traffic.headers import Headers
from tests.addons.traffic.calls import ANSWER, ASKED, call, record, refused, with_bodies
from tests.addons.traffic.program import Program
from tests.rawserver import RawServer, raw_server, read_request, response


@pytest.fixture
def full(program: Program) -> Program:
    record(program.path, with_bodies(1), refused(2), call(3, status=None, outcome="client_left", first_byte=None))
    return program


def har(program: Program, *ids: str) -> list[dict[str, Any]]:
    log = json.loads(program.show("export", *ids, "--har"))["log"]
    assert log["version"] == "1.2" and log["creator"].keys() >= {"name", "version"}
    return list(log["entries"])


# The members that HAR 1.2 calls for, and their types.
ENTRY: dict[str, Any] = {
    "startedDateTime": str,
    "time": (int, float),
    "request": {
        "method": str,
        "url": str,
        "httpVersion": str,
        "cookies": list,
        "headers": list,
        "queryString": list,
        "headersSize": int,
        "bodySize": int,
    },
    "response": {
        "status": int,
        "statusText": str,
        "httpVersion": str,
        "cookies": list,
        "headers": list,
        "content": {"size": int, "mimeType": str},
        "redirectURL": str,
        "headersSize": int,
        "bodySize": int,
    },
    "cache": dict,
    "timings": {"send": (int, float), "wait": (int, float), "receive": (int, float)},
}


def holds(value: Any, wanted: Any, at: str = "entry") -> None:
    if isinstance(wanted, dict):
        for name, inner in wanted.items():
            assert name in value, f"{at}.{name} is missing"
            holds(value[name], inner, f"{at}.{name}")
    else:
        assert isinstance(value, wanted), at


def test_a_har_has_what_the_standard_calls_for(full: Program) -> None:
    entries = har(full, "00000001", "00000002", "00000003")
    sides = ["the client: complete", "to upstream: complete", "the client: refused", "the client: client_left"]
    assert [entry["comment"].partition(", ")[2] for entry in entries] == sides
    for entry in entries:
        holds(entry, ENTRY)
        assert datetime.fromisoformat(entry["startedDateTime"]).tzinfo is not None
        timings = entry["timings"]
        assert entry["time"] == pytest.approx(timings["send"] + timings["wait"] + timings["receive"])
        assert min(timings.values()) >= 0


def test_mitmproxy_reads_the_har(full: Program) -> None:
    text = full.show("export", "00000001", "--har")
    flows = list(FlowReader(io.BytesIO(text.encode())).stream())
    assert all(isinstance(flow, HTTPFlow) for flow in flows)
    client, upstream = (flow for flow in flows if isinstance(flow, HTTPFlow))
    assert client.request.path == "/v1/chat/completions" and client.request.json() == ASKED
    assert client.response and client.response.status_code == 200
    assert client.response.content == b"".join(data for _, data in ANSWER)
    assert upstream.request.pretty_host == "codex.invalid"


def test_a_har_of_what_is_not_text(program: Program) -> None:
    bodies = Bodies(client_answer=Body.whole(b"\xff\xfe\x00"))
    record(program.path, call(1, bodies=bodies, answer_headers=Headers([("content-type", "image/png")])))
    [entry] = har(program, "last")
    assert entry["response"]["content"] == {"size": 3, "mimeType": "image/png", "text": "//4A", "encoding": "base64"}


def test_into_a_file_that_only_its_owner_reads(full: Program, tmp_path: Path) -> None:
    file = tmp_path / "call.har"
    assert full.show("export", "last", "--har", "-o", str(file)) == ""
    assert json.loads(file.read_text())["log"]["version"] == "1.2"
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    ran = full.run("export", "last", "--har", "-o", str(tmp_path / "nowhere" / "call.har"))
    assert ran.code == 1 and "could not be written, no such file or directory" in ran.err


def test_json_lines_have_everything(full: Program) -> None:
    first, second = (json.loads(line) for line in full.show("export", "00000001", "00000002", "--jsonl").splitlines())
    assert (
        first["id"] == call(1).id and first["edits"][1][:2] == ["dropped", "temperature"] and first["tokens"]["input_tokens"] == 812
    )
    assert json.loads(first["bodies"]["client_request"]["chunks"][0][1]) == ASKED
    assert [at for at, _ in first["bodies"]["client_answer"]["chunks"]] == [at for at, _ in ANSWER]
    assert second["error"] == list(refused(2).error or ()) and second["bodies"] == {}


def test_json_lines_of_a_character_that_was_cut_in_two(program: Program) -> None:
    record(program.path, call(1, bodies=Bodies(client_answer=Body((Chunk(0.1, b"\xc3"), Chunk(0.2, b"\xbc"))))))
    [line] = program.show("export", "last", "--jsonl").splitlines()
    assert json.loads(line)["bodies"]["client_answer"]["chunks"] == [[0.1, "ww==", "base64"], [0.2, "vA==", "base64"]]


def test_a_shell_runs_the_curl_command(program: Program) -> None:
    # What a shell would do something with, if it were let.
    body = json.dumps({"content": 'it\'s $HOME `id` \\ "quoted" \n ü'}, ensure_ascii=False).encode()
    record(program.path, call(1, bodies=Bodies(client_request=Body.whole(body))))
    command = program.show("export", "last", "--curl")
    asked: list[bytes] = []

    def answer(server: RawServer, connection: Any, number: int) -> None:
        asked.append(read_request(connection))
        connection.sendall(response(200, b"the answer"))

    with raw_server(answer) as server:
        ran = subprocess.run(
            ["sh", "-c", command.replace("http://127.0.0.1:9090", server.url).replace("curl ", "curl -sS --noproxy '*' ", 1)],
            capture_output=True,
            timeout=20,
        )
    assert (ran.stdout, ran.stderr) == (b"the answer", b"")
    head, _, sent = asked[0].partition(b"\r\n\r\n")
    assert sent == body and head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert b"authorization: bearer placeholder" in head.lower() and b"content-type: application/json" in head.lower()


def test_what_was_not_recorded_cannot_be_asked_again(full: Program) -> None:
    ran = full.run("export", "last", "--curl")
    assert (ran.code, ran.out) == (1, "") and "was not recorded" in ran.err
