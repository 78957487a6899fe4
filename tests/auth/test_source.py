"""TokenSource against an issuer on real sockets and real files: what it hands out, what it spends, what it never loses."""

import asyncio
import json
import logging
import random
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from auth.authjson import AuthDocument
from auth.errors import AccountFileError, AuthError, LoginRequired, NotSignedIn, TokenRejected, TryAgainLater
from auth.grants import TokenGrant
from auth.issuer import Issuer
from auth.source import TokenSource
from auth.store import AccountFile
from tests.auth.minting import ROOT, mint_jwt
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI

type SignIn = Callable[..., dict[str, Any]]

HOUR, DAY = 3600.0, 86400.0
EXPIRED: dict[str, float] = {"lifetime": HOUR, "issued_ago": 2 * HOUR}
STALE: dict[str, float] = {"lifetime": HOUR, "issued_ago": HOUR - 100}  # within its leeway, and works
AHEAD: dict[str, float] = {"lifetime": HOUR, "issued_ago": HOUR - 600}  # not stale, but soon


class Clock:
    """Our clock, which a test can move."""

    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        return time.time() + self.offset


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def new_source(account: AccountFile, issuer: Issuer, clock: Clock) -> Callable[[], TokenSource]:
    """As after a restart: nothing in memory."""
    return lambda: TokenSource(AccountFile(account.path), issuer, clock=clock, jitter=lambda: 0.5, writer_patience=0.3)


@pytest.fixture
def source(new_source: Callable[[], TokenSource]) -> TokenSource:
    return new_source()


def on_disk(account: AccountFile) -> AuthDocument:
    return AuthDocument.parse(account.path.read_bytes())


# -- what is handed out


async def test_a_fresh_token_is_handed_out_as_it_is(source: TokenSource, sign_in: SignIn, control: Control) -> None:
    fields = sign_in()
    credential = await source.get()
    assert credential.bearer == fields["tokens"]["access_token"]
    assert (credential.kind, credential.account, credential.account_id) == ("chatgpt", "work", fields["tokens"]["account_id"])
    assert control.counts().of("issuer") == 0


async def test_nobody_is_signed_in_until_somebody_is(source: TokenSource, sign_in: SignIn) -> None:
    with pytest.raises(NotSignedIn):
        await source.get()
    assert source.status().state == "not_signed_in"
    sign_in()
    assert (await source.get()).bearer
    assert source.status().state == "ok"


async def test_who_logs_out_is_out(source: TokenSource, sign_in: SignIn, account: AccountFile) -> None:
    sign_in()
    await source.get()
    account.path.unlink()
    with pytest.raises(NotSignedIn):
        await source.get()
    assert source.status().email is None


async def test_a_file_that_changed_is_read_again(source: TokenSource, sign_in: SignIn, control: Control) -> None:
    first = sign_in(email="a@example.com")
    assert (await source.get()).bearer == first["tokens"]["access_token"]
    second = sign_in(email="b@example.com")
    assert (await source.get()).bearer == second["tokens"]["access_token"]
    assert source.status().email == "b@example.com"


async def test_a_file_that_became_unusable_is_named(source: TokenSource, sign_in: SignIn, account: AccountFile) -> None:
    sign_in()
    await source.get()
    account.path.write_text("{")
    with pytest.raises(AccountFileError, match=r"auth\.json cannot be used, it is not JSON"):
        await source.get()


async def test_an_api_key_is_never_stale_and_cannot_be_renewed(source: TokenSource, account: AccountFile, clock: Clock) -> None:
    account.path.write_bytes(AuthDocument.from_api_key("key").dump())
    clock.offset = 1000 * DAY
    credential = await source.get()
    assert (credential.kind, credential.bearer) == ("api_key", "key")
    with pytest.raises(LoginRequired, match="its API key is refused"):
        await source.renew(credential)


# -- refresh


async def test_an_expired_token_is_refreshed_and_is_on_disk_when_it_is_handed_out(
    source: TokenSource, sign_in: SignIn, account: AccountFile, control: Control
) -> None:
    before = sign_in(**EXPIRED)
    credential = await source.get()
    after = json.loads(account.path.read_bytes())
    current = control.current()
    assert credential.bearer == current.access_token == after["tokens"]["access_token"]
    assert after["tokens"]["refresh_token"] == current.refresh_token
    assert after["tokens"]["login_owner_id"] == before["tokens"]["login_owner_id"]
    assert list(after) == list(before)
    assert control.seen("issuer", "token")[0].json["refresh_reason"] == "proactive_expiry"


