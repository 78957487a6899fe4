"""Whole lives of a pool: chance decides what happens, and whatever happens some things hold."""

import json
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from addons.pool import PROBE_SOON, Choice, Nobody, Pool, Rules
from addons.pool.affinity import KEEP_FOR, Homes
from addons.pool.health import PROBE_LOST
from addons.pool.memory import dump, load
from addons.pool.strategies import Member, Strategy
from addons.wire.quota import Credits, Quota, Window
from addons.wire.verdict import Blame, Verdict
from tests.addons.pooling import DAY, HOUR, MINUTE, NOW, plan, used, verdict

NAMES = ("alice", "bob", "carol", "dave")
KEYS = ("one", "two", "three", "four", "five")
FEW_HOMES = 3

strategies: st.SearchStrategy[Strategy] = st.sampled_from(["round-robin", "fill-first", "least-used"])
members = st.builds(Member, st.sampled_from(NAMES), st.integers(-1, 1), st.integers(1, 4))
durations = st.sampled_from([0.0, 0.1, 1.0, 5.0, 29.0, 31.0, 60.0, 300.0, HOUR, 6 * HOUR, 2 * DAY])
transient: list[Blame] = ["client", "upstream", "network", "pace"]
lasting: list[Blame] = ["plan", "pace", "blocked", "sign_in"]


