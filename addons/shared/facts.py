"""What several proxies have learned, each fact by itself: the one that was learned last holds. Pure.

To merge is to keep the later one of two, for each name. So it does not matter in which order news arrive, how often, or by which
way, and all who have heard the same news know the same. A proxy that changes what it knows has seen what it changes, so its fact is
the later one even if its clock is behind (`after`).
"""

import math
from collections.abc import Mapping
from typing import NamedTuple


class Fact(NamedTuple):
    """They compare as they count: by time, and of the same time by who says it."""

    at: float
    """When it was learned, unix seconds."""
    by: str
    value: bytes
    """JSON; `null` is that there is nothing, or not any more."""


type Facts = dict[str, Fact]


def merge(known: Mapping[str, Fact], news: Mapping[str, Fact]) -> Facts:
    merged = dict(known)
    for name, fact in news.items():
        merged[name] = max(fact, merged[name]) if name in merged else fact
    return merged


def after(known: Fact | None, at: float) -> float:
    """When a fact was learned that takes the place of `known`."""
    return at if known is None or at > known.at else math.nextafter(known.at, math.inf)
