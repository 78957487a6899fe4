"""TokenSource: the one place that hands out a bearer.

    get()   file unchanged, token not stale -----------------------------------> cached
      else one flight, which whoever asks meanwhile joins:
            re-read the file; good enough? ------------------------------------> adopt
            take the lock, re-read; another process was faster? ---------------> adopt
            POST -> save (fsync, rename) -> and only then hand out ------------> refreshed

Rules that the code below keeps:

* A refresh token is single use. It is spent by one POST, under a lock that every process on this file respects, and its
  successor is on disk before anyone sees the access token that came with it.
* It is not spent while its successor could not be saved, unless the present access token is of no use any more. Then the new
  tokens live in memory, loudly, and saving is tried again; a file that somebody else changed wins over memory.
* A store that several machines share is told before a token is spent, and how that ended. It refuses while somebody's request may
  be under way, and for good if somebody was lost with the answer (`account_in_redis`).
* The Codex CLI redeems without the lock and takes it only to write. So a refusal by the issuer is not the end until the lock
  was let go and the file has had a moment to change.
* A refusal is remembered in the sidecar, by the token's fingerprint: a dead token is never sent again, after a restart neither.
* A flight is its own task. A caller that is cancelled leaves it; the answer, with the rotated token in it, is kept.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Hashable
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from auth.authjson import API_KEY
from auth.backoff import BackOff
from auth.credential import Credential as Credential
from auth.credential import Held, Need, hold
from auth.errors import (
    AccountFileError,
    AuthError,
    LoginRequired,
    NotSignedIn,
    Overtaken,
    RedisAway,
    SaveFailed,
    TokenRejected,
    TryAgainLater,
)
from auth.grants import Refused, TokenGrant
from auth.issuer import TOTAL_TIMEOUT, Issuer
from auth.sidecar import Memory, fingerprint
from auth.store import AccountStore
from auth.tokens import Validity

logger = logging.getLogger(__name__)

# A token that was fetched because another was refused, and is refused this soon, is not the trouble: another refresh would only
# burn refresh tokens. For the same time a token just refreshed passes for fresh, whatever its own times say.
MIN_INTERVAL = 10.0
# Whoever holds the lock may be in the middle of a refresh, which ends within TOTAL_TIMEOUT.
LOCK_TIMEOUT = TOTAL_TIMEOUT + 10
# How long a CLI that redeemed first may take to write what it got, once our lock does not keep it from doing so.
WRITER_PATIENCE = 2.0
WRITER_POLL = 0.05

# A token that is good as things are.
_NOW = Need()

MIN_NAP, MAX_NAP, UNSAVED_NAP = 1.0, 60.0, 5.0

type State = Literal["unknown", "ok", "trouble", "login_required", "not_signed_in"]


class AccountStatus(NamedTuple):
    """For status lines and pages; no field holds a secret. Times are epoch seconds on the local clock."""

    name: str
    where: str
    state: State
    problem: str = ""
    kind: str = ""
    email: str | None = None
    plan: str | None = None
    last_refresh: float | None = None
    validity: Validity = Validity()
    memory: Memory = Memory()


class _Flight(NamedTuple):
    need: Need
    task: asyncio.Task[Held]

    def covers(self, need: Need) -> bool:
        """Whoever rejects a token needs a flight that knows of it; everybody else takes what the flight brings."""
        return need.rejected in (None, self.need.rejected)


class TokenSource:
    """The credential of one account, for any number of callers in one event loop. The issuer stays the caller's to close."""

    def __init__(
        self,
        store: AccountStore,
        issuer: Issuer,
        *,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
        min_interval: float = MIN_INTERVAL,
        lock_timeout: float = LOCK_TIMEOUT,
        writer_patience: float = WRITER_PATIENCE,
    ) -> None:
        self._store = store
        self._issuer = issuer
        self._clock = clock
        self._jitter = jitter
        self._min_interval = min_interval
        self._lock_timeout = lock_timeout
        self._writer_patience = writer_patience
        self._flight: _Flight | None = None
        # The rest is written by the flight only, and there is one flight at a time.
        self._held: Held | None = None
        self._memory = Memory()
        self._memory_is_kept = True
        self._back_off = BackOff()
        self._renewed = "", 0.0
        self._outcome: tuple[State, str] = ("unknown", "")

    @property
    def name(self) -> str:
        return self._store.name

    def stamp(self) -> Hashable:
        """Changes whenever somebody may have signed in anew, and with every refresh."""
        return self._store.stamp()

    async def get(self, seen: Hashable = None) -> Credential:
        """A credential that is good now. `seen` is the stamp, for who has just looked at it. Raises NotSignedIn, AccountFileError,
        LoginRequired or TryAgainLater."""
        held = self._held
        if held is not None and self._is_cached(held, seen or self._store.stamp()):
            return held.credential
        return (await self._settle(Need())).credential

    async def renew(self, rejected: Credential) -> Credential:
        """Another credential than the one that an upstream answered with 401: from the file if it has one, else refreshed.

        Raises TokenRejected if the rejected token is itself fresh, and whatever `get` raises.
        """
        held = await self._settle(Need(rejected=rejected.bearer))
        if held.credential.bearer == rejected.bearer:
            raise TokenRejected(self.name)
        return held.credential

    async def refresh_ahead(self) -> float:
        """Refreshes early, so that requests need not wait. Returns the seconds to sleep until the next call.

        Trouble is logged and shown by `status`; it is raised where somebody needs the token, in `get`.
        """
        try:
            held = await self._settle(Need(ahead=True))
        except AuthError:
            return self._nap(MAX_NAP)
        if held.spent is not None:
            return UNSAVED_NAP
        until_due = held.validity.ahead_at - self._clock()
        return self._nap(until_due if until_due > 0 else MAX_NAP)

    def status(self) -> AccountStatus:
        """As of the last call that looked: no file is read."""
        state, problem = self._outcome
        status = AccountStatus(self.name, self._store.where, state, problem, memory=self._memory)
        if self._held is None:
            return status
        document = self._held.document
        return status._replace(
            kind=document.kind,
            email=document.claims.email,
            plan=document.access_claims.plan or document.claims.plan,
            last_refresh=document.last_refresh,
            validity=self._held.validity,
        )

    async def aclose(self) -> None:
        """Waits for a refresh that is under way: its answer may be the only copy of a rotated token."""
        if self._flight is not None:
            await asyncio.wait([self._flight.task])

    def _is_cached(self, held: Held, stamp: Hashable) -> bool:
        if held.stamp != stamp or not self._is_enough(held, _NOW):
            return False
        return self._flight is None or self._flight.need.rejected != held.credential.bearer

    def _is_enough(self, held: Held, need: Need) -> bool:
        now = self._clock()
        if need.is_met_by(held, now):
            return True
        if held.credential.bearer == need.rejected:
            return self._is_renewal(need.rejected, now)
        # With clocks days apart a token looks stale from birth.
        return held.was_refreshed_within(self._min_interval, now)

    def _is_renewal(self, bearer: str, now: float) -> bool:
        """This very token came in place of a refused one, moments ago. One that a sign-in brought may be refused and renewed."""
        renewed, at = self._renewed
        return bearer == renewed and 0 <= now - at < self._min_interval

    def _nap(self, seconds: float) -> float:
        return min(MAX_NAP, max(MIN_NAP, self._back_off.remaining(self._clock()) or seconds))

    # -- the flight

    async def _settle(self, need: Need) -> Held:
        while True:
            flight = self._flight
            # One that is over has landed, even if the event loop has not said so yet: to wait for it is no wait, and this would go
            # round for ever. A store that fails at once (Redis is away) brings that about.
            if flight is None or flight.task.done():
                flight = self._take_off(need)
            held = await asyncio.shield(flight.task)
            if flight.covers(need):
                return held

    def _take_off(self, need: Need) -> _Flight:
        task = asyncio.get_running_loop().create_task(self._fly(need), name=f"auth: account {self.name}")
        task.add_done_callback(self._land)
        self._flight = _Flight(need, task)
        return self._flight

    def _land(self, task: asyncio.Task[Held]) -> None:
        if self._flight and self._flight.task is task:
            self._flight = None
        if not task.cancelled():
            task.exception()  # every caller may have left; unasked, asyncio would report it as forgotten

    async def _fly(self, need: Need) -> Held:
        try:
            held = await self._bring(need)
        except AuthError as error:
            self._outcome = _state_of(error), str(error)
            return self._make_do(need, error)
        self._back_off = BackOff()
        self._outcome = (
            ("ok", "") if held.spent is None else ("trouble", f"a rotated token is not saved, {self._memory.unsaved_why}")
        )
        return held

    async def _bring(self, need: Need) -> Held:
        held = await self._reread()
        if need.ahead and held.spent is not None:
            held = await self._save_again(held)
        return held if self._is_enough(held, need) else await self._refresh(held, need)

    def _make_do(self, need: Need, error: AuthError) -> Held:
        """The present token, if the trouble is only that it could not be replaced early."""
        held = self._held
        if isinstance(error, TryAgainLater | LoginRequired) and held and need.can_do_with(held, self._clock()):
            return held
        raise error

    # -- the file

    async def _reread(self) -> Held:
        try:
            self._held = await self._compared(self._held)
        except NotSignedIn:
            self._held, self._memory = None, Memory()  # somebody logged out: nothing of the account stays in use
            raise
        return self._held

    async def _compared(self, held: Held | None) -> Held:
        """`held` if the file has not changed since, else what the file says; what only memory knows goes on top of it."""
        stamp = self._store.stamp()  # before reading: if the file changes in between, the next comparison sees it
        if held is not None and held.stamp == stamp:
            return held
        document = await self._store.read()
        self._memory, self._memory_is_kept = await self._store.recall(), True
        if held is not None and held.spent is not None and document.refresh_token == held.spent:
            return hold(self.name, held.on_top_of(document), stamp, held.spent)
        return hold(self.name, document, stamp)

    # -- the refresh

    async def _refresh(self, held: Held, need: Need) -> Held:
        self._spendable(held)
        if remaining := self._back_off.remaining(self._clock()):
            raise TryAgainLater(self._back_off.why, remaining)
        try:
            return await self._redeem_or_wait(need)
        except RedisAway:
            raise  # no trouble of the issuer's, which need not be spared for it
        except TryAgainLater as error:
            raise await self._note_failure(error) from error

    async def _redeem_or_wait(self, need: Need) -> Held:
        try:
            return await self._redeem(need)
        except LoginRequired:
            if not await self._file_moves_on():
                raise
        return await self._redeem(need)

    async def _redeem(self, need: Need) -> Held:
        async with self._store.locked(self._lock_timeout):
            held = await self._reread()
            if self._is_enough(held, need):
                return held
            self._memory = await self._recall()
            refresh_token = self._spendable(held)
            await self._check_room(held, need)
            await self._note(last_attempt=self._clock())
            if doubt := await self._store.announce(refresh_token):
                raise await self._bury(refresh_token, doubt)
            outcome = await self._spend(refresh_token, need)
            if isinstance(outcome, Refused):
                refusal = await self._bury(refresh_token, outcome.code)
                await self._store.take_back(answered=True)
                raise refusal
            kept = await self._keep(held, outcome)
            if need.rejected is not None:
                self._renewed = kept.credential.bearer, self._clock()
            return kept

    async def _spend(self, refresh_token: str, need: Need) -> TokenGrant | Refused:
        try:
            return await self._issuer.refresh(refresh_token, need.reason)
        except TryAgainLater as error:
            await self._store.take_back(answered=not error.unanswered)
            raise

    def _spendable(self, held: Held) -> str:
        now = self._clock()
        refresh_token = held.document.refresh_token
        if held.document.kind == API_KEY:
            raise LoginRequired(self.name, "its API key is refused", now)
        if refresh_token is None:
            raise LoginRequired(self.name, "its file holds no refresh token", min(now, held.validity.ends_at))
        if self._memory.is_dead(refresh_token):
            raise LoginRequired(self.name, self._memory.dead_reason, self._memory.dead_since)
        return refresh_token

    async def _check_room(self, held: Held, need: Need) -> None:
        why = await self._store.probe_writable()
        if why and need.can_do_with(held, self._clock()):
            raise TryAgainLater(f"{self._store.where} cannot be written ({why}) and its token still works")

    async def _keep(self, held: Held, grant: TokenGrant) -> Held:
        """`fresh` is the only copy of the tokens until it is in the file."""
        spent = held.spent or held.document.refresh_token
        fresh = hold(self.name, held.document.refreshed(grant, self._clock()), held.stamp, spent)
        kept = await self._save(fresh)
        logger.info("account %s: refreshed, good until %s", self.name, _clock_face(kept.validity.ends_at))
        return kept

    async def _save(self, fresh: Held) -> Held:
        """Under the lock. What somebody else put into the file meanwhile, lock or no lock, is kept."""
        try:
            fresh = await self._compared(fresh)
        except AccountFileError as error:
            logger.warning("account %s: %s; replaced with the tokens just received", self.name, error)
        except RedisAway:
            pass  # the next lines find out, and keep what they cannot save
        try:
            if fresh.spent is not None:
                fresh = hold(self.name, fresh.document, await self._store.save(fresh.document))
        except Overtaken:
            return await self._save(fresh)
        except SaveFailed as error:
            await self._note_unsaved(error)
        else:
            await self._note(last_error="", last_error_at=0.0, unsaved_why="", unsaved_since=0.0)
        self._held = fresh
        return fresh

    async def _save_again(self, held: Held) -> Held:
        async with self._store.locked(self._lock_timeout):
            held = await self._save(held)
        if held.spent is None:
            logger.info("account %s: memory and %s agree again", self.name, self._store.where)
        return held

    async def _file_moves_on(self) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._writer_patience
        while self._held is not None and self._store.stamp() == self._held.stamp:
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(WRITER_POLL)
        return True

    # -- what is remembered

    async def _recall(self) -> Memory:
        """Other processes note things too; where nothing can be written, what this one knows is all there is."""
        return await self._store.recall() if self._memory_is_kept else self._memory

    async def _note(self, **changes: str | float) -> None:
        self._memory = (await self._recall())._replace(**changes)  # type: ignore[arg-type]
        self._memory_is_kept = await self._store.remember(self._memory)

    async def _bury(self, refresh_token: str, reason: str) -> LoginRequired:
        now = self._clock()
        await self._note(dead_token=fingerprint(refresh_token), dead_reason=reason, dead_since=now)
        error = LoginRequired(self.name, reason, now)
        logger.error("%s", error)
        return error

    async def _note_failure(self, error: TryAgainLater) -> TryAgainLater:
        now = self._clock()
        self._back_off = self._back_off.after(error, now, self._jitter())
        await self._note(last_error=error.why, last_error_at=now)
        logger.warning("account %s: not refreshed, %s; again in %.0f s", self.name, error.why, self._back_off.seconds)
        return TryAgainLater(error.why, self._back_off.seconds)

    async def _note_unsaved(self, error: SaveFailed) -> None:
        if self._held is not None and self._held.spent is not None:
            return  # said so when it began
        logger.error("account %s: %s. The rotated token is in memory only and lost if this process ends", self.name, error)
        await self._note(unsaved_why=error.why, unsaved_since=self._clock())


def _state_of(error: AuthError) -> State:
    match error:
        case LoginRequired():
            return "login_required"
        case NotSignedIn():
            return "not_signed_in"
        case _:
            return "trouble"


def _clock_face(moment: float) -> str:
    try:
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError):
        return "it is refused"  # no exp in the token