class PoolLives(RuleBasedStateMachine):
    under_way = Bundle("under_way")

    @initialize(
        strategy=strategies, affinity=st.booleans(), of=st.lists(members, min_size=1, max_size=4, unique_by=lambda m: m.name)
    )
    def begin(self, strategy: Strategy, affinity: bool, of: list[Member]) -> None:
        self.now = NOW
        self.members = of
        self.pool = Pool(Rules(strategy, affinity))
        self.pool.homes = Homes(size=FEW_HOMES)
        self.home: dict[str, tuple[str, float]] = {}  # by key, as the pool should have it; the last FEW_HOMES of them
        self.hit: set[str] = set()  # accounts that were ever refused for more than a moment
        self.probes: list[Choice] = []

    def states(self) -> dict[str, str]:
        return {standing.name: standing.state for standing in self.pool.view(self.members, self.now)}

    @rule(
        target=under_way,
        keys=st.lists(st.sampled_from(KEYS), max_size=1),
        tried=st.sets(st.sampled_from(NAMES), max_size=3),
        roll=st.floats(0, 1, exclude_max=True),
    )
    def choose(self, keys: list[str], tried: set[str], roll: float) -> object:
        states = self.states()
        free = {name: state for name, state in states.items() if name not in tried}
        choice = self.pool.choose(self.members, keys=keys, tried=tried, now=self.now, roll=roll)
        if isinstance(choice, Nobody):
            assert not {"serving", "avoided"} & set(free.values()), "somebody could serve"
            assert tried or not set(states) - self.hit, "trouble of a moment takes no account away"
            assert {absence.name for absence in choice.absences} == set(states)
            assert all(absence.reason for absence in choice.absences)
            assert choice.until is None or choice.until >= self.now
            return multiple()
        assert choice.name in free and choice.why
        if choice.probe:
            assert free[choice.name] in ("avoided", "resting")
            self.probes.append(choice)
        elif "serving" in free.values():
            assert free[choice.name] == "serving"
        else:
            assert free[choice.name] == "avoided"
        self.check_affinity(keys, free, choice)
        self.pool.started(choice)
        return choice

    def check_affinity(self, keys: list[str], free: dict[str, str], choice: Choice) -> None:
        for key in keys if self.pool.rules.affinity else ():
            name, used_at = self.home.get(key, ("", 0.0))
            is_known = bool(name) and self.now - used_at < KEEP_FOR
            if is_known and free.get(name) == "serving":
                assert choice.probe or choice.name == name, "affinity holds while the account serves"
                assert not choice.moves
            elif is_known and choice.name != name:
                assert choice.moves == (key,), "it moves once it is served elsewhere"
                continue
            if choice.name == name or not is_known:
                self.settle(key, choice.name)

    def settle(self, key: str, name: str) -> None:
        self.home.pop(key, None)
        self.home[key] = name, self.now
        self.home = dict(list(self.home.items())[-FEW_HOMES:])

    @rule(choice=under_way)
    def succeed(self, choice: Choice) -> None:
        self.pool.succeeded(choice, self.now)
        if choice.name in self.pool.accounts:
            for key in choice.moves:
                self.settle(key, choice.name)
        self.over(choice)

    @rule(choice=under_way, blame=st.sampled_from(transient))
    def stumble(self, choice: Choice, blame: Blame) -> None:
        self.pool.failed(choice, verdict(blame), self.now)
        self.over(choice)

    @rule(choice=under_way, blame=st.sampled_from(lasting), wait=durations, is_reset_told=st.booleans())
    def refuse(self, choice: Choice, blame: Blame, wait: float, is_reset_told: bool) -> None:
        why = plan(self.now + wait) if is_reset_told and blame == "plan" else verdict(blame, wait=wait)
        self.pool.failed(choice, why, self.now)
        self.hit.add(choice.name)
        self.over(choice)

    @rule(choice=consumes(under_way))
    def end(self, choice: Choice) -> None:
        self.pool.ended(choice)
        self.over(choice)

    def over(self, choice: Choice) -> None:
        self.probes = [probe for probe in self.probes if probe is not choice]

    @rule(
        name=st.sampled_from(NAMES),
        percent=st.sampled_from([0, 50, 99, 100]),
        minutes=st.sampled_from([300, 10080]),
        reached=st.none() | st.booleans(),
        has_credits=st.booleans(),
        age=durations,
    )
    def hear(self, name: str, percent: float, minutes: int, reached: bool | None, has_credits: bool, age: float) -> None:
        at = self.now - age
        window = Window(minutes, percent, at + minutes * 60, at)
        self.pool.heard(
            name, Quota(at, {window.kind: window}, credits=Credits(has_credits, False, None), limit_reached=reached), self.now, at
        )

    @rule(seconds=durations)
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(name=st.sampled_from(NAMES))
    def sign_in(self, name: str) -> None:
        self.pool.sign_in_changed(name, self.now)

    @rule(of=st.lists(members, min_size=1, max_size=4, unique_by=lambda m: m.name))
    def change_the_policy(self, of: list[Member]) -> None:
        self.members = of
        names = {member.name for member in of}
        self.pool.keep(names)
        self.hit &= names
        self.home = {key: home for key, home in self.home.items() if home[0] in names}
        self.probes = [probe for probe in self.probes if probe.name in names]

    @rule(rolls=st.lists(st.floats(0, 1, exclude_max=True), max_size=5))
    def restart(self, rolls: list[float]) -> None:
        """The one after it decides as the one before it would have; both are asked the same."""
        for account in self.pool.accounts.values():
            account.in_flight, account.probe_sent_at, account.signed_out = 0, None, ""
        twin = load(json.loads(json.dumps(dump(self.pool))), self.now, self.pool.rules)
        twin.homes._size = FEW_HOMES
        self.probes = []
        for n, roll in enumerate(rolls):
            keys = [KEYS[n]]
            mine, its = (pool.choose(self.members, keys=keys, now=self.now, roll=roll) for pool in (self.pool, twin))
            assert mine == its
            if isinstance(mine, Choice):
                self.check_affinity(keys, self.states(), mine)
                for key in mine.moves:
                    self.settle(key, mine.name)
                for pool in (self.pool, twin):
                    pool.succeeded(mine, self.now)
        assert twin.view(self.members, self.now) == self.pool.view(self.members, self.now)
        self.pool = twin

    @invariant()
    def one_probe_at_a_time(self) -> None:
        count = Counter(probe.name for probe in self.probes if self.now - probe.at < PROBE_LOST)
        assert not count or max(count.values()) == 1

    @invariant()
    def memory_is_bounded(self) -> None:
        assert len(self.pool.homes) <= FEW_HOMES and len(self.pool.accounts) <= len(NAMES)
        assert all(abs(account.turn) <= 100 for account in self.pool.accounts.values())

    def teardown(self) -> None:
        """No account is lost for ever."""
        if not hasattr(self, "pool"):
            return
        self.now += 32 * DAY
        for member in self.members:
            self.pool.sign_in_changed(member.name, self.now)
            choice = self.pool.choose([member], now=self.now, roll=0.0)
            assert isinstance(choice, Choice) and not choice.probe