async def test_fifty_callers_are_one_refresh(source: TokenSource, sign_in: SignIn, control: Control) -> None:
    sign_in(**EXPIRED)
    control.fault("token", delay=0.1)
    credentials = await asyncio.gather(*(source.get() for _ in range(50)))
    assert len({credential.bearer for credential in credentials}) == 1
    assert control.counts().refreshes == 1


async def test_a_refresh_that_returns_some_tokens_keeps_the_others(
    source: TokenSource, sign_in: SignIn, account: AccountFile, control: Control
) -> None:
    before = sign_in(**EXPIRED)
    control.fault("token", omit=["refresh_token", "id_token"])
    credential = await source.get()
    after = on_disk(account)
    assert after.access_token == credential.bearer != before["tokens"]["access_token"]
    assert (after.refresh_token, after.id_token) == (before["tokens"]["refresh_token"], before["tokens"]["id_token"])


async def test_a_refresh_without_an_access_token_is_not_repeated_at_once(
    source: TokenSource, sign_in: SignIn, account: AccountFile, control: Control
) -> None:
    sign_in(**STALE)
    control.fault("token", omit=["access_token"])
    await source.get()
    await source.get()
    assert on_disk(account).refresh_token == control.current().refresh_token
    assert control.counts().refreshes == 1


async def test_edits_made_during_a_refresh_are_kept(
    source: TokenSource, sign_in: SignIn, account: AccountFile, control: Control
) -> None:
    fields = sign_in(**EXPIRED)
    control.fault("token", delay=0.3)
    getting = asyncio.get_running_loop().create_task(source.get(), name="get")
    await asyncio.sleep(0.15)
    account.path.write_text(json.dumps({**fields, "note": "by an editor"}))
    await getting
    after = json.loads(account.path.read_bytes())
    assert after["note"] == "by an editor"
    assert after["tokens"]["refresh_token"] == control.current().refresh_token


async def test_a_sign_in_during_a_refresh_wins(
    source: TokenSource, sign_in: SignIn, account: AccountFile, control: Control
) -> None:
    sign_in(email="old@example.com", **EXPIRED)
    control.fault("token", delay=0.3)
    getting = asyncio.get_running_loop().create_task(source.get(), name="get")
    await asyncio.sleep(0.15)
    new = sign_in(email="new@example.com")
    assert (await getting).bearer == new["tokens"]["access_token"]
    assert json.loads(account.path.read_bytes()) == new


async def test_a_log_out_during_a_refresh_is_not_undone(
    source: TokenSource, sign_in: SignIn, account: AccountFile, control: Control
) -> None:
    sign_in(**EXPIRED)
    control.fault("token", delay=0.3)
    getting = asyncio.get_running_loop().create_task(source.get(), name="get")
    await asyncio.sleep(0.15)
    account.path.unlink()
    with pytest.raises(NotSignedIn):
        await getting
    assert not account.path.exists()


async def test_a_file_that_breaks_during_a_refresh_is_replaced(
    source: TokenSource, sign_in: SignIn, account: AccountFile, control: Control
) -> None:
    sign_in(**EXPIRED)
    control.fault("token", delay=0.3)
    getting = asyncio.get_running_loop().create_task(source.get(), name="get")
    await asyncio.sleep(0.15)
    account.path.write_text("{")
    await getting
    assert on_disk(account).refresh_token == control.current().refresh_token


# -- two clocks


@pytest.mark.parametrize("offset", [HOUR, -HOUR], ids=["issuer-an-hour-ahead", "issuer-an-hour-behind"])
@pytest.mark.parametrize("lifetime", [1800.0, 10 * DAY], ids=["short", "long"])
async def test_clocks_an_hour_apart(
    source: TokenSource, account: AccountFile, control: Control, clock: Clock, offset: float, lifetime: float
) -> None:
    control.clock(offset)
    control.lifetime(access=lifetime)
    tokens = control.login()["tokens"]
    grant = TokenGrant(tokens["id_token"], tokens["access_token"], tokens["refresh_token"])
    login = AuthDocument.from_login(grant, issuer="https://i", client_id="app_1", now=clock())
    account.path.write_bytes(login.dump())
    leeway = min(300, lifetime / 4)

    clock.offset = lifetime - leeway - 5
    await source.get()
    assert control.counts().refreshes == 0, "too early"

    clock.offset = lifetime - leeway + 1
    control.clock(offset + clock.offset)
    await source.get()
    assert control.counts().refreshes == 1

    clock.offset += lifetime - leeway - 5
    await source.get()
    assert control.counts().refreshes == 1, "the refreshed one too early"


