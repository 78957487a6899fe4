"""What is measured, B1 to B11. Contestants take turns round by round, so that each round's figures come from the same minute."""

import ssl
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from tests.bench.contestants import Contestant, Field, NotHere, as_a_user_has_it, bare, codex, haproxy, sharing_redis
from tests.bench.figures import Case, Figures
from tests.bench.load import PATH, Caller, Load, asking, called
from tests.bench.upstream import LONG

# Those that stand between a client and the same upstream, beside the way without any of them.
ALL = ("direct", "nginx", "bare mitmdump", "codex-mitm")
PYTHONS = ("direct", "bare mitmdump", "codex-mitm")

# Seconds after which the recorder has written what it has got.
SETTLE = 0.5


@dataclass(frozen=True)
class Effort:
    rounds: int = 5
    seconds: float = 0.5
    """Of one contestant in one round, where that is not the length of a stream."""
    loads: Sequence[int] = (1, 16, 64)
    streams: Sequence[int] = (1, 8, 32, 128)
    idle_streams: int = 500
    calls: int = 5_000
    """Of B7."""


@dataclass
class Bench:
    field: Field
    figures: Figures
    effort: Effort

    def present(self, names: Sequence[str]) -> list[Contestant]:
        found = []
        for name in names:
            try:
                found.append(self.field[name])
            except NotHere as lacking:
                self.figures.remark(lacking)
        return found


type Work = Callable[[Contestant], Load]
type Reading = Callable[[Load], dict[str, float]]


def in_turns(
    bench: Bench, case: Case, contestants: Sequence[Contestant], work: Work, read: Reading, rounds: int, words: int = 0
) -> None:
    """Processor time is taken from turn to turn, so that what a turn leaves for later is in it; by word, if it has `words`."""
    cost = "cpu_word" if words else "cpu"
    spent: dict[str, list[float]] = {each.name: [] for each in contestants}
    done: dict[str, list[int]] = {each.name: [] for each in contestants}
    for number in range(rounds):
        for each in contestants if number % 2 == 0 else reversed(contestants):
            spent[each.name].append(each.processor_time())
            load = work(each)
            done[each.name].append(len(load.latencies) * (words or 1))
            bench.figures.note(case, each.name, **read(load))
    time.sleep(SETTLE)
    for each in contestants:
        if each.pid:
            spent[each.name].append(each.processor_time())
            for (before, after), count in zip(pairwise(spent[each.name]), done[each.name], strict=True):
                bench.figures.note(case, each.name, **{cost: (after - before) / count})


def times(load: Load) -> dict[str, float]:
    ranked = sorted(load.latencies)
    return {"rate": load.rate, "p50": statistics.median(ranked), "p95": ranked[int(len(ranked) * 0.95)]}


def words(load: Load) -> dict[str, float]:
    delays = sorted(load.delays)
    return {
        "heard": len(delays),
        "words": len(delays) / load.seconds,
        "first": statistics.median(load.first_words),
        "delay": statistics.median(delays),
        "delay95": delays[int(len(delays) * 0.95)],
    }


@contextmanager
def warm(contestants: Sequence[Contestant], count: int, body: bytes) -> Iterator[dict[str, list[Caller]]]:
    """Connected clients, each of which has had an answer."""
    callers = {each.name: each.callers(count, body) for each in contestants}
    for some in callers.values():
        called(some, calls=count)
    try:
        yield callers
    finally:
        for caller in [caller for some in callers.values() for caller in some]:
            caller.close()


def closed_loop(bench: Bench, case: Case, names: Sequence[str], clients: int, body: bytes, *, is_fresh: bool = False) -> None:
    contestants = bench.present(names)
    with warm(contestants, clients, body) as callers:

        def work(each: Contestant) -> Load:
            if is_fresh:
                for caller in callers[each.name]:
                    caller.close()
            return called(callers[each.name], bench.effort.seconds, is_fresh=is_fresh)

        in_turns(bench, case, contestants, work, times, bench.effort.rounds)


def counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def small_calls(bench: Bench) -> None:
    for clients in bench.effort.loads:
        closed_loop(bench, Case("B1", counted(clients, "client"), clients), ALL, clients, asking("short", False))


