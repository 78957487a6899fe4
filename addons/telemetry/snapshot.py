"""What is so at the moment somebody asks for metrics, taken once from the parts that know it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from addons.pool import Standing


class Snapshot(NamedTuple):
    at: float = 0.0
    """Unix time."""
    in_flight: int = 0
    slots: int = 0
    queued: int = 0
    standings: Sequence[Standing] = ()
    refreshes: Mapping[str, int] = {}
    unrecorded: int = 0
    unwritten: int = 0
    versions: Mapping[str, str] = {}
