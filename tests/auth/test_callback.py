"""The listener by itself, on ports that nobody else knows. What a whole sign-in does with it is in test_login."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth.callback import MAX_REQUEST, MAX_VISITS, CallbackListener, Cancelled, listen, parse_request
from auth.errors import LoginFailed
from auth.pkce import Code, Denied, Missing
from tests.rawserver import RawServer, raw_server, read_request, response

STATE = "the-right-state"
SUCCESS = {"code": "ac_SENTINEL", "state": STATE}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
async def listener() -> AsyncIterator[CallbackListener]:
    async with listen(STATE, [free_port()]) as listener:
        yield listener


@pytest.fixture
async def browser(listener: CallbackListener) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listener.port}", trust_env=False) as browser:
        yield browser


async def raw(listener: CallbackListener, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


# -- what a browser gets


async def test_a_sign_in_that_works_ends_on_a_page_whose_address_holds_nothing(
    listener: CallbackListener, browser: httpx.AsyncClient
) -> None:
    async with asyncio.TaskGroup() as at_once:
        visit = at_once.create_task(browser.get("/auth/callback", params=SUCCESS, follow_redirects=True))
        assert await listener.answer() == Code("ac_SENTINEL")
        assert not visit.done()
        await listener.conclude()
    page = visit.result()
    assert (page.status_code, page.url.raw_path) == (200, b"/success")
    assert "Signed in" in page.text
    assert "SENTINEL" not in page.text + str(page.history[0].headers)


async def test_a_sign_in_that_fails_shows_why_and_nothing_of_it_as_markup(
    listener: CallbackListener, browser: httpx.AsyncClient
) -> None:
    async with asyncio.TaskGroup() as at_once:
        visit = at_once.create_task(browser.get("/auth/callback", params=SUCCESS))
        await listener.answer()
        await listener.conclude("the issuer says <script>")
    assert visit.result().status_code == 200
    assert "Not signed in" in visit.result().text
    assert "The issuer says &lt;script&gt;." in visit.result().text


async def test_every_page_is_kept_out_of_caches_frames_and_referrers(browser: httpx.AsyncClient) -> None:
    headers = (await browser.get("/")).headers
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "access-control-allow-origin" not in headers


async def test_a_browser_that_asks_twice_gets_the_same_end_twice(listener: CallbackListener, browser: httpx.AsyncClient) -> None:
    async with asyncio.TaskGroup() as at_once:
        visits = [at_once.create_task(browser.get("/auth/callback", params=SUCCESS)) for _ in range(2)]
        await listener.answer()
        await asyncio.sleep(0.05)
        await listener.conclude("no")
    assert [visit.result().status_code for visit in visits] == [200, 200]


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        pytest.param(
            {"state": STATE, "error": "access_denied", "error_description": "no"}, Denied("access_denied", "no"), id="error"
        ),
        pytest.param({"state": STATE}, Missing(), id="neither code nor error"),
        pytest.param({"state": STATE, "code": ""}, Missing(), id="empty code"),
    ],
)
async def test_other_answers(
    listener: CallbackListener, browser: httpx.AsyncClient, query: dict[str, str], answer: Denied | Missing
) -> None:
    async with asyncio.TaskGroup() as at_once:
        at_once.create_task(browser.get("/auth/callback", params=query))
        assert await listener.answer() == answer
        await listener.conclude("no")


# -- what does not count


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("code=ac_1", id="no state"),
        pytest.param("code=ac_1&state=another", id="another state"),
        pytest.param(f"error=access_denied&state={STATE}x", id="an error with another state"),
        pytest.param("&".join(f"p{n}=1" for n in range(99)), id="parameters without end"),
        pytest.param("%ff%00=%ff&state=%ff", id="no UTF-8"),
    ],
)
async def test_a_wrong_state_is_refused_and_the_right_one_still_works(
    listener: CallbackListener, browser: httpx.AsyncClient, query: str
) -> None:
    refused = await browser.get(f"/auth/callback?{query}")
    assert (refused.status_code, "State mismatch" in refused.text) == (400, True)
    async with asyncio.TaskGroup() as at_once:
        at_once.create_task(browser.get("/auth/callback", params=SUCCESS))
        assert await listener.answer() == Code("ac_SENTINEL")
        await listener.conclude("enough")


@pytest.mark.parametrize(
    ("method", "target", "headers", "status"),
    [
        ("GET", "/", {}, 404),
        ("GET", "/success", {}, 404),
        ("GET", "/auth/callback/", {}, 404),
        ("HEAD", f"/auth/callback?code=1&state={STATE}", {}, 405),
        ("POST", f"/auth/callback?code=1&state={STATE}", {}, 405),
        ("GET", f"/auth/callback?code=1&state={STATE}", {"host": "evil.example"}, 421),
        ("GET", f"/auth/callback?code=1&state={STATE}", {"host": "127.0.0.1.evil.example:1455"}, 421),
        ("GET", "/cancel", {"host": "evil.example"}, 421),
        ("GET", "/cancel", {"sec-fetch-site": "cross-site"}, 403),
    ],
)
async def test_everything_else_is_refused_and_decides_nothing(
    listener: CallbackListener, browser: httpx.AsyncClient, method: str, target: str, headers: dict[str, str], status: int
) -> None:
    answer = await browser.request(method, target, headers=headers)
    assert answer.status_code == status
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(listener.answer(), 0.05)


@pytest.mark.parametrize("host", ["localhost:1455", "LOCALHOST", "127.0.0.1", "[::1]:1455"])
async def test_each_name_of_loopback_will_do(browser: httpx.AsyncClient, host: str) -> None:
    assert (await browser.get("/", headers={"host": host})).status_code == 404


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", b"421", id="no host"),
        pytest.param(b"hello\r\n\r\n", b"400", id="garbage"),
        pytest.param(b"\r\n\r\n", b"400", id="empty"),
        pytest.param(b"GET / HTTP/1.1\r\nA: " + b"a" * 2 * MAX_REQUEST + b"\r\n\r\n", b"431", id="too large"),
    ],
)
async def test_what_is_not_a_request(listener: CallbackListener, request_: bytes, status: bytes) -> None:
    assert (await raw(listener, request_))[9:12] == status


@given(st.binary())
def test_no_bytes_upset_the_parser(head: bytes) -> None:
    parse_request(head)


async def test_the_callback_gets_through_a_crowd_that_says_nothing(listener: CallbackListener, browser: httpx.AsyncClient) -> None:
    crowd = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(100)]
    for _, writer in crowd[:50]:
        writer.write(b"\x16\x03\x01\x02\x00")  # a browser that insists on https
    async with asyncio.timeout(2), asyncio.TaskGroup() as at_once:
        at_once.create_task(browser.get("/auth/callback", params=SUCCESS))
        assert await listener.answer() == Code("ac_SENTINEL")
        await listener.conclude("enough")
    for _, writer in crowd:
        writer.close()


async def test_of_too_many_silent_connections_the_oldest_go(listener: CallbackListener) -> None:
    crowd = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(MAX_VISITS + 2)]
    assert [await reader.read() for reader, _ in crowd[:2]] == [b"", b""]
    crowd[2][1].write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b" 404 " in await crowd[2][0].readline()
    for _, writer in crowd:
        writer.close()


async def test_closing_does_not_wait_for_connections_that_say_nothing() -> None:
    async with asyncio.timeout(2), listen(STATE, [free_port()]) as listener:
        _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        await asyncio.sleep(0.02)
    writer.close()


# -- cancel, and ports


async def test_cancel_ends_it(listener: CallbackListener, browser: httpx.AsyncClient) -> None:
    assert "Login cancelled" in (await browser.get("/cancel")).text
    assert await listener.answer() == Cancelled()


async def test_the_first_answer_counts(listener: CallbackListener, browser: httpx.AsyncClient) -> None:
    listener.decide(Code("pasted"))
    await browser.get("/cancel")
    assert await listener.answer() == Code("pasted")


@contextmanager
def occupant() -> Iterator[tuple[RawServer, list[bytes]]]:
    """Another kind of program, which does not know what `/cancel` is; and what it was asked."""

    def behave(server: RawServer, connection: socket.socket, number: int) -> None:
        asked.append(read_request(connection))
        connection.sendall(response(404))

    asked: list[bytes] = []
    with raw_server(behave) as server:
        yield server, asked


async def test_an_older_sign_in_is_asked_once_to_leave_and_its_port_taken_over() -> None:
    older_port = free_port()
    async with asyncio.TaskGroup() as at_once:

        async def older() -> None:
            async with listen(STATE, [older_port]) as listener:
                ready.set()
                assert await listener.answer() == Cancelled()

        ready = asyncio.Event()
        at_once.create_task(older())
        await ready.wait()
        async with listen(STATE, [older_port, free_port()], pause=0.02) as listener:
            assert listener.port == older_port


async def test_whoever_does_not_leave_keeps_the_port_and_the_next_is_taken() -> None:
    next_port = free_port()
    with occupant() as (server, asked):
        async with listen(STATE, [server.port, next_port], pause=0.01) as listener:
            assert listener.port == next_port
    assert asked == [b"GET /cancel HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % server.port]


async def test_with_no_port_left_the_other_ways_are_named() -> None:
    with occupant() as (one, _), occupant() as (other, _):
        with pytest.raises(LoginFailed, match="are in use") as failed:
            async with listen(STATE, [one.port, other.port], pause=0.01):
                pass
    assert "--device" in failed.value.remedy and "--import FILE" in failed.value.remedy


async def test_the_port_is_free_again_afterwards(listener: CallbackListener) -> None:
    await listener.close()
    with socket.create_server(("127.0.0.1", listener.port)):
        pass
