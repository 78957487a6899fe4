"""What upstream said of the accounts: what one proxy learns, the others know within a second.

An account is a handful of facts, each with the time at which it was learned: its cooldown, its plan, each window of it. Each proxy
looks what its own pool has learned, pins that to the board, and puts into its pool what others have pinned. Where conversations are
at home goes the same way. Not what is under way, nor whose turn it is; that a sign-in is dead each finds out when it asks for the
token.

At most one of them sends a probe to an account at a time.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import orjson

from addons.pool import MAX_ACCOUNTS, Pool, memory
from addons.pool.affinity import SIZE
from addons.pool.health import CLOCK_SLACK, Account
from addons.shared.board import Board
from addons.shared.facts import Fact, Facts, after
from addons.shared.line import Away, Line, lua
from addons.shared.presence import Presence

LEASE = lua("lease")

# Milliseconds. A proxy that dies with a probe under way keeps the others from asking for this long.
PROBE_LEASE = 15_000
# Health, failure, probe, decision, plan, credits; and windows and families, of which plans have two or three.
FACTS_EACH = 16
NOTHING = b"null"
# Members of a quota that stand for themselves, by the fact that they are part of.
OF_QUOTA = {"decision": ("heard_at", "limit_reached", "back_at"), "plan": ("plan",), "credits": ("credits",)}


def facts_of(account: Account) -> Iterator[tuple[str, float, Any]]:
    """What it is called, when it was learned, and the value."""
    told = memory.written(account)
    yield "health", account.told_at, {"cooling": told["cooling"], "failures": told["failures"]}
    if last := told["last_failure"]:
        yield "failure", last["at"], last
    if account.probed_at:
        yield "probe", account.probed_at, account.probed_at
    if quota := told["quota"]:
        for fact, members in OF_QUOTA.items():
            if any(quota[member] is not None for member in members):
                yield fact, quota["heard_at"], {member: quota[member] for member in members}
        for kind, window in quota["windows"].items():
            yield f"window {kind}", window["heard_at"], window
        for limit, family in quota["others"].items():
            heard_at = max((window["heard_at"] for window in family["windows"].values()), default=quota["heard_at"])
            yield f"family {limit}", heard_at, family


def account_of(name: str, facts: Mapping[str, Any], now: float) -> Account:
    """An account of which only the facts are known. Values that make no sense are as if they had not been there."""
    told: dict[str, Any] = {**(facts.get("health") or {}), "last_failure": facts.get("failure"), "probed_at": facts.get("probe")}
    if facts.get("decision"):
        told["quota"] = {member: value for fact in OF_QUOTA for member, value in (facts.get(fact) or {}).items()}
        for members, prefix in (("windows", "window "), ("others", "family ")):
            told["quota"][members] = {fact.removeprefix(prefix): value for fact, value in facts.items() if fact.startswith(prefix)}
    # A clock that is ahead of this one by seconds is no reason to doubt what it says.
    return memory.account_of(name, told, now + CLOCK_SLACK)


class Roster(Protocol):
    """The accounts that this proxy has. They may be files here and others elsewhere; of the same name they are the same."""

    pool: Pool

    @property
    def sources(self) -> Mapping[str, Any]:
        """By name."""


class SharedPool:
    def __init__(self, line: Line, presence: Presence, roster: Roster, clock: Callable[[], float] = time.time) -> None:
        self.line = line
        self.presence = presence
        self.roster = roster
        self.clock = clock
        self.accounts = Board(line, "accounts", MAX_ACCOUNTS * FACTS_EACH)
        self.homes = Board(line, "homes", SIZE)
        self.probing: set[str] = set()
        """Accounts that this proxy has the right to probe."""
        self._seen: dict[str, tuple[Account, Facts]] = {}
        """As the pool has them, with the times of the facts that they come from."""
        self._homes_seen: dict[str, tuple[str, float]] = {}

    async def exchange(self) -> None:
        """Raises Away."""
        self._look()
        self._look_at_homes()
        heard = await self.accounts.exchange()
        self._look()  # what was learned meanwhile is not to be lost under what the others say
        self._learn(heard)
        self._move_in(await self.homes.exchange())
        await self._keep_probes()

    async def may_probe(self, name: str) -> bool:
        """Whether no other proxy probes it at the moment. While Redis is away each proxy probes for itself."""
        try:
            is_mine = bool(await self._lease(name))
        except Away:
            return True
        if is_mine:
            self.probing.add(name)
        return is_mine

    def forget(self, name: str, since: float) -> None:
        """Somebody else has signed in under that name: what was known before is void, for everybody.

        Each proxy notices that when it next looks. What one has learned since stays, if another notices only now; what this
        proxy itself has said until now was of the account before.
        """
        known = self._known().get(name, {})
        void = {fact: each for fact, each in known.items() if each.at < since or each.by == self.presence.id}
        self.accounts.pin({full(fact, name): Fact(after(each, since), self.presence.id, NOTHING) for fact, each in void.items()})

    # -- out of the pool

    def _look(self) -> None:
        new: list[Account] = []
        for account in [self.roster.pool.account(name) for name in self.roster.sources]:
            whose, before = self._seen.get(account.name, (None, {}))
            if whose is account:
                self._look_at(account, before)
            else:
                # What it brings (from a file, perhaps) is as old as it says, and may be older than what is known.
                self._pin(account, {fact: told for fact, told in self._told(account).items() if told.at})
                new.append(account)
        self._seen = {name: seen for name, seen in self._seen.items() if name in self.roster.sources}
        known = self._known() if new else {}
        for account in new:
            self._put(account, known.get(account.name, {}))

    def _look_at(self, account: Account, before: Facts) -> None:
        told, now = self._told(account), self.clock()
        gone = {fact: Fact(now, self.presence.id, NOTHING) for fact in before if fact not in told}
        changed = {fact: each for fact, each in (told | gone).items() if fact not in before or before[fact].value != each.value}
        if changed:
            # Whatever this proxy changes, it changes knowing what was there before.
            later = {fact: each._replace(at=after(before.get(fact), each.at or now)) for fact, each in changed.items()}
            self._pin(account, later)
            self._seen[account.name] = account, {fact: each for fact, each in (before | later).items() if fact in told}

    def _told(self, account: Account) -> Facts:
        return {fact: Fact(at, self.presence.id, as_json(value)) for fact, at, value in facts_of(account)}

    def _pin(self, account: Account, facts: Facts) -> None:
        self.accounts.pin({full(fact, account.name): each for fact, each in facts.items()})

    def _look_at_homes(self) -> None:
        homes = {mark: (name, used_at) for mark, name, used_at in self.roster.pool.homes.entries()}
        moved = {mark: home for mark, home in homes.items() if self._homes_seen.get(mark) != home}
        self.homes.pin({mark: Fact(at, self.presence.id, as_json(name)) for mark, (name, at) in moved.items()})
        self._homes_seen = homes

    # -- into the pool

    def _learn(self, news: Facts) -> None:
        if not news:
            return
        known, names = self._known(), {name for name, _ in map(parts, news)}
        for name in names & self.roster.sources.keys():
            self._put(self.roster.pool.account(name), known[name])

    def _put(self, account: Account, known: Facts) -> None:
        found = account_of(account.name, {fact: orjson.loads(each.value) for fact, each in known.items()}, self.clock())
        account.cooling, account.failures, account.last_failure = found.cooling, found.failures, found.last_failure
        account.quota, account.probed_at = found.quota, found.probed_at
        account.told_at = known["health"].at if "health" in known else 0.0
        self._seen[account.name] = (
            account,
            {fact: each._replace(at=known[fact].at if fact in known else each.at) for fact, each in self._told(account).items()},
        )

    def _known(self) -> dict[str, Facts]:
        """By account."""
        found: dict[str, Facts] = {}
        for full_name, each in self.accounts.facts.items():
            name, fact = parts(full_name)
            found.setdefault(name, {})[fact] = each
        return found

    def _move_in(self, news: Facts) -> None:
        homes = self.roster.pool.homes
        here = {mark: used_at for mark, _, used_at in homes.entries()}
        for mark, fact in sorted(news.items(), key=lambda entry: entry[1]):
            name = orjson.loads(fact.value)
            if isinstance(name, str) and fact.at > here.get(mark, 0.0):
                homes.restore(mark, name, fact.at)
                self._homes_seen[mark] = name, fact.at

    # -- probes

    async def _keep_probes(self) -> None:
        """As long as they are under way. One that has ended is followed by a rest, and the others hear of that."""
        for name in list(self.probing):
            account = self.roster.pool.accounts.get(name)
            if account is None or account.probe_sent_at is None or not await self._lease(name):
                self.probing.discard(name)

    async def _lease(self, name: str) -> Any:
        return await self.line.run(LEASE, [self.line.key("probe", self.accounts.mark(name))], [self.presence.id, PROBE_LEASE])


def full(fact: str, name: str) -> str:
    return f"{fact}\t{name}"


def parts(full_name: str) -> tuple[str, str]:
    """Account and fact."""
    fact, _, name = full_name.partition("\t")
    return name, fact


def as_json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
