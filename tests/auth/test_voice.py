import math
import os

import pytest

from auth import voice


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (2 * 86400 - 1, "48 h"),
        (2 * 86400, "2 days"),
        (863999, "10 days"),
    ],
)
def test_a_span_is_told_in_the_largest_unit_that_there_are_two_of(seconds: float, words: str) -> None:
    assert voice.span(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(180, "expires in 3 min"), (0, "expired 0 s ago"), (-180, "expired 3 min ago"), (math.inf, "has no expiry date")],
)
def test_expiry(seconds: float, words: str) -> None:
    assert voice.expiry(seconds) == words


@pytest.mark.parametrize(
    ("path", "shown"), [("{home}/x/auth.json", "~/x/auth.json"), ("{home}", "{home}"), ("{home}2/x", "{home}2/x"), ("/etc", "/etc")]
)
def test_the_home_folder_is_shortened(path: str, shown: str) -> None:
    home = os.path.expanduser("~")
    assert voice.short(path.format(home=home)) == shown.format(home=home)
