"""Latency and cost against load, both on scales of powers, as an SVG: four lines in four fields need no library."""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from tests.bench.figures import Figures

WIDTH, HEIGHT = 420, 240
LEFT, TOP, RIGHT, BOTTOM = 64, 40, 16, 44
COLOURS = {"direct": "#888888", "nginx": "#2a9d4a", "bare mitmdump": "#d1851b", "codex-mitm": "#2563c9"}

# Where each name stands above the lines.
PLACES = {"direct": 0, "nginx": 60, "bare mitmdump": 115, "codex-mitm": 225}


@dataclass(frozen=True)
class Panel:
    title: str
    scenario: str
    measure: str
    scale: float
    load: str


PANELS = (
    Panel("one call, median, ms", "B1", "p50", 1e3, "clients"),
    Panel("processor time of one call, ms", "B1", "cpu", 1e3, "clients"),
    Panel("from the sending of a word to its coming, median, ms", "B3", "delay", 1e3, "streams"),
    Panel("processor time of one word, µs", "B3", "cpu_word", 1e6, "streams"),
)


def lines_of(figures: Figures, panel: Panel) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for case, contestants in sorted(figures.taken.items(), key=lambda item: item[0].load):
        if case.scenario == panel.scenario and case.load:
            for who, measures in contestants.items():
                if who in COLOURS and (values := measures.get(panel.measure)):
                    found.setdefault(who, []).append((case.load, statistics.median(values) * panel.scale))
    return found


def drawn(figures: Figures) -> str:
    parts = [part for number, panel in enumerate(PANELS) for part in draw(panel, lines_of(figures, panel), number)]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {2 * HEIGHT}" font-family="sans-serif" font-size="12">'
    )
    return "\n".join([head, f'<rect width="{2 * WIDTH}" height="{2 * HEIGHT}" fill="white"/>', *parts, "</svg>", ""])


def draw(panel: Panel, lines: dict[str, list[tuple[int, float]]], number: int) -> Iterator[str]:
    yield f'<g transform="translate({number % 2 * WIDTH} {number // 2 * HEIGHT})">'
    yield f'<text x="{LEFT}" y="16" font-weight="bold">{escape(panel.title)}</text>'
    loads = sorted({load for line in lines.values() for load, _ in line})
    if loads:
        values = [math.log10(value) for line in lines.values() for _, value in line]
        low, high = math.floor(min(values)), max(math.ceil(max(values)), math.floor(min(values)) + 1)
        across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

        def x(load: int) -> float:
            return LEFT + across * (math.log(load / loads[0]) / math.log(loads[-1] / loads[0]) if len(loads) > 1 else 0.5)

        def y(value: float) -> float:
            return TOP + down * (high - math.log10(value)) / (high - low)

        for tick in (10.0**power for power in range(low, high + 1)):
            yield f'<path d="M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}" stroke="#dddddd"/>'
            yield f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        for load in loads:
            yield f'<text x="{x(load):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{load}</text>'
        yield f'<text x="{LEFT + across / 2:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{panel.load}</text>'
        for who, line in lines.items():
            yield from draw_line(who, [(x(load), y(value)) for load, value in line])
    yield "</g>"


def draw_line(who: str, points: Sequence[tuple[float, float]]) -> Iterator[str]:
    colour = COLOURS[who]
    yield f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" fill="none" stroke="{colour}" stroke-width="2"/>'
    for x, y in points:
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
    yield f'<text x="{LEFT + PLACES[who]}" y="32" font-size="11" fill="{colour}">{who}</text>'
