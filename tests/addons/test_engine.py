"""The engine inside a real mitmdump, in front of servers that say exact bytes. One behaviour, one test."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from mitmproxy.proxy.layers.http import HttpStream

from addons import engine
from addons.engine import originals
from addons.engine.course import UPSTREAMS_END
from tests.proxy import ROOT, RunningProxy, running_proxy
from tests.rawserver import Behaviour, RawServer, raw_server, read_request, response

# An addon that uses the engine and nothing else of the suite.
SCRIPT = f"""
import asyncio, re, sys; sys.path.insert(0, {str(ROOT)!r})
from addons import engine
from mitmproxy import http
engine.install()

class EngineUser:
    def request(self, flow):
        if "watched" in flow.request.path:
            last = None if "cut" in flow.request.path else lambda lapse: [b"gave up: " + lapse.encode()]
            engine.watch(flow, engine.Watch(
                engine.Limits(keepalive=0.3, first_byte=1.0, idle=1.2, total=2.5), lambda: [b"~"], last or (lambda lapse: None)))
        engine.put_on_the_wire(flow, {{"authorization": "Bearer CANARY-first"}})
        flow.request.headers["authorization"] = "shown"
        if "patient" in flow.request.path:
            hour = 3600.0
            engine.watch(flow, engine.Watch(engine.Limits(hour, hour, hour, hour), lambda: [], lambda lapse: None))
        if flow.request.path == "/timers":
            running = sum(task.get_name().startswith("wakeup timer") for task in asyncio.all_tasks())
            flow.response = http.Response.make(200, str(running))
        if engine.body_was_too_large(flow):
            from addons.wire.errors import OpenAIError
            flow.response = engine.error_response(OpenAIError(413, "too large"))

    def responseheaders(self, flow):
        if flow.response.status_code != 200:
            return
        held, seen = "held" in flow.request.path, []
        if held:
            engine.hold_head(flow, lambda: [b"released"])

        def stage(data):
            if seen:
                return []
            if b"SWALLOW" in data:
                return []
            if b"FAIL" in data or (not data and "nothing" in flow.request.path and engine.head_is_held(flow)):
                engine.answer_instead(flow, http.Response.make(418, b"instead"))
                return [b"never seen"]
            if b"WHOLE" in data:
                engine.answer_instead(flow, http.Response.make(418, b"instead"), at_once=False)
                return []
            if b"STOP" in data or b"LAST" in data:
                seen.append(data)
                engine.end_answer(flow, at_once=b"STOP" in data)
            if not data and "late" in flow.request.path:
                engine.cut_off(flow)
                return [b"at the end"]
            if data.endswith(b"|"):
                engine.pause(flow, 1.4)
            data = data.rstrip(b"/|")
            if b"CUT" in data:
                engine.cut_off(flow)
            if b"WORDS" in data:
                engine.fail_answer(flow, lambda: [b" and no more"])
            return [data] if data else []

        flow.response.stream = stage
        engine.in_pieces(flow, lambda data: re.split(rb"(?<=[/|])", data))

    def response(self, flow):
        failure = engine.failure_of(flow)
        if failure and "again" in flow.request.path and not flow.metadata.get("again"):
            flow.metadata["again"] = True
            engine.resend(flow)
        if flow.response.status_code == 418 and "again" in flow.request.path and not flow.metadata.get("again"):
            flow.metadata["again"] = True
            engine.resend(flow)
        if flow.response.status_code == 401 and not flow.metadata.get("again"):
            flow.metadata["again"] = True
            engine.put_on_the_wire(flow, {{"authorization": "Bearer CANARY-second"}})
            engine.resend(flow)
        if flow.response.status_code == 418 and "half" in flow.request.path:
            flow.response.raw_content = b"inst"
            engine.cut_off(flow)

    def error(self, flow):
        print("error hook:", flow.error.msg, flush=True)