def new_connections(bench: Bench) -> None:
    for clients in (1, 16):
        closed_loop(bench, Case("B2", counted(clients, "client"), clients), ALL, clients, asking("short", False), is_fresh=True)


def paced_streams(bench: Bench) -> None:
    for streams in bench.effort.streams:
        # 100 words a second in each, as long as one core can take them.
        paced = asking("paced-10" if streams <= 32 else "paced-20", True)
        contestants = bench.present((*ALL, "haproxy") if streams == 32 else PYTHONS)
        case = Case("B3", counted(streams, "stream"), streams)
        with warm(contestants, streams, asking("short", True)) as callers:
            for caller in [caller for some in callers.values() for caller in some]:
                caller.says(paced)

            def work(each: Contestant, callers: Mapping[str, Sequence[Caller]] = callers) -> Load:
                return called(callers[each.name], calls=len(callers[each.name]))

            in_turns(bench, case, contestants, work, words, min(bench.effort.rounds, 3), LONG)


def translated(bench: Bench) -> None:
    cases = (("8 words streamed", "short", True), ("8 words whole", "short", False), ("200 words streamed", "long", True))
    for name, word, is_streamed in cases:
        closed_loop(bench, Case("B4", name, 16), (*ALL, "no translation"), 16, asking(word, is_streamed))


def large_requests(bench: Bench) -> None:
    megabyte = 1 << 20
    bodies = {
        "1 MB in 40 turns": asking("short", False, turns=40, size=megabyte),
        "1 MB in 4000 turns": asking("short", False, turns=4000, size=megabyte),
        "4 MB in 400 turns": asking("short", False, turns=400, size=4 * megabyte),
        "30 tools": asking("short", False, tools=30),
    }
    for name, body in bodies.items():
        closed_loop(bench, Case("B5", name), PYTHONS, 1, body)


def idle_streams(bench: Bench) -> None:
    """The first fifth fills what is filled once and then used again; the others count."""
    streams = bench.effort.idle_streams
    first, body = streams // 5, asking("idle", True)
    for name in ("haproxy", "bare mitmdump", "codex-mitm"):
        with ExitStack() as stack:
            try:
                contestant = stack.enter_context(bench.field.starting(name))
            except NotHere as lacking:
                bench.figures.remark(lacking)
                continue
            callers = contestant.callers(streams, body)
            try:
                open_all(callers[:first])
                before = contestant.resident()
                open_all(callers[first:])
                each = (contestant.resident() - before) / (streams - first)
                bench.figures.note(Case("B6", counted(streams, "stream"), streams), name, memory=contestant.resident(), each=each)
            finally:
                for caller in callers:
                    caller.close()


def open_all(callers: Sequence[Caller]) -> None:
    """Until each has heard half of its answer, a word each 2 ms."""
    for caller in callers:
        caller.ask()
    for caller in callers:
        load = Load(time.monotonic())
        while len(load.delays) < LONG // 2:
            caller.receive(load)


def drift(bench: Bench) -> None:
    calls, clients = bench.effort.calls, 16
    tenth = calls // 10
    with bench.field.starting("codex-mitm") as contestant, warm([contestant], clients, asking("short", False)) as callers:
        sizes = []
        for _ in range(10):
            called(callers[contestant.name], calls=tenth)
            sizes.append(contestant.resident())
        case = Case("B7", f"{calls} calls")
        bench.figures.note(case, contestant.name, early=sizes[0], late=sizes[-1], growth=sizes[-1] / sizes[0] - 1)
        for size in sizes:
            bench.figures.note(case, contestant.name, each_tenth=size)


def cold_starts(bench: Bench) -> None:
    """The first one in a home makes a CA, and does not count."""
    case, homes = Case("B8", "first answer"), {"bare mitmdump": bench.field.home(), "codex-mitm": bench.field.home()}
    env = as_a_user_has_it(bench.field.home())
    starts: Mapping[str, Callable[[Path], AbstractContextManager[Contestant]]] = {
        "bare mitmdump": lambda home: bare(bench.field, home=home, env=env),
        "codex-mitm": lambda home: codex(bench.field, home=home, env=env),
    }
    for number in range(min(bench.effort.rounds, 4) + 1):
        for name, start in starts.items():
            began = time.monotonic()
            with start(homes[name]) as contestant:
                called(contestant.callers(1, asking("short", False)), calls=1)
                if number:
                    bench.figures.note(case, name, start=time.monotonic() - began, start_cpu=contestant.processor_time())


