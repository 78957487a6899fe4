"""`make bench`: what the proxy costs, beside no proxy, nginx, and a mitmdump that does nothing but let bytes pass. On Linux."""

import argparse
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench import plot, report
from tests.bench.bars import BARS, MANY_CALLS
from tests.bench.contestants import NotHere, assembled
from tests.bench.figures import Figures
from tests.bench.processes import allow_many_files, machine
from tests.bench.scenarios import SCENARIOS, Bench, Effort
from tests.proxy import ROOT


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, epilog=report.titles(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    usual = Effort()
    parser.add_argument("--only", metavar="B1,B3", default=",".join(SCENARIOS), help="some of the scenarios")
    parser.add_argument("--rounds", type=int, default=usual.rounds, help="turns of each contestant, %(default)s")
    parser.add_argument("--seconds", type=float, default=usual.seconds, help="length of a turn, %(default)s")
    parser.add_argument("--long", action="store_true", help=f"B7 with {MANY_CALLS:,} calls instead of {usual.calls:,}")
    parser.add_argument("--idle-streams", type=int, default=usual.idle_streams, help="those of B6, %(default)s")
    parser.add_argument("--to", type=Path, default=ROOT / "bench-results", help="folder for the JSON and the plot, %(default)s")
    parser.add_argument("--beside", type=Path, metavar="JSON", help="an earlier result, to compare with")
    chosen = parser.parse_args()
    names = [name for name in SCENARIOS if name in chosen.only.upper().split(",")]
    if not names or not sys.platform.startswith("linux"):
        parser.error("no such scenario" if not names else "it reads the processor time of processes from /proc, which is Linux's")
    effort = Effort(
        chosen.rounds, chosen.seconds, idle_streams=chosen.idle_streams, calls=MANY_CALLS if chosen.long else usual.calls
    )
    figures = run(names, effort, chosen.to)
    if chosen.beside:
        print("\n" + "\n".join(report.beside(figures, report.read(chosen.beside))))


def run(names: list[str], effort: Effort, folder: Path) -> Figures:
    allow_many_files()
    figures, began = Figures(), time.time()
    about: dict[str, Any] = {
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
        "machine": machine(),
        "versions": {"python": sys.version.split()[0], "mitmproxy": version("mitmproxy")},
        "load_before": os.getloadavg(),
    }
    with assembled() as field:
        for name in names:
            try:
                SCENARIOS[name].measure(Bench(field, figures, effort))
            except NotHere as lacking:
                figures.remark(lacking)
            print("\n".join(report.table(name, SCENARIOS[name], figures)), end="\n\n", flush=True)
    about |= {"load_after": os.getloadavg(), "seconds": round(time.time() - began), "rounds": effort.rounds}
    print("\n".join(report.judged(figures, [bar for bar in BARS if bar.scenario in names])))
    for remark in figures.remarks:
        print(f"! {remark}")
    loads = f"load {about['load_before'][0]:.1f} before and {about['load_after'][0]:.1f} after"
    print(f"\nmedians of {effort.rounds} rounds in {about['seconds']} s; {loads}")
    stem = folder / time.strftime("%Y%m%d-%H%M%S", time.gmtime(began))
    report.write(stem.with_suffix(".json"), figures, about, BARS)
    if any(plot.lines_of(figures, panel) for panel in plot.PANELS):
        stem.with_suffix(".svg").write_text(plot.drawn(figures))
    print(f"all figures: {stem}.json")
    return figures


if __name__ == "__main__":
    main()