async def test_a_token_that_looks_expired_from_birth_is_not_refreshed_on_every_request(
    source: TokenSource, sign_in: SignIn, control: Control, clock: Clock
) -> None:
    sign_in(**EXPIRED)
    clock.offset = 20 * DAY
    for _ in range(5):
        await source.get()
    assert control.counts().refreshes == 1


# -- renew, after a 401


async def test_a_rejected_token_is_refreshed_once_for_all(source: TokenSource, sign_in: SignIn, control: Control) -> None:
    sign_in(issued_ago=60)
    rejected = await source.get()
    control.fault("token", delay=0.1)
    renewed = await asyncio.gather(*(source.renew(rejected) for _ in range(20)))
    assert {credential.bearer for credential in renewed} == {control.current().access_token}
    assert control.counts().refreshes == 1
    assert control.seen("issuer", "token")[0].json["refresh_reason"] == "unauthorized_recovery"


async def test_a_rejected_token_is_looked_up_in_the_file_first(source: TokenSource, sign_in: SignIn, control: Control) -> None:
    sign_in(issued_ago=60)
    rejected = await source.get()
    other = sign_in(issued_ago=30)
    assert (await source.renew(rejected)).bearer == other["tokens"]["access_token"]
    assert control.counts().refreshes == 0


async def test_a_token_that_is_suspected_is_not_handed_out_meanwhile(
    source: TokenSource, sign_in: SignIn, control: Control
) -> None:
    sign_in(issued_ago=60)
    rejected = await source.get()
    control.fault("token", delay=0.2)
    renewing = asyncio.get_running_loop().create_task(source.renew(rejected), name="renew")
    await asyncio.sleep(0.1)
    assert (await source.get()).bearer == (await renewing).bearer != rejected.bearer


async def test_a_token_rejected_right_after_its_renewal_is_not_renewed_again(
    source: TokenSource, sign_in: SignIn, control: Control, clock: Clock
) -> None:
    sign_in(issued_ago=60)
    renewed = await source.renew(await source.get())
    clock.offset = 9
    with pytest.raises(TokenRejected):
        await source.renew(renewed)
    assert control.counts().refreshes == 1
    clock.offset = 11
    assert (await source.renew(renewed)).bearer != renewed.bearer
    assert control.counts().refreshes == 2


@pytest.mark.parametrize("state", [EXPIRED, {"issued_ago": 0}], ids=["refreshed for its age", "signed in"])
async def test_a_token_rejected_right_after_it_came_otherwise_is_renewed(
    state: dict[str, float], source: TokenSource, sign_in: SignIn, control: Control
) -> None:
    sign_in(**state)
    rejected = await source.get()
    before = control.counts().refreshes
    assert (await source.renew(rejected)).bearer != rejected.bearer
    assert control.counts().refreshes == before + 1


async def test_an_old_rejection_gets_the_new_token(source: TokenSource, sign_in: SignIn, control: Control) -> None:
    sign_in(issued_ago=60)
    rejected = await source.get()
    renewed = await source.renew(rejected)
    assert await source.renew(rejected) == renewed
    assert control.counts().refreshes == 1


async def test_a_rejected_token_is_not_made_do_with(source: TokenSource, sign_in: SignIn, control: Control) -> None:
    sign_in(issued_ago=60)
    rejected = await source.get()
    control.fault("token", status=503)
    with pytest.raises(TryAgainLater):
        await source.renew(rejected)


# -- refresh ahead


async def test_refresh_ahead_spares_requests_the_wait(source: TokenSource, sign_in: SignIn, control: Control) -> None:
    sign_in(**AHEAD)
    await source.get()
    assert control.counts().refreshes == 0
    assert await source.refresh_ahead() == 60
    assert control.counts().refreshes == 1


