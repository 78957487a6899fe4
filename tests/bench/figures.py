"""What was measured: for each case, contestant and measure one value a round. Those of a round were taken one after the other, and
are compared with each other."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import sub, truediv


@dataclass(frozen=True, order=True)
class Case:
    scenario: str
    name: str
    load: int = 0
    """Clients or streams at once, where that is what differs."""


@dataclass
class Figures:
    taken: dict[Case, dict[str, dict[str, list[float]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    )
    """Case, contestant, measure."""
    remarks: list[str] = field(default_factory=list)

    def note(self, case: Case, contestant: str, **measures: float) -> None:
        for measure, value in measures.items():
            self.taken[case][contestant][measure].append(value)

    def remark(self, why: object) -> None:
        """Something could not be measured. Said once."""
        if str(why) not in self.remarks:
            self.remarks.append(str(why))

    def of(self, scenario: str, name: str, contestant: str, measure: str) -> list[float]:
        """Empty where it was not measured."""
        found = next((case for case in self.taken if (case.scenario, case.name) == (scenario, name)), None)
        return self.taken[found].get(contestant, {}).get(measure, []) if found else []


def compared(how: Callable[[float, float], float], these: Sequence[float], those: Sequence[float]) -> float | None:
    pairs = [how(this, that) for this, that in zip(these, those, strict=True)] if len(these) == len(those) else []
    return statistics.median(pairs) if pairs else None


def ratio(these: Sequence[float], those: Sequence[float]) -> float | None:
    return compared(truediv, these, those)


def difference(these: Sequence[float], those: Sequence[float]) -> float | None:
    return compared(sub, these, those)


def spread(values: Sequence[float]) -> float:
    """Between the quartiles: half of the values are in there."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return high - low