def recording(bench: Bench) -> None:
    for name, word in (("8 words", "short"), ("200 words", "long")):
        closed_loop(bench, Case("B9", name), ("not recording", "codex-mitm", "with bodies"), 8, asking(word, True))


def several_processes(bench: Bench) -> None:
    with ExitStack() as stack:
        proxies: list[Contestant] = []
        for count in range(1, 5):
            proxies.append(stack.enter_context(bench.field.starting("codex-mitm")))
            behind_haproxy(bench, Case("B10", "1 process" if count == 1 else f"{count} processes", count), proxies)
    with sharing_redis(bench.field, 2) as (sharing, redis):
        behind_haproxy(bench, Case("B10", "2 with Redis"), sharing, redis)


def behind_haproxy(bench: Bench, case: Case, proxies: Sequence[Contestant], *more: Contestant) -> None:
    """Processor time of the proxies together, and by itself that of the others."""
    with haproxy(bench.field, [each.port for each in proxies], proxies[0].headers) as front:
        groups = {"codex-mitm": proxies, **{each.name: [each] for each in (front, *more)}}
        with warm([front], 32, asking("short", True)) as callers:
            for _ in range(bench.effort.rounds):
                before = {name: sum(each.processor_time() for each in group) for name, group in groups.items()}
                load = called(callers[front.name], bench.effort.seconds)
                time.sleep(SETTLE)
                bench.figures.note(case, "codex-mitm", **times(load))
                for name, group in groups.items():
                    spent = sum(each.processor_time() for each in group) - before[name]
                    bench.figures.note(case, name, cpu=spent / len(load.latencies))


def far_upstream(bench: Bench) -> None:
    """One client. Without a proxy it speaks TLS itself, and with one the proxy does."""
    trusting = ssl.create_default_context(cafile=str(bench.field.certificate))
    body = asking("short", False)
    far = replace(bench.field["direct"], name="far direct", port=bench.field.upstream.far_port)
    contestants = [far, *bench.present(("far bare", "far codex-mitm"))]
    callers = {each.name: each.callers(1, body) for each in contestants}
    callers[far.name] = [Caller(far.port, body, PATH, tls=trusting)]
    for name, is_fresh in (("kept alive", False), ("a connection each", True)):
        for some in callers.values():
            called(some, calls=1)

        def work(each: Contestant, is_fresh: bool = is_fresh) -> Load:
            if is_fresh:
                callers[each.name][0].close()
            return called(callers[each.name], calls=5, is_fresh=is_fresh)

        in_turns(bench, Case("B11", name), contestants, work, times, min(bench.effort.rounds, 3))
    for some in callers.values():
        some[0].close()


@dataclass(frozen=True)
class Scenario:
    title: str
    measure: Callable[[Bench], None]
    columns: tuple[str, ...]
    """Names of measures; see COLUMNS in report.py."""


CALLS = ("rate", "p50", "p95", "cpu")
SCENARIOS: Mapping[str, Scenario] = {
    "B1": Scenario("small answer, not streamed, kept alive", small_calls, CALLS),
    "B2": Scenario("the same, on a new connection for each call", new_connections, CALLS),
    "B3": Scenario(
        "200 words a stream, one each 10 ms (20 ms for 128 streams)",
        paced_streams,
        ("words", "first", "delay", "delay95", "cpu_word"),
    ),
    "B4": Scenario("chat at 16 clients", translated, CALLS),
    "B5": Scenario("large requests, one client", large_requests, CALLS),
    "B6": Scenario("streams that are half way and silent", idle_streams, ("memory", "each")),
    "B7": Scenario("memory over many calls", drift, ("early", "late", "growth")),
    "B8": Scenario("cold start", cold_starts, ("start", "start_cpu")),
    "B9": Scenario("recording, 8 clients", recording, CALLS),
    "B10": Scenario("processes behind HAProxy, 32 clients", several_processes, CALLS),
    "B11": Scenario("upstream 50 ms away, over TLS, one client", far_upstream, CALLS),
}