addons = [EngineUser()]
"""


@contextmanager
def proxy_before(behave: Behaviour, home: Path, *arguments: str) -> Iterator[tuple[RunningProxy, RawServer]]:
    script = home / "engine_user.py"
    script.write_text(SCRIPT)
    with raw_server(behave) as server:
        mode = ("-p", "0", "--mode", f"reverse:{server.url}", "--set", "connection_strategy=lazy", "--set", "body_size_limit=1m")
        with running_proxy(home, arguments=(*mode, *arguments), scripts=[script]) as proxy:
            yield proxy, server


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningProxy, RawServer]]:
    with proxy_before(refuse_everything, tmp_path_factory.mktemp("engine"), "-v") as both:
        yield both


@pytest.fixture
def proxy(shared: tuple[RunningProxy, RawServer]) -> RunningProxy:
    return shared[0]


@pytest.fixture
def server(shared: tuple[RunningProxy, RawServer]) -> RawServer:
    """Tests set `behave`; whoever connects to a server that no test has set up is turned away."""
    shared[1].received.clear()
    shared[1].connections_made = 0
    shared[1].behave = refuse_everything
    return shared[1]


def refuse_everything(server: RawServer, connection: socket.socket, number: int) -> None:
    connection.sendall(response(599))


def bearer(request: bytes) -> str:
    lines = [line for line in request.decode().split("\r\n") if line.lower().startswith("authorization:")]
    assert len(lines) == 1
    return lines[0].partition(": ")[2]


CHUNKS = [b"data: one\n\n", b"data: two\n\n"]


def stream_slowly(connection: socket.socket, pause: float = 0.3) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for chunk in CHUNKS:
        connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        time.sleep(pause)
    connection.sendall(b"0\r\n\r\n")


@pytest.mark.parametrize("refusal_headers", [(), ("connection: close",)], ids=["same connection", "new connection"])
def test_a_401_is_sent_again_and_the_second_answer_streams(
    refusal_headers: tuple[str, ...], proxy: RunningProxy, server: RawServer
) -> None:
    def upstream(server: RawServer, connection: socket.socket, number: int) -> None:
        while request := read_request(connection):
            server.received.append(request)
            if len(server.received) == 1:
                connection.sendall(response(401, b'{"error":{"message":"expired"}}', *refusal_headers))
                if refusal_headers:
                    return
            else:
                stream_slowly(connection)

    server.behave = upstream
    with httpx.stream("POST", proxy.url, content=b"x" * 100_000) as answer:
        arrived = [(chunk, time.monotonic()) for chunk in answer.iter_raw()]
    assert answer.status_code == 200
    assert b"".join(chunk for chunk, _ in arrived) == b"".join(CHUNKS)
    assert arrived[-1][1] - arrived[0][1] > 0.2, "the answer was held back until it was whole"
    first, second = server.received
    assert first.endswith(b"x" * 100_000) and second.endswith(b"x" * 100_000)
    assert [bearer(first), bearer(second)] == ["Bearer CANARY-first", "Bearer CANARY-second"]


def test_the_second_401_is_the_clients(proxy: RunningProxy, server: RawServer) -> None:
    def upstream(server: RawServer, connection: socket.socket, number: int) -> None:
        while request := read_request(connection):
            server.received.append(request)
            connection.sendall(response(401, b"{}"))

    server.behave = upstream
    assert httpx.get(proxy.url).status_code == 401
    assert len(server.received) == 2


def test_a_client_that_left_during_the_first_answer_is_not_asked_for_again(proxy: RunningProxy, server: RawServer) -> None:
    def upstream(server: RawServer, connection: socket.socket, number: int) -> None:
        while request := read_request(connection):
            server.received.append(request)
            time.sleep(0.5)
            connection.sendall(response(401, b"{}"))

    server.behave = upstream
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(proxy.url, timeout=0.2)
    time.sleep(1.0)
    assert len(server.received) == 1


def test_what_goes_on_the_wire_is_on_no_flow_in_no_file_and_in_no_log(tmp_path: Path) -> None:
    def upstream(server: RawServer, connection: socket.socket, number: int) -> None:
        while request := read_request(connection):
            server.received.append(request)
            connection.sendall(response(401 if len(server.received) == 1 else 200, b"{}"))

    kept = ("--set", f"save_stream_file={tmp_path}/flows", "--set", f"hardump={tmp_path}/all.har", "-v", "--flow-detail", "4")
    with proxy_before(upstream, tmp_path, *kept) as (proxy, server):
        assert httpx.get(proxy.url).status_code == 200
        assert b"CANARY-second" in server.received[1]
    for file in (tmp_path / "flows", tmp_path / "all.har", proxy.logfile):
        content = file.read_bytes()
        assert b"shown" in content and b"CANARY" not in content, file


def chunked(*chunks: bytes, end: bool = True) -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + body + (b"0\r\n\r\n" if end else b"")


class TestAHeadThatIsHeld:
    """Upstream sends piece by piece and would go on for ever; the stage of the script above decides by what it sees."""

    @pytest.fixture
    def says(self, server: RawServer) -> Callable[..., None]:
        def says(*chunks: bytes, goes_on: bool = False) -> None:
            def upstream(server: RawServer, connection: socket.socket, number: int) -> None:
                while read_request(connection):
                    connection.sendall(chunked(end=False))
                    for chunk in chunks:
                        connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                        time.sleep(0.05)
                    while goes_on:  # a lot at once, so that more is on its way when it is stopped
                        connection.sendall(b"4\r\nmore\r\n" * 100)
                    server.received.append(b"finished")  # before the client can know
                    connection.sendall(b"0\r\n\r\n")

            server.behave = upstream

        return says

    def test_it_goes_out_with_the_first_byte(self, says: Callable[..., None], proxy: RunningProxy) -> None:
        says(b"SWALLOW", b"one", b"two")
        answer = httpx.get(f"{proxy.origin}/held")
        assert (answer.status_code, answer.text) == (200, "onetwo")

    def test_it_goes_out_at_the_end_if_there_is_no_byte(self, says: Callable[..., None], proxy: RunningProxy) -> None:
        says(b"SWALLOW")
        answer = httpx.get(f"{proxy.origin}/held")
        assert (answer.status_code, answer.text) == (200, "")

    def test_it_goes_out_after_a_while(self, proxy: RunningProxy, server: RawServer) -> None:
        def upstream(server: RawServer, connection: socket.socket, number: int) -> None:
            read_request(connection)
            connection.sendall(chunked(b"SWALLOW", end=False))
            time.sleep(engine.HELD_AT_MOST + 1)
            connection.sendall(b"3\r\nend\r\n0\r\n\r\n")

        server.behave = upstream
        with httpx.stream("GET", f"{proxy.origin}/held", timeout=engine.HELD_AT_MOST + 0.9) as answer:
            pieces = list(answer.iter_raw())
        assert (answer.status_code, pieces) == (200, [b"released", b"end"])

    @pytest.mark.parametrize(("path", "status", "text"), [("/held", 200, "one"), ("/held/nothing", 418, "instead")])
    def test_an_upstream_that_breaks_off_is_an_end_to_the_stages(
        self, path: str, status: int, text: str, proxy: RunningProxy, server: RawServer
    ) -> None:
        def upstream(server: RawServer, connection: socket.socket, number: int) -> None:
            read_request(connection)
            connection.sendall(chunked(b"one" if status == 200 else b"SWALLOW", end=False))

        server.behave = upstream
        answer = httpx.get(proxy.origin + path)
        assert (answer.status_code, answer.text) == (status, text)

    @pytest.mark.parametrize("goes_on", [True, False], ids=["upstream goes on", "upstream ends"])
    def test_another_answer_takes_its_place(self, goes_on: bool, says: Callable[..., None], proxy: RunningProxy) -> None:
        says(b"SWALLOW", b"FAIL", goes_on=goes_on)
        with httpx.Client() as client:  # one connection: what is left of the first answer must not reach the second
            for _ in range(3):
                answer = client.get(f"{proxy.origin}/held")
                assert (answer.status_code, answer.text) == (418, "instead")

    def test_another_answer_takes_its_place_at_the_very_end(self, says: Callable[..., None], proxy: RunningProxy) -> None:
        says(b"SWALLOW")
        with httpx.Client() as client:
            for _ in range(3):
                answer = client.get(f"{proxy.origin}/held/nothing")
                assert (answer.status_code, answer.text) == (418, "instead")

    def test_another_answer_leaves_an_upstream_that_ends_its_connection(self, proxy: RunningProxy, server: RawServer) -> None:
        def upstream(server: RawServer, connection: socket.socket, number: int) -> None:
            while read_request(connection):
                connection.sendall(chunked(b"WHOLE"))

        server.behave = upstream
        with httpx.Client() as client:
            assert [client.get(f"{proxy.origin}/held").text for _ in range(3)] == ["instead"] * 3
        assert server.connections_made == 1

    @pytest.mark.parametrize("goes_on", [True, False], ids=["upstream goes on", "upstream is silent"])
    def test_another_answer_does_not_wait_for_an_upstream_that_does_not_end(
        self, goes_on: bool, proxy: RunningProxy, server: RawServer
    ) -> None:
        def upstream(server: RawServer, connection: socket.socket, number: int) -> None:
            read_request(connection)
            connection.sendall(chunked(b"WHOLE", end=False))
            while goes_on:
                connection.sendall(b"4\r\nmore\r\n" * 100)
            while connection.recv(1):
                pass

        server.behave = upstream
        with httpx.Client(timeout=SILENCE) as client:
            assert [client.get(f"{proxy.origin}/held").text for _ in range(3)] == ["instead"] * 3
        assert server.connections_made == 3 and "Traceback" not in proxy.log()

    def test_an_upstream_that_comes_to_its_end_keeps_its_connection(
        self, says: Callable[..., None], proxy: RunningProxy, server: RawServer
    ) -> None:
        says(b"one", b"LAST")
        with httpx.Client() as client:
            assert [client.get(f"{proxy.origin}/held").text for _ in range(3)] == ["oneLAST"] * 3
        assert server.received == [b"finished"] * 3 and server.connections_made == 1

    @pytest.mark.parametrize("path", ["/held", "/free"])
    @pytest.mark.parametrize("last", [b"STOP", b"LAST"])
    @pytest.mark.parametrize("goes_on", [True, False], ids=["upstream goes on", "upstream ends"])
    def test_an_answer_that_is_enough_ends_in_good_form(
        self, path: str, last: bytes, goes_on: bool, says: Callable[..., None], proxy: RunningProxy
    ) -> None:
        says(b"one", last, goes_on=goes_on)
        with httpx.Client() as client:
            for _ in range(3):
                answer = client.get(proxy.origin + path)
                assert (answer.status_code, answer.text) == (200, f"one{last.decode()}")
        assert "crashed" not in proxy.log() and "Traceback" not in proxy.log()


SILENCE = 3.0  # longer than any of the limits in the script


class TestAWatch:
    """Keep-alives, deadlines, and the one door for attempts that failed. Limits are in the script above."""

    @pytest.fixture
    def pieces(self, server: RawServer) -> Callable[..., None]:
        """Upstream says this: bytes are chunks of a body (the head comes with the first), numbers are seconds of silence."""

        def pieces(*script: bytes | float, attempts: tuple[tuple[bytes | float, ...], ...] = ()) -> None:
            waiting = [*attempts]

            def upstream(server: RawServer, connection: socket.socket, number: int) -> None:
                while request := read_request(connection):
                    server.received.append(request)
                    if not play(connection, waiting.pop(0) if waiting else script):
                        return

            def play(connection: socket.socket, script: tuple[bytes | float, ...]) -> bool:
                if not script:
                    return False
                for step in [b"HEAD", *script] if isinstance(script[0], bytes) else [script[0], b"HEAD", *script[1:]]:
                    if step == b"HEAD":
                        connection.sendall(chunked(end=False))
                    elif step == b"RESET":
                        return False
                    elif isinstance(step, bytes):
                        if not step:
                            continue
                        connection.sendall(b"%x\r\n%s\r\n" % (len(step), step))
                    else:
                        time.sleep(step)
                connection.sendall(b"0\r\n\r\n")
                return True

            server.behave = upstream

        return pieces

    def test_a_silence_is_bridged(self, pieces: Callable[..., None], proxy: RunningProxy) -> None:
        pieces(b"one", 0.8, b"two")
        answer = httpx.get(f"{proxy.origin}/watched")
        assert answer.status_code == 200 and answer.text.startswith("one~") and answer.text.endswith("~two")

    @pytest.mark.parametrize("path", ["watched", "watched/held"])
    def test_an_upstream_that_does_not_begin(self, path: str, pieces: Callable[..., None], proxy: RunningProxy) -> None:
        pieces(SILENCE, b"late")
        answer = httpx.get(f"{proxy.origin}/{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "upstream_timeout")

    def test_an_upstream_that_says_nothing_behind_its_head(self, pieces: Callable[..., None], proxy: RunningProxy) -> None:
        pieces(b"", SILENCE, b"late")
        answer = httpx.get(f"{proxy.origin}/watched/held")
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "upstream_timeout")

    def test_an_upstream_that_falls_silent(self, pieces: Callable[..., None], proxy: RunningProxy) -> None:
        pieces(b"one", SILENCE, b"late")
        with httpx.Client() as client:
            for _ in range(2):
                answer = client.get(f"{proxy.origin}/watched")
                assert answer.status_code == 200 and answer.text.endswith("~gave up: idle")

    def test_an_upstream_that_never_ends(self, pieces: Callable[..., None], proxy: RunningProxy) -> None:
        pieces(*[b"more", 0.1] * 100)
        answer = httpx.get(f"{proxy.origin}/watched")
        assert answer.status_code == 200 and answer.text.startswith("moremore") and answer.text.endswith("gave up: total")

    def test_where_nothing_can_be_said_the_connection_is_broken_off(self, pieces: Callable[..., None], proxy: RunningProxy) -> None:
        pieces(b"one", SILENCE)
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"{proxy.origin}/watched/cut")

    def test_times_are_those_of_the_exchange_and_not_of_the_connection(
        self, pieces: Callable[..., None], proxy: RunningProxy
    ) -> None:
        pieces(b"one", 0.2, b"two")
        with httpx.Client() as client:
            assert [client.get(f"{proxy.origin}/watched").text for _ in range(15)] == ["onetwo"] * 15

    FAILED: tuple[tuple[bytes | float, ...], ...] = ((), (SILENCE, b"late"), (b"", b"RESET"), (b"FAIL", b"more"), (b"FAIL",))

    @pytest.mark.parametrize("failed", FAILED, ids=["no answer", "too late", "breaks off", "read in the stream", "and ended"])
    def test_what_failed_before_the_first_byte_can_be_sent_again(
        self, failed: tuple[bytes | float, ...], pieces: Callable[..., None], proxy: RunningProxy, server: RawServer
    ) -> None:
        pieces(b"never", attempts=(failed, (b"second",)) * 3)
        with httpx.Client() as client:
            for round in range(1, 4):
                server.received.clear()
                answer = client.post(f"{proxy.origin}/watched/held/again/nothing", content=b"all of it")
                assert (answer.status_code, answer.text) == (200, "second"), f"round {round}"
                assert [request.endswith(b"all of it") for request in server.received] == [True, True]
        assert "crashed" not in proxy.log() and "Traceback" not in proxy.log()

    def test_a_connection_that_could_not_be_made_is_tried_anew(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        script = tmp_path / "engine_user.py"
        script.write_text(SCRIPT)
        mode = ("-p", "0", "--mode", f"reverse:http://127.0.0.1:{port}", "--set", "connection_strategy=lazy")
        with running_proxy(tmp_path, arguments=mode, scripts=[script]) as proxy, httpx.Client() as client:
            refused = client.get(f"{proxy.origin}/watched")
            assert (refused.status_code, refused.json()["error"]["code"]) == (502, "upstream_error")
            with socket.create_server(("127.0.0.1", port)) as listener:
                threading.Thread(target=lambda: listener.accept()[0].sendall(chunked(b"there")), daemon=True).start()
                assert client.get(f"{proxy.origin}/watched").text == "there"

    def test_an_upstream_that_takes_the_connection_and_never_shakes_hands(self, tmp_path: Path) -> None:
        script = tmp_path / "engine_user.py"
        script.write_text(SCRIPT)
        with socket.create_server(("127.0.0.1", 0)) as mute:
            mode = ("-p", "0", "--mode", f"reverse:https://127.0.0.1:{mute.getsockname()[1]}", "--set", "connection_strategy=lazy")
            with running_proxy(tmp_path, arguments=mode, scripts=[script]) as proxy, httpx.Client() as client:
                for _ in range(2):
                    answer = client.get(f"{proxy.origin}/watched", timeout=10)
                    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "upstream_timeout")


class TestAnAnswerThatAnAddonSpoils:
    """What upstream says comes to the stage in pieces that end with `/` or `|`; `|` is a pause of more than the idle deadline."""

    @pytest.fixture
    def says(self, server: RawServer) -> Callable[..., None]:
        """All of it in one piece; an upstream that does not end waits for the proxy to hang up, and says so."""

        def says(body: bytes, ends: bool = True) -> None:
            def upstream(server: RawServer, connection: socket.socket, number: int) -> None:
                while read_request(connection):
                    connection.sendall(chunked(body, end=ends))
                    if not ends:
                        connection.settimeout(20)
                        server.received.append(b"hung up" if connection.recv(1) == b"" else b"more")
                        return

            server.behave = upstream

        return says

    def hung_up(self, server: RawServer) -> bool:
        deadline = time.monotonic() + 10
        while not server.received and time.monotonic() < deadline:
            time.sleep(0.02)
        return server.received == [b"hung up"]

    @pytest.mark.parametrize("path", ["watched", "watched/held"])
    def test_what_is_behind_a_pause_waits_and_the_client_is_kept_alive(
        self, path: str, says: Callable[..., None], proxy: RunningProxy, server: RawServer
    ) -> None:
        says(b"one|two")
        with httpx.Client() as client:
            answers = [client.get(f"{proxy.origin}/{path}") for _ in range(2)]
        for answer in answers:
            assert answer.status_code == 200 and answer.text.replace("~", "") == "onetwo"
            assert answer.text.startswith("one~~") and answer.text.endswith("~two")
        assert server.connections_made == 1, "upstream had come to its end"

    def test_one_packet_comes_in_pieces_and_none_is_looked_at_behind_the_end(
        self, says: Callable[..., None], proxy: RunningProxy, server: RawServer
    ) -> None:
        says(b"a/b/STOP/c/FAIL")
        assert httpx.get(f"{proxy.origin}/held").text == "abSTOP"

    def test_answers_that_end_before_upstream_leave_no_timers_behind(
        self, says: Callable[..., None], proxy: RunningProxy, server: RawServer
    ) -> None:
        """A timer for the end of each, half a second long, comes before the one for a deadline in an hour."""
        says(b"WHOLE")
        enough = time.monotonic() + 6 * UPSTREAMS_END
        with httpx.Client() as client:
            while time.monotonic() < enough:
                assert client.get(f"{proxy.origin}/patient/held").text == "instead"
            assert int(client.get(f"{proxy.origin}/timers").text) < 10

    def test_after_a_pause_upstream_has_its_own_time_again(self, proxy: RunningProxy, server: RawServer) -> None:
        def upstream(server: RawServer, connection: socket.socket, number: int) -> None:
            read_request(connection)
            connection.sendall(chunked(b"one|", end=False))
            time.sleep(1.7)
            connection.sendall(b"3\r\ntwo\r\n0\r\n\r\n")

        server.behave = upstream
        assert httpx.get(f"{proxy.origin}/watched").text.replace("~", "") == "onetwo"

    def test_the_deadline_for_all_of_it_holds_in_a_pause(
        self, says: Callable[..., None], proxy: RunningProxy, server: RawServer
    ) -> None:
        says(b"one|two|three|four")
        assert httpx.get(f"{proxy.origin}/watched").text.replace("~", "") == "onetwogave up: total"

    def test_a_client_that_leaves_in_a_pause_takes_upstream_with_it(
        self, says: Callable[..., None], proxy: RunningProxy, server: RawServer
    ) -> None:
        says(b"one|two", ends=False)
        with httpx.stream("GET", proxy.origin) as answer:
            assert next(answer.iter_raw()) == b"one"
        assert self.hung_up(server)
        assert "crashed" not in proxy.log() and "Traceback" not in proxy.log()

    @pytest.mark.parametrize("ends", [True, False], ids=["upstream has ended", "upstream goes on"])
    @pytest.mark.parametrize("path", ["free", "held", "watched/held"])
    def test_a_connection_that_is_cut_off(
        self, path: str, ends: bool, says: Callable[..., None], proxy: RunningProxy, server: RawServer
    ) -> None:
        says(b"CUT/never", ends=ends)
        got = b""
        with pytest.raises(httpx.RemoteProtocolError), httpx.stream("GET", f"{proxy.origin}/{path}") as answer:
            for piece in answer.iter_raw():
                got += piece
        assert got == b"CUT" and (ends or self.hung_up(server))
        proxy.wait_for_log("error hook: cut off on purpose")

    def test_a_connection_that_is_cut_off_at_the_very_end(
        self, says: Callable[..., None], proxy: RunningProxy, server: RawServer
    ) -> None:
        says(b"all, ")
        got = b""
        with pytest.raises(httpx.RemoteProtocolError), httpx.stream("GET", f"{proxy.origin}/late") as answer:
            for piece in answer.iter_raw():
                got += piece
        assert got == b"all, at the end"

    @pytest.mark.parametrize("ends", [True, False], ids=["upstream has ended", "upstream goes on"])
    def test_an_answer_that_is_failed_has_last_words(
        self, ends: bool, says: Callable[..., None], proxy: RunningProxy, server: RawServer
    ) -> None:
        says(b"WORDS/never", ends=ends)
        with httpx.Client() as client:
            assert [client.get(f"{proxy.origin}/held").text for _ in range(2 if ends else 1)] == ["WORDS and no more"] * (1 + ends)
        assert ends or self.hung_up(server)

    @pytest.mark.parametrize(("last", "text"), [(b"STOP", "STOP"), (b"WORDS", "WORDS and no more")])
    def test_a_pause_comes_before_the_end(
        self, last: bytes, text: str, says: Callable[..., None], proxy: RunningProxy, server: RawServer
    ) -> None:
        says(last + b"|never")
        with httpx.Client() as client:
            for _ in range(2):
                answer = client.get(f"{proxy.origin}/watched").text
                assert answer.replace("~", "") == text and answer.startswith(last.decode() + "~")
        assert server.connections_made == 1, "upstream had come to its end meanwhile"

    def test_an_answer_that_did_not_stream_is_cut_off(
        self, says: Callable[..., None], proxy: RunningProxy, server: RawServer
    ) -> None:
        says(b"FAIL")
        got = b""
        with pytest.raises(httpx.RemoteProtocolError), httpx.stream("GET", f"{proxy.origin}/held/half") as answer:
            for piece in answer.iter_raw():
                got += piece
        assert (answer.status_code, answer.headers["content-length"], got) == (418, "7", b"inst")
        assert "crashed" not in proxy.log() and "Traceback" not in proxy.log()


LIMIT = 1024 * 1024
BODIES = {
    "just under": (LIMIT, 200),
    "just over": (LIMIT + 1, 413),
    "three times over": (3 * LIMIT, 413),
}


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
@pytest.mark.parametrize(("size", "status"), BODIES.values(), ids=BODIES)
def test_a_body_over_the_limit_is_answered_and_not_broken_off(
    size: int, status: int, chunked: bool, proxy: RunningProxy, server: RawServer
) -> None:
    def upstream(server: RawServer, connection: socket.socket, number: int) -> None:
        while read_head_and_body(connection):
            connection.sendall(response(200, b"{}"))

    body = b"x" * size
    content = (body[i : i + 65536] for i in range(0, size, 65536)) if chunked else body
    server.behave = upstream
    assert httpx.post(proxy.url, content=content).status_code == status


def read_head_and_body(connection: socket.socket) -> bytes:
    """Chunked or not: in these tests a body ends where nothing more comes for a moment."""
    data = connection.recv(65536)
    connection.settimeout(0.3)
    try:
        while more := connection.recv(1 << 20):
            data += more
    except TimeoutError:
        connection.settimeout(None)
    return data


def test_a_body_without_end_is_cut_off(proxy: RunningProxy, server: RawServer) -> None:
    def upstream(server: RawServer, connection: socket.socket, number: int) -> None:
        server.received.append(read_request(connection))

    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(100):
            yield b"x" * LIMIT
            sent += 1

    server.behave = upstream
    with contextlib.suppress(httpx.HTTPError):  # the answer may be lost: who closes while the other one sends resets the connection
        assert httpx.post(proxy.url, content=endless()).status_code == 413
    assert server.received == [] and sent < 100
    assert httpx.get(proxy.url, timeout=5).status_code == 502  # and the proxy lives on


def exchange(port: int, data: bytes, then_close: bool = False) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(data)
        if then_close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while more := connection.recv(65536):
            answer += more
    return answer


REFUSALS = {
    "not HTTP": (b"hello world CANARY\r\n\r\n", 400),
    "no colon": (b"GET / HTTP/1.1\r\nAuthorization Bearer CANARY\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nCANARY", 400),
    "length and chunks": (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "CONNECT": (b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n", 400),
    "upstream closes without a word": (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 502),
}


@pytest.mark.parametrize(("request_bytes", "status"), REFUSALS.values(), ids=REFUSALS)
def test_what_mitmproxy_refuses_by_itself_is_an_openai_error(
    request_bytes: bytes, status: int, proxy: RunningProxy, server: RawServer
) -> None:
    def upstream(server: RawServer, connection: socket.socket, number: int) -> None:
        read_request(connection)

    server.behave = upstream
    head, _, body = exchange(proxy.port, request_bytes).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"content-type: application/json" in head.lower() and b"x-request-id: req_" in head.lower()
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    assert b"CANARY" not in body and "CANARY" not in proxy.log()


def test_a_request_head_that_is_cut_short_is_not_logged(proxy: RunningProxy, server: RawServer) -> None:
    def upstream(server: RawServer, connection: socket.socket, number: int) -> None:
        read_request(connection)

    server.behave = upstream
    assert exchange(proxy.port, b"GET / HTTP/1.1\r\nAuthorization: Bearer CANARY", then_close=True) == b""
    proxy.wait_for_log("cut short or malformed")
    assert "CANARY" not in proxy.log()


def test_a_mitmproxy_that_looks_different_is_refused_before_anything_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    def send_response(self: object, already_streamed: bool, something_new: int) -> None: ...

    monkeypatch.setattr(HttpStream, "send_response", send_response)
    monkeypatch.setattr(originals, "original", {})
    untouched = HttpStream.check_body_size
    with pytest.raises(engine.EngineMismatch, match="HttpStream.send_response takes"):
        engine.install()
    assert HttpStream.check_body_size is untouched and originals.original == {}
