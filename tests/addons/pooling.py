"""What the tests of the pool share: accounts, verdicts, and a choice that must be one."""

from collections.abc import Collection, Sequence

from addons.pool import Choice, Nobody, Pool, Rules
from addons.pool.strategies import Member, Strategy
from addons.wire.quota import Quota, Window
from addons.wire.verdict import Blame, Verdict

NOW = 1_800_000_000.0
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

ALICE, BOB, CAROL = Member("alice"), Member("bob"), Member("carol")
THREE = (ALICE, BOB, CAROL)


def pool_with(strategy: Strategy = "fill-first", affinity: bool = True) -> Pool:
    return Pool(Rules(strategy, affinity))


def verdict(blame: Blame, wait: float | None = None, resets_at: float | None = None) -> Verdict:
    """`sign_in` is one that is dead; a token that a new one can take the place of is not `elsewhere`."""
    return Verdict(blame, retry=True, elsewhere=blame == "sign_in", wait=wait, resets_at=resets_at, reason=f"{blame} trouble")


def plan(resets_at: float | None = None) -> Verdict:
    return verdict("plan", resets_at=resets_at)


def used(percent: float, at: float, resets_at: float | None = None) -> Quota:
    """Told at that moment, of a window of five hours."""
    return Quota(at, {"5h": Window(300, percent, at + 5 * HOUR if resets_at is None else resets_at, at)})


def choose(
    pool: Pool,
    members: Sequence[Member] = THREE,
    *,
    at: float,
    keys: Sequence[str] = (),
    tried: Collection[str] = (),
    roll: float = 0.0,
) -> Choice:
    choice = pool.choose(members, keys=keys, tried=tried, now=at, roll=roll)
    assert isinstance(choice, Choice), str(choice)
    return choice


def nobody(pool: Pool, members: Sequence[Member] = THREE, *, at: float, tried: Collection[str] = ()) -> Nobody:
    found = pool.choose(members, tried=tried, now=at, roll=0.0)
    assert isinstance(found, Nobody), str(found)
    return found


def fail(pool: Pool, name: str, why: Verdict, *, at: float, sent_at: float | None = None) -> None:
    """A request to that account, refused: sent and answered in the same moment, or sent before."""
    pool.view([Member(name)], at)
    pool.failed(Choice(name, "", at if sent_at is None else sent_at), why, at)


def succeed(pool: Pool, name: str, *, at: float, sent_at: float | None = None) -> None:
    pool.succeeded(Choice(name, "", at if sent_at is None else sent_at), at)


def state(pool: Pool, name: str, at: float) -> str:
    return pool.view([Member(name)], at)[0].state