@pytest.mark.parametrize(("issued_ago", "nap"), [(HOUR - 930, 30), (0, 60), (HOUR - 900.5, 1)])
async def test_how_long_to_sleep(source: TokenSource, sign_in: SignIn, issued_ago: float, nap: float) -> None:
    sign_in(lifetime=HOUR, issued_ago=issued_ago)
    assert await source.refresh_ahead() == pytest.approx(nap, abs=1.5)


async def test_refresh_ahead_backs_off(source: TokenSource, sign_in: SignIn, control: Control, clock: Clock) -> None:
    sign_in(**AHEAD)
    control.fault("token", status=500, times=None)
    naps = []
    for _ in range(4):
        naps.append(round(await source.refresh_ahead(), 1))
        clock.offset += naps[-1] + 0.1
    assert naps == [1, 2, 4, 8]
    assert (await source.get()).bearer
    assert source.status().state == "trouble"


async def test_refresh_ahead_raises_nothing(source: TokenSource) -> None:
    assert await source.refresh_ahead() == 60


# -- trouble that passes


@pytest.mark.parametrize("effect", [{"status": 500}, {"html": 403}, {"reset": "before_headers"}, {"bad_json": True}])
async def test_a_token_that_still_works_is_made_do_with(
    source: TokenSource, sign_in: SignIn, control: Control, effect: dict[str, Any]
) -> None:
    fields = sign_in(**STALE)
    control.fault("token", effect, times=None)
    assert (await source.get()).bearer == fields["tokens"]["access_token"]
    assert control.counts().of("issuer") == 1


async def test_an_expired_one_is_for_later_and_the_issuer_is_not_hammered(
    source: TokenSource, sign_in: SignIn, control: Control, clock: Clock
) -> None:
    sign_in(**EXPIRED)
    control.fault("token", status=503, times=2)
    for _ in range(5):
        with pytest.raises(TryAgainLater, match="the issuer answered 503") as later:
            await source.get()
        assert later.value.retry_after == pytest.approx(1, abs=0.5)
    assert control.counts().of("issuer") == 1
    clock.offset = 1.1
    with pytest.raises(TryAgainLater):
        await source.get()
    clock.offset = 3.2
    assert (await source.get()).bearer == control.current().access_token
    assert source.status().memory.last_error == ""


async def test_the_issuer_may_ask_for_more_time(source: TokenSource, sign_in: SignIn, control: Control, clock: Clock) -> None:
    sign_in(**EXPIRED)
    control.fault("token", status=429, headers={"retry-after": "40"})
    with pytest.raises(TryAgainLater) as later:
        await source.get()
    assert later.value.retry_after == 40
    clock.offset = 39
    with pytest.raises(TryAgainLater):
        await source.get()
    assert control.counts().of("issuer") == 1


async def test_somebody_elses_success_ends_the_waiting(source: TokenSource, sign_in: SignIn, control: Control) -> None:
    sign_in(**EXPIRED)
    control.fault("token", status=503)
    with pytest.raises(TryAgainLater):
        await source.get()
    fields = sign_in()
    assert (await source.get()).bearer == fields["tokens"]["access_token"]


async def test_an_answer_that_was_lost_costs_the_sign_in_only_when_the_issuer_says_so(
    source: TokenSource, sign_in: SignIn, control: Control, clock: Clock
) -> None:
    sign_in(**EXPIRED)
    control.fault("token", lose_answer=True)
    with pytest.raises(TryAgainLater):
        await source.get()
    clock.offset = 2
    with pytest.raises(LoginRequired, match="refresh_token_reused"):
        await source.get()
    assert source.status().memory.last_error.startswith("no answer from")


# -- trouble that does not


async def test_a_dead_refresh_token_is_asked_about_once_also_after_a_restart(
    new_source: Callable[[], TokenSource], sign_in: SignIn, control: Control, account: AccountFile
) -> None:
    sign_in(**EXPIRED)
    control.revoke("refresh")
    source = new_source()
    for _ in range(3):
        with pytest.raises(LoginRequired) as over:
            await source.get()
    with pytest.raises(LoginRequired) as after_restart:
        await new_source().get()
    assert control.counts().of("issuer") == 1
    assert over.value.reason == after_restart.value.reason == "refresh_token_invalidated"
    assert over.value.since == after_restart.value.since
    assert source.status().state == "login_required"


