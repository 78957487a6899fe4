"""The figures as tables of 80 columns, and as JSON."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from tests.bench.bars import Bar, beside_bare
from tests.bench.figures import Case, Figures, spread
from tests.bench.scenarios import SCENARIOS, Scenario


def milli(value: float) -> str:
    return f"{value * 1e3:.2f}" if value < 0.1 else f"{value * 1e3:.0f}"


def micro(value: float) -> str:
    return f"{value * 1e6:.0f}"


def whole(value: float) -> str:
    return f"{value:.0f}"


# Measure -> head of its column, and how it is written. Times are measured in seconds, memory in bytes.
COLUMNS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "rate": ("calls/s", whole),
    "p50": ("p50 ms", milli),
    "p95": ("p95 ms", milli),
    "cpu": ("CPU ms", milli),
    "words": ("words/s", whole),
    "first": ("1st ms", milli),
    "delay": ("p50 ms", milli),
    "delay95": ("p95 ms", milli),
    "cpu_word": ("CPU µs", micro),
    "memory": ("MB", lambda value: f"{value / 1e6:.1f}"),
    "each": ("KB each", lambda value: f"{value / 1e3:.1f}"),
    "early": ("early MB", lambda value: f"{value / 1e6:.1f}"),
    "late": ("late MB", lambda value: f"{value / 1e6:.1f}"),
    "growth": ("+ %", lambda value: f"{value * 100:.1f}"),
    "start": ("ms", milli),
    "start_cpu": ("CPU ms", milli),
}

CASE, WHO, FIGURE = 19, 15, 8


def table(name: str, scenario: Scenario, figures: Figures) -> Iterator[str]:
    """Medians; behind the last one, which is processor time in most, how far apart its quartiles are."""
    yield f"{name}  {scenario.title}"
    yield " " * (CASE + WHO) + "".join(f"{COLUMNS[measure][0]:>{FIGURE}}" for measure in scenario.columns)
    for case, contestants in figures.taken.items():
        if case.scenario == name:
            for number, (who, measures) in enumerate(contestants.items()):
                line = f"{case.name if number == 0 else '':{CASE}.{CASE - 1}}{who:{WHO}.{WHO - 1}}"
                for measure in scenario.columns:
                    values = measures.get(measure, [])
                    line += f"{COLUMNS[measure][1](statistics.median(values)) if values else '':>{FIGURE}}"
                last = measures.get(scenario.columns[-1], [])
                yield line + (f" ±{spread(last) / 2 / statistics.median(last):.0%}" if len(last) > 2 else "")


def judged(figures: Figures, bars: Sequence[Bar]) -> Iterator[str]:
    yield f"{'bar':43}{'':12}{'clock':>8}{'CPU':>8}  met"
    for bar in bars:
        clock, processor = verdicts(bar, figures)
        answers = {None: "–", True: "yes", False: "no"}
        met = "/".join(answers[bar.is_met(value)] for value in (clock, processor))
        yield f"{bar.scenario:4}{bar.what:39}{bar.text:12}{shown(clock):>8}{shown(processor):>8}  {met}"


def verdicts(bar: Bar, figures: Figures) -> tuple[float | None, float | None]:
    return bar.by_clock and bar.by_clock(figures), bar.by_processor and bar.by_processor(figures)


def beside(figures: Figures, earlier: Figures) -> Iterator[str]:
    """What a call costs by what it costs in bare mitmdump, now and then: the machine may be another, or busier."""
    yield f"{'processor time by that of bare mitmdump':51}{'then':>8}{'now':>8}"
    for case in figures.taken:
        for measure in ("cpu", "cpu_word", "start_cpu"):
            then, now = (beside_bare(case.scenario, case.name, measure)(each) for each in (earlier, figures))
            if now is not None:
                yield f"{case.scenario:4}{case.name:47}{shown(then):>8}{shown(now):>8}"


def shown(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"


def document(figures: Figures, about: Mapping[str, Any], aims: Sequence[Bar]) -> dict[str, Any]:
    rows = [
        {
            "scenario": case.scenario,
            "case": case.name,
            "load": case.load,
            "contestant": who,
            "measure": measure,
            "median": statistics.median(values),
            "iqr": spread(values),
            "rounds": values,
        }
        for case, contestants in figures.taken.items()
        for who, measures in contestants.items()
        for measure, values in measures.items()
    ]
    bars = []
    for bar in aims:
        clock, processor = verdicts(bar, figures)
        if clock is not None or processor is not None:
            bars.append({"scenario": bar.scenario, "what": bar.what, "aim": bar.text, "clock": clock, "processor": processor})
    return {**about, "units": "seconds, bytes, calls or words a second", "figures": rows, "bars": bars, "remarks": figures.remarks}


def write(path: Path, figures: Figures, about: Mapping[str, Any], aims: Sequence[Bar]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(document(figures, about, aims), option=orjson.OPT_INDENT_2))


def read(path: Path) -> Figures:
    figures = Figures()
    for row in orjson.loads(path.read_bytes())["figures"]:
        case = Case(row["scenario"], row["case"], row["load"])
        figures.taken[case][row["contestant"]][row["measure"]] = row["rounds"]
    return figures


def titles() -> str:
    return "\n".join(f"{name:4} {scenario.title}" for name, scenario in SCENARIOS.items())
