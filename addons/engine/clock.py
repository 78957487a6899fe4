"""When something is due in an exchange, and what. Pure: `now` is a parameter."""

from typing import Literal

from addons.engine.course import HELD_AT_MOST, Course, Lapse

Due = Literal["end", "release", "alive", "resume"] | Lapse

NOW = float("-inf")


def agenda(course: Course) -> list[tuple[float, Due]]:
    """Moments at which something is to be done if nothing happens before, in the order in which to look at them."""
    if course.ending:
        return [(NOW, "shutdown")]
    if course.end_at is not None:
        return [(course.end_at, "end")]
    moments: list[tuple[float, Due]] = []
    if course.watch:
        limits = course.watch.limits
        moments.append((course.began + limits.total, "total"))
        if course.heard is None:
            moments.append((course.asked + limits.first_byte, "first_byte"))
        elif course.paused_until is None:
            moments.append((course.heard + limits.idle, "idle"))
        if course.told is not None:
            moments.append((course.told + limits.keepalive, "alive"))
    if course.paused_until is not None:
        moments.append((course.paused_until, "resume"))
    if course.held and course.release:
        moments.append((course.held_since + HELD_AT_MOST, "release"))
    return moments


def due(course: Course, now: float) -> Due | None:
    return next((what for moment, what in agenda(course) if moment <= now), None)


def next_moment(course: Course) -> float | None:
    return min(agenda(course), default=(None,))[0]