async def test_a_new_sign_in_ends_it(source: TokenSource, sign_in: SignIn, control: Control) -> None:
    sign_in(**EXPIRED)
    control.revoke("refresh")
    with pytest.raises(LoginRequired):
        await source.get()
    sign_in(**EXPIRED)
    assert (await source.get()).bearer == control.current().access_token


async def test_a_token_that_still_works_outlives_its_refresh_token(
    source: TokenSource, sign_in: SignIn, control: Control, clock: Clock
) -> None:
    fields = sign_in(**STALE)
    control.revoke("refresh")
    assert (await source.get()).bearer == fields["tokens"]["access_token"]
    assert source.status().state == "login_required"
    clock.offset = 101
    with pytest.raises(LoginRequired):
        await source.get()


async def test_a_document_without_refresh_token_works_until_it_does_not(
    source: TokenSource, account: AccountFile, clock: Clock
) -> None:
    now = clock()
    access = mint_jwt(iat=now, exp=now + HOUR)
    account.path.write_text(json.dumps({"tokens": {"access_token": access}}))
    clock.offset = HOUR - 10
    credential = await source.get()
    assert credential.bearer == access
    with pytest.raises(LoginRequired, match="its file holds no refresh token"):
        await source.renew(credential)
    clock.offset = HOUR + 1
    with pytest.raises(LoginRequired):
        await source.get()


async def test_after_a_lost_race_the_winners_token_is_taken(
    source: TokenSource, sign_in: SignIn, account: AccountFile, issuer: Issuer, control: Control
) -> None:
    """The CLI redeems without the lock, then waits for it to write: the refusal that we get is no verdict."""
    fields = sign_in(**EXPIRED)
    spent = AuthDocument.parse(json.dumps(fields).encode())
    grant = await issuer.refresh(fields["tokens"]["refresh_token"], "forced")
    assert isinstance(grant, TokenGrant)

    async def write_as_the_cli() -> None:
        await asyncio.sleep(0.05)
        async with account.locked(10):
            await account.save(spent.refreshed(grant, time.time()))

    writing = asyncio.get_running_loop().create_task(write_as_the_cli(), name="the CLI")
    control.fault("token", delay=0.2)
    assert (await source.get()).bearer == grant.access_token
    assert control.counts().refreshes == 2
    assert control.counts().reuses == 1
    await writing


# -- several processes


def actor(*arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.auth.actors", *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


async def test_several_processes_are_one_refresh(sign_in: SignIn, account: AccountFile, fake: FakeOpenAI) -> None:
    sign_in(**EXPIRED)
    fake.control.fault("token", delay=0.3)
    actors = [actor("get", str(account.path), fake.issuer_url) for _ in range(3)]
    printed = {process.communicate(timeout=30)[0].strip() for process in actors}
    assert printed == {fake.control.current().access_token}
    assert fake.control.counts().refreshes == 1


@pytest.mark.skipif(sys.platform == "win32", reason="flock")
async def test_while_another_process_holds_the_locks(
    account: AccountFile, issuer: Issuer, sign_in: SignIn, control: Control
) -> None:
    fields = sign_in(**STALE)
    source = TokenSource(account, issuer, lock_timeout=0.2)
    with actor("hold", str(account.path)) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        assert (await source.get()).bearer == fields["tokens"]["access_token"]
        holder.kill()
    assert control.counts().of("issuer") == 0
    assert "holds" in source.status().problem


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="fork")
async def test_kill_9_at_any_instant_leaves_a_file_with_a_token_that_is_good_or_the_one_before(
    sign_in: SignIn, account: AccountFile, fake: FakeOpenAI
) -> None:
    chance = random.Random(0)
    rotations = broken = 0
    sign_in(**EXPIRED)
    with actor("churn", str(account.path), fake.issuer_url) as churn:
        assert churn.stdin is not None and churn.stdout is not None
        for _ in range(200):
            churn.stdin.write(f"{chance.uniform(0.02, 0.12)}\n")
            churn.stdin.flush()
            assert churn.stdout.readline() == "killed\n"
            minted = fake.control.tokens("refresh")
            token = on_disk(account).refresh_token
            assert token in minted[-2:]
            if token != minted[-1]:
                broken += 1
                rotations += len(minted)
                fake.control.reset()
                sign_in(**EXPIRED)
        churn.stdin.close()
        assert churn.wait(10) == 0
    # Otherwise the kills did not fall where it matters.
    assert rotations > 200
    assert broken > 10


