import pytest

from addons.wire import effort
from addons.wire.parameters import Edits

EFFORTS = ("low", "medium", "high", "xhigh")


@pytest.mark.parametrize(
    ("wanted", "supported", "sent"),
    [
        ("high", EFFORTS, "high"),
        ("minimal", EFFORTS, "low"),
        ("max", EFFORTS, "xhigh"),
        ("ultra", (*EFFORTS, "max", "ultra"), "max"),
        ("ultra", EFFORTS, "xhigh"),
        ("none", EFFORTS, "none"),
        ("medium", ("low", "high"), "low"),
        ("frantic", EFFORTS, "frantic"),
        ("minimal", (), "minimal"),
        ("ultra", (), "max"),
    ],
)
def test_an_effort_that_the_model_has(wanted: str, supported: tuple[str, ...], sent: str) -> None:
    assert effort.fit(wanted, supported) == sent


@pytest.mark.parametrize(
    ("asked", "named", "sent", "told"),
    [(None, None, None, False), ("low", None, "low", False), ("low", "high", "high", True), (None, "high", "high", True)],
)
def test_an_effort_in_the_name_goes_first(asked: str | None, named: str | None, sent: str | None, told: bool) -> None:
    edits = Edits(strict=True)
    assert effort.decide(asked, named, EFFORTS, edits) == sent
    assert bool(edits.made()) == told