PoolLives.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)
TestPoolLives = PoolLives.TestCase


# -- a simulation


@dataclass
class Upstream:
    """The truth about one account, which the pool can only find out."""

    exhausted_until: float = 0.0
    paced_until: float = 0.0
    blocked_until: float = 0.0
    whole_since: float = 0.0  # since when nothing lasting is wrong
    used: float = 0.0

    def trouble(self, now: float) -> Verdict | None:
        if now < self.exhausted_until:
            return plan(NOW + 40 * DAY)  # what it says of its end is wrong: it will come back early
        if now < self.blocked_until:
            return verdict("blocked")
        return verdict("pace", wait=self.paced_until - now) if now < self.paced_until else None

    def happens(self, chance: random.Random, now: float) -> None:
        if self.trouble(now):
            self.whole_since = now
        elif chance.random() < 0.001:
            kind = chance.choice(["exhausted", "paced", "blocked"])
            setattr(self, f"{kind}_until", now + chance.choice([20, 100, 1000, 5000]))
            self.used = 0.0
            self.whole_since = now


@dataclass
class Ledger:
    served: int = 0
    failed: int = 0
    refused_by_plan: int = 0
    exhausted_for: float = 0.0
    exhaustions: int = 0
    moved_without_need: int = 0
    home: dict[str, str] = field(default_factory=dict)


@pytest.mark.parametrize("strategy", ["round-robin", "fill-first", "least-used"])
def test_ten_thousand_requests_to_three_accounts(strategy: Strategy) -> None:
    fate, chance = random.Random("the same for each strategy"), random.Random(strategy)
    pool, now, ledger = Pool(Rules(strategy)), NOW, Ledger()
    three = [Member(name) for name in NAMES[:3]]
    world = {member.name: Upstream() for member in three}
    for _ in range(10_000):
        step = fate.choice([0.0, 0.1, 1.0, 5.0, 20.0])
        for account in world.values():
            before = now < account.exhausted_until
            account.happens(fate, now + step)
            ledger.exhaustions += now + step < account.exhausted_until and not before
            ledger.exhausted_for += step if before else 0
        now += step
        one_request(pool, three, world, now, chance, ledger)
    assert ledger.served > 9_000 and ledger.served + ledger.failed == 10_000
    assert ledger.moved_without_need == 0
    # Each exhaustion is run into once, and then asked about by probes.
    assert ledger.exhaustions > 10 and ledger.refused_by_plan <= ledger.exhaustions + ledger.exhausted_for / PROBE_SOON
    assert all(account.in_flight == 0 and account.probe_sent_at is None for account in pool.accounts.values())


def one_request(
    pool: Pool, members: list[Member], world: dict[str, Upstream], now: float, chance: random.Random, ledger: Ledger
) -> None:
    key = f"conversation {chance.randrange(40)}"
    tried: list[str] = []
    serving = {standing.name for standing in pool.view(members, now) if standing.state == "serving"}
    while True:
        choice = pool.choose(members, keys=[key], tried=tried, now=now, roll=chance.random())
        if isinstance(choice, Nobody):
            break
        assert choice.name not in tried
        pool.started(choice)
        home = ledger.home.get(key)
        if not tried and home in serving and not choice.probe:
            ledger.moved_without_need += choice.name != home
        account = world[choice.name]
        trouble = account.trouble(now) or (verdict(chance.choice(["upstream", "network"])) if chance.random() < 0.03 else None)
        if trouble:
            pool.failed(choice, trouble, now)
            ledger.refused_by_plan += trouble.blame == "plan"
        else:
            account.used = min(99.0, account.used + 0.05)
            pool.heard(choice.name, used(account.used, now), now, choice.at)
            pool.succeeded(choice, now)
        pool.ended(choice)
        if home is None or (choice.moves and not trouble):
            ledger.home[key] = choice.name
        if not trouble:
            ledger.served += 1
            return
        tried.append(choice.name)
    ledger.failed += 1
    # Whoever has been whole for long enough to be found out was asked: a minute, and the longest silence between two requests.
    enough = MINUTE + 20
    missed = {name for name, account in world.items() if not account.trouble(now) and now - account.whole_since > enough}
    assert missed <= set(tried), f"{missed - set(tried)} could have served"