# -- cancellation


async def test_a_caller_that_is_cancelled_loses_nothing(
    source: TokenSource, sign_in: SignIn, account: AccountFile, control: Control
) -> None:
    sign_in(**EXPIRED)
    control.fault("token", delay=0.2)
    getting = asyncio.get_running_loop().create_task(source.get(), name="get")
    await asyncio.sleep(0.1)
    getting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await getting
    await source.aclose()
    assert on_disk(account).refresh_token == control.current().refresh_token
    assert (await source.get()).bearer == control.current().access_token
    assert control.counts().refreshes == 1


async def test_a_failure_that_nobody_waits_for_is_not_reported_as_forgotten(
    source: TokenSource, sign_in: SignIn, control: Control, caplog: pytest.LogCaptureFixture
) -> None:
    sign_in(**EXPIRED)
    control.fault("token", do={"delay": 0.2, "status": 500})
    getting = asyncio.get_running_loop().create_task(source.get(), name="get")
    await asyncio.sleep(0.1)
    getting.cancel()
    await asyncio.wait([getting])
    await source.aclose()
    assert "never retrieved" not in caplog.text


# -- a disk that does not take it: in a mount namespace of a process of its own, see test_full_disk.py


# -- secrets


async def test_no_secret_is_ever_shown(
    source: TokenSource,
    sign_in: SignIn,
    account: AccountFile,
    control: Control,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []

    async def attempt() -> None:
        try:
            shown.append(repr(await source.get()))
        except AuthError as error:
            shown.append(f"{error!r} {error} {vars(error)} {error.__cause__!r} {error.__context__!r}")
        shown.append(repr(source.status()) + repr(vars(source)))

    sign_in(**EXPIRED)
    for effect in ({"status": 500, "body": {"error": "SENTINEL sentence"}}, {"lose_answer": True}):
        control.fault("token", effect)
        await attempt()
        clock.offset += 100
    await attempt()
    sign_in(**EXPIRED)
    await attempt()
    await attempt()
    shown.append(account.path.with_name("codex-mitm.json").read_text())
    text = "\n".join(shown) + caplog.text
    assert "login_required" in text and "refreshed, good until" in text
    assert "SENTINEL" not in text
    assert [token for token in control.tokens() if token in text] == []


async def test_the_status_tells_people_what_they_ask(
    source: TokenSource, sign_in: SignIn, control: Control, account: AccountFile
) -> None:
    assert source.status().state == "unknown"
    sign_in(plan="pro")
    await source.get()
    status = source.status()
    assert (status.name, status.where, status.kind) == ("work", str(account.path), "chatgpt")
    assert (status.email, status.plan, status.problem) == ("user@example.com", "pro", "")
    assert status.validity.ends_at == pytest.approx(time.time() + 10 * DAY, abs=5)


# In a process of its own: what this is against goes round without ever letting go of the event loop, and of the test.
AT_ONCE = """
import asyncio, sys
from pathlib import Path
from auth.errors import TryAgainLater
from auth.issuer import Issuer
from auth.outbound import Outbound
from auth.source import TokenSource
from auth.store import AccountFile

async def main():
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # mitmproxy's
    source = TokenSource(AccountFile(Path(sys.argv[1])), Issuer("http://127.0.0.1:1", Outbound.from_env({}), "test"))
    credential = await source.get()
    await source.refresh_ahead()  # there is nothing to do: it waits for nothing
    try:
        await source.renew(credential)
    except TryAgainLater:
        print("asked the issuer")

asyncio.run(main())
"""


def test_who_needs_more_does_not_wait_for_what_is_over(account: AccountFile, sign_in: SignIn) -> None:
    sign_in()
    ended = subprocess.run([sys.executable, "-c", AT_ONCE, str(account.path)], cwd=ROOT, timeout=30, capture_output=True, text=True)
    assert ended.stdout.split("\n")[0] == "asked the issuer", ended.stderr
