import pytest

from auth.backoff import BackOff
from auth.errors import TryAgainLater

ERROR = TryAgainLater("down")


@pytest.mark.parametrize(
    ("failures", "jitter", "seconds"),
    [
        pytest.param(0, 0.5, 1, id="first"),
        pytest.param(0, 0.0, 0.5, id="least-jitter"),
        pytest.param(3, 0.5, 8, id="doubled-thrice"),
        pytest.param(6, 0.5, 60, id="longest"),
        pytest.param(9999, 0.5, 60, id="for-ever"),
    ],
)
def test_each_failure_doubles_it(failures: int, jitter: float, seconds: float) -> None:
    assert BackOff(failures).after(ERROR, 100, jitter) == BackOff(failures + 1, "down", 100, seconds)


@pytest.mark.parametrize(("asked", "seconds"), [(0.1, 1), (30, 30), (86400, 300)])
def test_an_issuer_may_ask_for_more(asked: float, seconds: float) -> None:
    assert BackOff().after(TryAgainLater("busy", asked), 100, 0.5).seconds == seconds


@pytest.mark.parametrize(
    ("now", "remaining"),
    [(100, 8), (107.5, 0.5), (108, 0), (109, 0), pytest.param(99, 0, id="clock-set-back")],
)
def test_remaining(now: float, remaining: float) -> None:
    assert BackOff(1, "down", since=100, seconds=8).remaining(now) == remaining


def test_none_is_over() -> None:
    assert BackOff().remaining(0) == 0
