"""Accounts that several proxies share, in a real Redis: what is kept, who may refresh, and what no accident may bring about."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from auth.account_in_redis import INTERRUPTED, AccountInRedis
from auth.authjson import AuthDocument
from auth.errors import (
    AccountFileError,
    LoginRequired,
    NotSignedIn,
    Overtaken,
    RedisAway,
    SaveFailed,
    TokenRejected,
    TryAgainLater,
)
from auth.issuer import Issuer
from auth.outbound import Outbound
from auth.places import Shelf
from auth.sealing import new_key_file
from auth.shared import Shared
from auth.sidecar import Memory
from auth.source import TokenSource
from tests.auth.minting import ROOT, chatgpt_fields, document
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.rawserver import raw_server
from tests.redisserver import RedisServer

HOUR = 3600.0
EXPIRED: dict[str, float] = {"lifetime": HOUR, "issued_ago": 2 * HOUR}
STALE: dict[str, float] = {"lifetime": HOUR, "issued_ago": HOUR - 100}  # within its leeway, and works
SOON = 20.0

type SignIn = Callable[..., Any]


@pytest.fixture
async def new_shared(server: RedisServer) -> AsyncIterator[Callable[..., Shared]]:
    """As another proxy: a connection of its own."""
    made: list[Shared] = []

    def new_shared(**env: str) -> Shared:
        shared = Shared.from_env(server.env | env)
        assert shared
        made.append(shared)
        return shared

    yield new_shared
    for shared in made:
        await shared.aclose()


@pytest.fixture
def new_account(new_shared: Callable[..., Shared]) -> Callable[..., AccountInRedis]:
    return lambda **how: AccountInRedis(new_shared(), "work", **how)


@pytest.fixture
def account(new_account: Callable[..., AccountInRedis]) -> AccountInRedis:
    return new_account()


@pytest.fixture
def sign_in(account: AccountInRedis, control: Control) -> SignIn:
    """As `python -m auth login` leaves it; takes what `Control.login` takes."""

    async def sign_in(**how: Any) -> AuthDocument:
        signed_in = document(control.login(**how))
        await put(account, signed_in)
        return signed_in

    return sign_in


async def put(account: AccountInRedis, content: AuthDocument) -> None:
    async with account.locked(5):
        try:
            await account.read()
        except NotSignedIn:
            pass
        await account.save(content)


def first() -> AuthDocument:
    return document(chatgpt_fields(refresh="rt_SENTINEL_1"))


def second() -> AuthDocument:
    return document(chatgpt_fields(refresh="rt_SENTINEL_2"))


def lose_the_lease(server: RedisServer) -> None:
    """As time does to a holder that was stopped, or cut off."""
    assert server.run("DEL", "{codex-mitm}:account:work:lease") == "1"


# -- what is kept


async def test_what_was_saved_is_read_by_another(account: AccountInRedis, new_account: Callable[..., AccountInRedis]) -> None:
    await put(account, first())
    other = new_account()
    assert await other.read() == first()
    assert other.stamp() == account.stamp()
    await put(other, second())
    assert await account.read() == second()
    assert account.stamp() == other.stamp()


async def test_nobody_is_signed_in(account: AccountInRedis, server: RedisServer) -> None:
    with pytest.raises(NotSignedIn, match=f"account work in Redis at 127.0.0.1:{server.port} does not exist"):
        await account.read()


async def test_what_is_remembered_is_shared_too(account: AccountInRedis, new_account: Callable[..., AccountInRedis]) -> None:
    assert await account.recall() == Memory()
    assert await account.remember(Memory(signed_in_here=True, last_error="no answer"))
    assert await new_account().recall() == Memory(signed_in_here=True, last_error="no answer")


async def test_what_was_erased_is_gone_for_all(account: AccountInRedis, new_account: Callable[..., AccountInRedis]) -> None:
    await put(account, first())
    other = new_account()
    await other.read()
    async with account.locked(5):
        await account.remember(Memory(signed_in_here=True))
        await account.erase()
    for each in (account, other):
        with pytest.raises(NotSignedIn):
            await each.read()
        assert await each.recall() == Memory()


async def test_the_accounts_are_found_and_the_default_first(new_shared: Callable[..., Shared]) -> None:
    shelf = Shelf(new_shared())
    assert await shelf.find([]) == []
    for name in ("work", "default", "ada"):
        account = shelf.own(name)
        async with account.locked(5):
            await account.save(first())
    async with shelf.own("ada").locked(5):
        await shelf.own("ada").erase()
    assert [account.name for account in await shelf.find([])] == ["default", "work"]


async def test_no_token_is_readable_in_redis_or_in_its_files(
    account: AccountInRedis, server: RedisServer, new_account: Callable[..., AccountInRedis]
) -> None:
    await put(account, first())
    await account.remember(Memory(dead_token="f" * 64, dead_reason="SENTINEL_MEMORY"))
    async with account.locked(5):
        await account.announce("rt_SENTINEL_1")
    written = server.written()
    values = server.run("--no-raw", "HGETALL", "{codex-mitm}:account:work") + server.run("--scan")
    secrets = ["SENTINEL", *filter(None, (first().access_token, first().id_token, first().stored_account_id))]
    assert b"{codex-mitm}:account:work" in written and "{codex-mitm}:account:work" in values
    assert [secret for secret in secrets if secret.encode() in written or secret in values] == []


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        pytest.param(lambda sealed: sealed[:-1] + bytes([sealed[-1] ^ 1]), "somebody has changed it", id="tampered"),
        pytest.param(lambda sealed: sealed[:40], "somebody has changed it", id="cut"),
        pytest.param(lambda sealed: b"{}", "not sealed", id="foreign"),
    ],
)
async def test_a_value_that_was_changed_is_named(
    account: AccountInRedis, new_shared: Callable[..., Shared], spoil: Callable[[bytes], bytes], why: str
) -> None:
    await put(account, first())
    redis, key = new_shared().redis, "{codex-mitm}:account:work"
    await redis.hset(key, "document", spoil(await redis.hget(key, "document")))
    with pytest.raises(AccountFileError, match=f"account work in Redis .* cannot be used, .*{why}"):
        await account.read()


async def test_what_others_have_written_there_ends_nothing(account: AccountInRedis, new_shared: Callable[..., Shared]) -> None:
    shared = new_shared()
    await put(account, first())
    await shared.redis.hset("{codex-mitm}:accounts", mapping={b"\xff": b"1", "../work": b"1", "other": b"newest", "work": b"x"})
    assert await Shelf(shared).find([]) == []
    await shared.redis.hset("{codex-mitm}:account:work", "version", "x")
    with pytest.raises((AccountFileError, RedisAway)):
        async with AccountInRedis(shared, "work").locked(1):
            await AccountInRedis(shared, "work").read()


async def test_accounts_cannot_be_swapped_nor_an_old_document_be_passed_off_as_new(
    account: AccountInRedis, new_shared: Callable[..., Shared]
) -> None:
    shared, other = new_shared(), AccountInRedis(new_shared(), "other")
    await put(account, first())
    old = await shared.redis.hget("{codex-mitm}:account:work", "document")
    await put(account, second())
    await put(other, second())
    theirs = await shared.redis.hgetall("{codex-mitm}:account:other")
    for spoilt in ({"document": old}, theirs):
        await shared.redis.hset("{codex-mitm}:account:work", mapping=spoilt)
        with pytest.raises(AccountFileError, match="moved it there from elsewhere"):
            await AccountInRedis(shared, "work").read()


async def test_with_another_key_nothing_opens_and_a_new_sign_in_takes_its_place(
    account: AccountInRedis, new_shared: Callable[..., Shared], tmp_path: Path
) -> None:
    await put(account, first())
    new_key_file(tmp_path / "key")
    other = AccountInRedis(new_shared(CODEX_MITM_REDIS_KEY_FILE=str(tmp_path / "key")), "work")
    with pytest.raises(AccountFileError, match="a key that is not in the file of CODEX_MITM_REDIS_KEY_FILE"):
        await other.read()
    assert await other.recall() == Memory()
    async with other.locked(5):
        await other.save(second())
    assert await other.read() == second()


# -- who may refresh, and save


async def test_one_at_a_time(account: AccountInRedis, new_account: Callable[..., AccountInRedis]) -> None:
    other = new_account()
    async with account.locked(1):
        with pytest.raises(TryAgainLater, match="another process holds account work in Redis"):
            async with other.locked(0.2):
                raise AssertionError
    async with other.locked(0):
        pass


async def test_a_holder_that_works_keeps_its_lease(server: RedisServer, new_account: Callable[..., AccountInRedis]) -> None:
    account, other = new_account(lease=0.3), new_account()
    async with account.locked(1):
        before = server.run("GET", "{codex-mitm}:account:work:lease")
        await asyncio.sleep(0.7)
        assert server.run("GET", "{codex-mitm}:account:work:lease") == before
        with pytest.raises(TryAgainLater):
            async with other.locked(0):
                raise AssertionError


async def test_who_lost_its_lease_neither_renews_nor_releases_that_of_the_next(
    server: RedisServer, new_account: Callable[..., AccountInRedis]
) -> None:
    account, other = new_account(lease=0.3), new_account()
    async with AsyncExitStack() as later:
        async with account.locked(1):
            lose_the_lease(server)
            await later.enter_async_context(other.locked(1))
            lease = server.run("GET", "{codex-mitm}:account:work:lease")
            await asyncio.sleep(0.3)
        assert server.run("GET", "{codex-mitm}:account:work:lease") == lease
    assert server.run("EXISTS", "{codex-mitm}:account:work:lease") == "0"


async def test_who_lost_its_lease_may_save_what_is_newest_and_undo_nothing_that_is_newer(
    account: AccountInRedis, server: RedisServer, new_account: Callable[..., AccountInRedis]
) -> None:
    await put(account, first())
    slept, other = new_account(), new_account()
    async with slept.locked(1):
        await slept.read()
        lose_the_lease(server)
        async with other.locked(1):
            await other.read()
            await slept.save(second())
            with pytest.raises(Overtaken, match="account work in Redis at .* somebody else has written it meanwhile"):
                await other.save(first())
        assert await other.read() == second()


async def test_a_sign_out_is_not_undone_by_who_comes_late(
    account: AccountInRedis, new_account: Callable[..., AccountInRedis]
) -> None:
    await put(account, first())
    late = new_account()
    await late.read()
    async with account.locked(1):
        await account.erase()
    with pytest.raises(Overtaken):
        await late.save(second())
    with pytest.raises(NotSignedIn):
        await late.read()


# -- that a token is spent once


async def announced(holder: AccountInRedis, server: RedisServer) -> None:
    """A holder that has begun to spend the token, and was then lost."""
    async with holder.locked(1):
        await holder.read()
        assert await holder.announce("rt_SENTINEL_1") is None
        lose_the_lease(server)


async def test_whose_refresh_may_be_under_way_is_waited_for_and_then_given_up(
    account: AccountInRedis, server: RedisServer, new_account: Callable[..., AccountInRedis]
) -> None:
    await put(account, first())
    await announced(new_account(), server)
    async with account.locked(1):
        with pytest.raises(TryAgainLater, match="did not say how that ended") as pending:
            await account.announce("rt_SENTINEL_1")
        assert 40 < (pending.value.retry_after or 0) <= 50
    impatient = new_account(doubt=0.0)
    async with impatient.locked(1):
        await impatient.read()
        assert await impatient.announce("rt_SENTINEL_1") == INTERRUPTED
        assert await impatient.announce("rt_SENTINEL_2") is None, "it was another token"


async def test_a_new_document_ends_the_doubt(
    account: AccountInRedis, server: RedisServer, new_account: Callable[..., AccountInRedis]
) -> None:
    await put(account, first())
    lost = new_account()
    await announced(lost, server)
    await lost.save(second())
    async with account.locked(1):
        await account.read()
        assert await account.announce("rt_SENTINEL_2") is None


@pytest.mark.parametrize(
    ("answered", "held", "free"),
    [
        pytest.param(True, True, True, id="refused-or-not-sent"),
        pytest.param(False, True, True, id="no-answer-to-one-who-was-there"),
        pytest.param(False, False, False, id="no-answer-to-one-who-was-away"),
        pytest.param(True, False, True, id="not-sent-by-one-who-was-away"),
    ],
)
async def test_whose_word_is_taken_that_nothing_was_spent(
    account: AccountInRedis,
    server: RedisServer,
    new_account: Callable[..., AccountInRedis],
    answered: bool,
    held: bool,
    free: bool,
) -> None:
    await put(account, first())
    holder = new_account()
    async with holder.locked(1):
        await holder.read()
        await holder.announce("rt_SENTINEL_1")
        if not held:
            lose_the_lease(server)
        await holder.take_back(answered=answered)
    async with account.locked(1):
        if free:
            assert await account.announce("rt_SENTINEL_1") is None
        else:
            with pytest.raises(TryAgainLater):
                await account.announce("rt_SENTINEL_1")


async def test_what_redis_could_not_be_told_is_not_held_against_oneself(
    account: AccountInRedis, server: RedisServer, new_account: Callable[..., AccountInRedis]
) -> None:
    await put(account, first())
    async with account.locked(1):
        await account.announce("rt_SENTINEL_1")
        server.kill()
        await account.take_back(answered=True)
    server.start()
    await asyncio.sleep(0.5)
    async with account.locked(0):
        assert await account.announce("rt_SENTINEL_1") is None
        await account.take_back(answered=False)


async def test_a_refresh_that_brought_no_new_refresh_token_leaves_no_doubt_about_the_old_one(
    account: AccountInRedis, new_account: Callable[..., AccountInRedis]
) -> None:
    await put(account, first())
    async with account.locked(1):
        await account.announce("rt_SENTINEL_1")
        await account.save(document(chatgpt_fields(refresh="rt_SENTINEL_1", note="with another access token")))
    other = new_account()
    async with other.locked(1):
        await other.read()
        assert await other.announce("rt_SENTINEL_1") is None


async def test_who_lost_its_lease_before_it_sent_anything_sends_nothing(account: AccountInRedis, server: RedisServer) -> None:
    await put(account, first())
    async with account.locked(1):
        lose_the_lease(server)
        with pytest.raises(TryAgainLater, match="was taken over by another process"):
            await account.announce("rt_SENTINEL_1")


# -- Redis that is away, or comes back with less


async def test_a_redis_that_is_away(account: AccountInRedis, server: RedisServer) -> None:
    await put(account, first())
    stamp = account.stamp()
    server.kill()
    try:
        with pytest.raises(RedisAway):
            await account.read()
        with pytest.raises(RedisAway):
            async with account.locked(10):
                raise AssertionError
        with pytest.raises(SaveFailed, match="bring Redis back"):
            await account.save(second())
        assert (await account.recall(), await account.remember(Memory())) == (Memory(), False)
        assert await account.probe_writable() == f"Redis at 127.0.0.1:{server.port} is away (ConnectionError)"
        assert account.stamp() == stamp
    finally:
        server.start()
    await asyncio.sleep(0.5)
    assert await account.read() == first()


async def test_a_redis_that_takes_nothing(account: AccountInRedis, server: RedisServer) -> None:
    await put(account, first())
    server.run("CONFIG", "SET", "maxmemory", "1")
    try:
        assert "OutOfMemoryError" in (await account.probe_writable() or "")
    finally:
        server.run("CONFIG", "SET", "maxmemory", "0")


@pytest.mark.parametrize("ask", ["find", "read", "lock"])
async def test_what_redis_lost_is_put_back_from_memory_and_not_refreshed_at_once(
    server: RedisServer, new_shared: Callable[..., Shared], caplog: pytest.LogCaptureFixture, ask: str
) -> None:
    shelf = Shelf(new_shared())
    await put(shelf.own("work"), first())
    (account,) = await shelf.find([])
    await account.remember(Memory(signed_in_here=True))
    await account.read()
    server.run("FLUSHALL")
    match ask:
        case "find":
            assert await shelf.find([]) == [account]
        case "read":
            assert await account.read() == first()
        case "lock":
            async with account.locked(1):
                pass
    stranger = AccountInRedis(new_shared(), "work", doubt=1.0)
    assert await stranger.read() == first()
    assert (await stranger.recall()).signed_in_here
    async with stranger.locked(1):
        with pytest.raises(TryAgainLater):
            await stranger.announce("rt_SENTINEL_1")
        await asyncio.sleep(1)
        assert await stranger.announce("rt_SENTINEL_1") is None
    assert "was lost there, and is put back from memory" in caplog.text


async def test_of_two_who_put_something_back_the_newer_wins(
    server: RedisServer, new_account: Callable[..., AccountInRedis]
) -> None:
    old, new = new_account(), new_account()
    await put(new, first())
    await old.read()
    await put(new, second())
    server.run("FLUSHALL")
    await old.hear(0)
    assert await old.read() == first()
    await new.hear(old.stamp())  # type: ignore[arg-type]
    assert await new.read() == await old.read() == second()


async def test_a_sign_in_after_the_loss_wins(server: RedisServer, new_account: Callable[..., AccountInRedis]) -> None:
    old, new = new_account(), new_account()
    await put(old, first())
    server.run("FLUSHALL")
    await put(new, second())
    assert await old.read() == second()


async def test_who_signed_out_is_not_put_back(server: RedisServer, new_account: Callable[..., AccountInRedis]) -> None:
    account, other = new_account(), new_account()
    await put(account, first())
    await other.read()
    async with account.locked(1):
        await account.erase()
    await other.hear(account.stamp())  # type: ignore[arg-type]
    server.run("FLUSHALL")
    await other.hear(0)
    with pytest.raises(NotSignedIn):
        await account.read()
    assert not other.is_there


# -- with a TokenSource


@pytest.fixture
def new_source(new_account: Callable[..., AccountInRedis], issuer: Issuer) -> Callable[..., TokenSource]:
    return lambda **how: TokenSource(new_account(**how), issuer, jitter=lambda: 0.0, writer_patience=0.1)


async def test_an_expired_token_is_refreshed_and_is_in_redis_when_it_is_handed_out(
    new_source: Callable[..., TokenSource], account: AccountInRedis, sign_in: SignIn, control: Control
) -> None:
    await sign_in(**EXPIRED)
    credential = await new_source().get()
    assert credential.bearer == control.current().access_token == (await account.read()).access_token
    assert (await account.read()).refresh_token == control.current().refresh_token


async def test_three_proxies_with_a_hundred_requests_each_are_one_refresh(
    new_source: Callable[..., TokenSource], sign_in: SignIn, control: Control
) -> None:
    await sign_in(**EXPIRED)
    control.fault("token", delay=0.3)
    sources = [new_source() for _ in range(3)]
    credentials = await asyncio.gather(*(source.get() for source in sources for _ in range(100)))
    assert {credential.bearer for credential in credentials} == {control.current().access_token}
    assert control.counts().refreshes == 1


async def test_a_sign_in_during_a_refresh_wins(
    new_source: Callable[..., TokenSource], account: AccountInRedis, control: Control, sign_in: SignIn
) -> None:
    await sign_in(email="old@example.com", **EXPIRED)
    control.fault("token", delay=0.4)
    getting = asyncio.get_running_loop().create_task(new_source().get(), name="get")
    await until(lambda: control.counts().refreshes == 1)
    await account.read()
    signed_in = document(control.login(email="new@example.com"))
    await account.save(signed_in)
    assert (await getting).bearer == signed_in.access_token
    assert await account.read() == signed_in


async def test_a_sign_out_during_a_refresh_is_not_undone(
    new_source: Callable[..., TokenSource], account: AccountInRedis, control: Control, sign_in: SignIn
) -> None:
    await sign_in(**EXPIRED)
    control.fault("token", delay=0.4)
    getting = asyncio.get_running_loop().create_task(new_source().get(), name="get")
    await until(lambda: control.counts().refreshes == 1)
    await account.erase()
    with pytest.raises(NotSignedIn):
        await getting
    with pytest.raises(NotSignedIn):
        await account.read()


async def test_a_rejected_token_is_renewed_once_for_all(
    new_source: Callable[..., TokenSource], sign_in: SignIn, control: Control
) -> None:
    await sign_in()
    one, other = new_source(), new_source()
    rejected, same = await one.get(), await other.get()
    assert rejected == same
    assert await one.renew(rejected) == await other.renew(same)
    assert control.counts().refreshes == 1
    with pytest.raises(TokenRejected):
        await one.renew(await one.get())


async def test_a_dead_refresh_token_is_asked_about_by_one_of_them(
    new_source: Callable[..., TokenSource], sign_in: SignIn, control: Control
) -> None:
    await sign_in(**EXPIRED)
    control.revoke("refresh")
    for _ in range(3):
        with pytest.raises(LoginRequired, match="refresh_token_invalidated"):
            await new_source().get()
    assert control.counts().of("issuer") == 1


async def test_an_issuer_that_was_out_of_reach_is_asked_again(
    new_source: Callable[..., TokenSource], new_account: Callable[..., AccountInRedis], sign_in: SignIn, control: Control
) -> None:
    await sign_in(**EXPIRED)
    with raw_server(lambda *_: None) as gone:
        pass
    unreachable = Issuer(gone.url, Outbound(), "codex_mitm/test")
    with pytest.raises(TryAgainLater, match="ConnectError"):
        await TokenSource(new_account(), unreachable).get()
    await unreachable.aclose()
    control.fault("token", status=503)
    with pytest.raises(TryAgainLater):
        await new_source().get()
    assert (await new_source().get()).bearer == control.current().access_token


async def test_with_redis_away_what_is_good_serves_on_and_nothing_is_refreshed(
    server: RedisServer, account: AccountInRedis, issuer: Issuer, sign_in: SignIn, control: Control
) -> None:
    await sign_in(lifetime=HOUR)
    later = 0.0
    source = TokenSource(account, issuer, clock=lambda: time.time() + later)
    good = await source.get()
    server.kill()
    try:
        assert await source.get() == good
        assert source.status().state == "ok"
        later = HOUR - 100  # it is time to refresh, and it works
        assert await source.get() == good
        assert source.status().problem.startswith(f"Redis at 127.0.0.1:{server.port} is away (ConnectionError)")
        later = HOUR + 1
        with pytest.raises(RedisAway, match="try again in 2 s"):
            await source.get()
        assert control.counts().refreshes == 0
    finally:
        server.start()
    await until_it_serves(source)
    assert (await source.get()).bearer == control.current().access_token != good.bearer


async def test_a_token_that_came_while_redis_was_away_is_kept_in_memory_and_saved_when_it_is_back(
    server: RedisServer, new_source: Callable[..., TokenSource], account: AccountInRedis, sign_in: SignIn, control: Control
) -> None:
    await sign_in(**EXPIRED)
    control.fault("token", delay=0.5)
    source = new_source()
    getting = asyncio.get_running_loop().create_task(source.get(), name="get")
    await until(lambda: control.counts().refreshes == 1)
    server.kill()
    try:
        assert (await getting).bearer == control.current().access_token
        assert source.status().memory.unsaved_why
    finally:
        server.start()
    await asyncio.sleep(0.5)
    await source.refresh_ahead()
    assert source.status().state == "ok"
    assert (await account.read()).refresh_token == control.current().refresh_token
    assert control.counts().refreshes == 1


@pytest.mark.parametrize("forget", [False, True], ids=["it-wrote-everything-down", "it-wrote-nothing-down"])
async def test_a_redis_that_restarts_in_the_middle_of_a_refresh_costs_nothing(
    server: RedisServer, new_shared: Callable[..., Shared], issuer: Issuer, sign_in: SignIn, control: Control, forget: bool
) -> None:
    await sign_in(**EXPIRED)
    control.fault("token", status=503, times=2)
    sources, watching = [], []
    for _ in range(2):
        shelf = Shelf(new_shared())
        (account,) = await shelf.find([])
        sources.append(TokenSource(account, issuer, jitter=lambda: 0.0))
        with pytest.raises(TryAgainLater):
            await sources[-1].get()  # it has seen the account
        watching.append(asyncio.get_running_loop().create_task(shelf.watch(), name="watch"))
    await asyncio.sleep(1)
    control.fault("token", delay=1.0)
    getting = asyncio.get_running_loop().create_task(sources[0].get(), name="get")
    await until(lambda: control.counts().refreshes == 1)
    await asyncio.to_thread(server.restart, forget=forget)
    await until_it_serves(sources[1])
    assert (await getting).bearer == (await sources[1].get()).bearer == control.current().access_token
    assert (await account.read()).refresh_token == control.current().refresh_token
    assert (control.counts().refreshes, control.counts().reuses) == (1, 0)
    for task in watching:
        task.cancel()


async def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not done():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def until_it_serves(source: TokenSource) -> None:
    """As clients do: they come back."""
    deadline = time.monotonic() + SOON
    while True:
        try:
            await source.get()
            return
        except TryAgainLater:
            assert time.monotonic() < deadline
            source._back_off = type(source._back_off)()
            await asyncio.sleep(0.1)


# -- several processes


@contextmanager
def actor(server: RedisServer, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "tests.auth.actors", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | server.env) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


posix = pytest.mark.skipif(sys.platform == "win32", reason="signals")


@pytest.mark.slow
async def test_several_processes_are_one_refresh(server: RedisServer, sign_in: SignIn, fake: FakeOpenAI) -> None:
    await sign_in(**EXPIRED)
    fake.control.fault("token", delay=1.0)
    with ExitStack() as started:
        actors = [started.enter_context(actor(server, "get", "redis:work", fake.issuer_url)) for _ in range(3)]
        printed = {process.communicate(timeout=30)[0].strip() for process in actors}
    assert printed == {fake.control.current().access_token}
    assert fake.control.counts().refreshes == 1


@posix
@pytest.mark.slow
async def test_a_holder_that_is_killed_in_mid_refresh_leaves_a_token_that_nobody_spends_again(
    server: RedisServer, new_source: Callable[..., TokenSource], sign_in: SignIn, fake: FakeOpenAI
) -> None:
    before = await sign_in(**EXPIRED)
    fake.control.fault("token", delay=60)
    with actor(server, "get", "redis:work:0.5", fake.issuer_url) as holder:
        await until(lambda: fake.control.counts().refreshes == 1)
        holder.kill()
    waiting, later = new_source(), new_source(doubt=0.0)
    with pytest.raises(TryAgainLater, match="another proxy has begun to refresh it"):
        await waiting.get()
    with pytest.raises(LoginRequired, match="a proxy was lost in the middle of a refresh"):
        await later.get()
    with pytest.raises(LoginRequired, match="lost in the middle"):
        await new_source().get()
    assert (fake.control.counts().refreshes, fake.control.counts().reuses) == (1, 0)
    assert before.refresh_token != fake.control.current().refresh_token


@posix
@pytest.mark.slow
async def test_what_still_works_serves_on_after_that(
    server: RedisServer, new_source: Callable[..., TokenSource], sign_in: SignIn, fake: FakeOpenAI
) -> None:
    before = await sign_in(**STALE)
    fake.control.fault("token", delay=60)
    with actor(server, "get", "redis:work:0.5", fake.issuer_url) as holder:
        await until(lambda: fake.control.counts().refreshes == 1)
        holder.kill()
    for doubt in (50.0, 0.0):
        assert (await new_source(doubt=doubt).get()).bearer == before.access_token
    assert fake.control.counts().reuses == 0


@posix
@pytest.mark.slow
async def test_a_holder_that_was_stopped_for_longer_than_its_lease_comes_back_with_the_token(
    server: RedisServer, new_source: Callable[..., TokenSource], account: AccountInRedis, sign_in: SignIn, fake: FakeOpenAI
) -> None:
    await sign_in(**EXPIRED)
    fake.control.fault("token", delay=0.2)
    other = new_source()
    with actor(server, "get", "redis:work:0.5", fake.issuer_url) as holder:
        await until(lambda: fake.control.counts().refreshes == 1)
        holder.send_signal(signal.SIGSTOP)
        await until(lambda: server.run("EXISTS", "{codex-mitm}:account:work:lease") == "0")
        with pytest.raises(TryAgainLater, match="another proxy has begun to refresh it"):
            await other.get()
        holder.send_signal(signal.SIGCONT)
        assert holder.communicate(timeout=SOON)[0] == f"{fake.control.current().access_token}\n"
    assert (await account.read()).refresh_token == fake.control.current().refresh_token
    await other._store.read()  # as the watch would have it noticed
    assert (await other.get()).bearer == fake.control.current().access_token
    assert (fake.control.counts().refreshes, fake.control.counts().reuses) == (1, 0)


def test_the_scripts_name_their_keys_and_the_keys_have_one_tag() -> None:
    """A cluster refuses others. In the source, because the server here is none."""
    source = (ROOT / "auth" / "account_in_redis.py").read_text()
    calls = [call for call in source.split("redis.call('")[1:] if not call.startswith("TIME")]
    assert len(calls) > 20
    assert [call[:40] for call in calls if not call.split("', ", 1)[1].startswith(("KEYS[1]", "KEYS[2]"))] == []
    assert json.loads('"{codex-mitm}:"') == "{codex-mitm}:"
