"""What the engine knows of one exchange beside its flow, and the ways in which an addon steers it."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from mitmproxy import http
from mitmproxy.proxy.layers.http import HttpStream

from addons.engine.on_flow import OnFlow, forget
from addons.wire.verdict import Broken

# Seconds between the last event of an answer and the end of upstream's body. The same packet, as a rule; a client that reads to
# the end of the body would wait as long (nanobot hangs for as long as upstream lingers).
UPSTREAMS_END = 0.5

# The same for an answer that is handed out as a whole, and waits for it: about what a new connection with TLS would cost the next
# request.
WORTH_WAITING = 0.1

# Seconds. An upstream that refuses does it at once, and a client should know soon that somebody is there.
HELD_AT_MOST = 5.0

Lapse = Literal["first_byte", "idle", "total", "shutdown"]
"""Which deadline has passed: for the first byte of the answer, between two of its bytes, for all of it, for the whole proxy."""

Cause = Broken | Lapse
"""Why there is no answer: something about the connection, or a deadline."""


class Limits(NamedTuple):
    """Seconds."""

    keepalive: float
    """Of silence toward the client, after which it is told that somebody is there."""
    first_byte: float
    idle: float
    total: float


class Watch(NamedTuple):
    """What is to be done with an answer that is slow in coming."""

    limits: Limits
    say_alive: Callable[[], list[bytes]]
    """What a silence is bridged with; nothing, where that cannot be said in what is being streamed."""
    give_up: Callable[[Lapse], list[bytes] | None]
    """The last words to a client that has its head; None breaks its connection off, which is then the only honest end."""


@dataclass(slots=True, eq=False)
class Course:
    """One exchange, from its first attempt to its end. Moments are of `time.monotonic`."""

    watch: Watch | None = None
    began: float = 0.0
    resend: bool = False
    # of the present attempt:
    asked: float = 0.0
    reused: bool = False
    failure: Cause | None = None
    heard: float | None = None
    """The latest byte of the answer's body."""
    # of the answer:
    knows_the_end: bool = False
    """The stages do: an upstream that breaks off is an end to them, and they make of it what it is."""
    held: bool = False
    """The client has not been told the status yet."""
    held_since: float = 0.0
    release: Callable[[], list[bytes]] | None = None
    instead: http.Response | None = None
    end_in: float | None = None
    """Said by a stage: this was the last for the client. Upstream has so many seconds to come to its own end."""
    end_at: float | None = None
    last_words: Callable[[], list[bytes] | None] | None = None
    """Said by a stage: upstream is stopped here, and this is how the client's body ends; None breaks its connection off."""
    pause: float | None = None
    """Said by a stage: for so many seconds nothing more of upstream's is looked at."""
    paused_until: float | None = None
    backlog: deque[Any] = field(default_factory=deque)
    """Upstream's events that were not looked at yet."""
    split: Callable[[bytes], list[bytes]] | None = None
    stopped: bool = False
    ending: bool = False
    """The proxy comes to its end, and waits for this exchange no longer."""
    told: float | None = None
    """The latest byte to the client; None as long as it has no head."""

    def begin_attempt(self, now: float) -> None:
        self.asked, self.began = now, self.began or now
        self.failure = self.heard = self.release = self.instead = self.end_in = self.end_at = None
        self.last_words = self.pause = self.paused_until = self.split = None
        self.backlog.clear()
        self.knows_the_end = self.held = self.stopped = False

    def end(self) -> None:
        self.watch = self.release = self.last_words = self.split = None
        self.backlog.clear()


_courses: OnFlow[Course] = OnFlow("course")


def course_of(flow: http.HTTPFlow) -> Course:
    course: Course | None = flow.__dict__.get(_courses.name)  # asked thirty times in a call
    if course is None:
        course = _courses[flow] = Course()
    return course


def let_go(stream: HttpStream) -> None:
    """Its exchange is over. What was known of it refers to its flow, and the other way: that would keep the flow, with all that was
    said, until Python looks for garbage. Whoever still has the flow (mitmweb) keeps what it shows, and nothing of this."""
    flow = stream.flow
    course_of(flow).end()
    forget(flow, but=_courses)
    if flow.response and callable(flow.response.stream):
        flow.response.stream = True
    del stream.flow


def watch(flow: http.HTTPFlow, limits: Watch) -> None:
    """From a `request` hook: keep this exchange's time, and answer for an upstream that does not."""
    course_of(flow).watch = limits


def was_sent(flow: http.HTTPFlow) -> bool:
    """A connection to an upstream was asked for: what the `response` hook sees is upstream's, or stands for it."""
    course: Course | None = flow.__dict__.get(_courses.name)
    return course is not None and course.asked > 0


def failure_of(flow: http.HTTPFlow) -> Cause | None:
    """In the `response` hook: why there was no answer, and the one it sees was made here."""
    return course_of(flow).failure


def resend(flow: http.HTTPFlow) -> None:
    """From a `response` hook, as long as the client has nothing: drop this answer and send the request again, to wherever the
    flow now points. The second answer streams like a first one. Headers for the wire are kept.
    """
    course_of(flow).resend = True


def is_resending(flow: http.HTTPFlow) -> bool:
    course: Course | None = flow.__dict__.get(_courses.name)
    return course is not None and course.resend


def client_has_its_head(flow: http.HTTPFlow) -> bool:
    """From then on nothing can be sent again."""
    return course_of(flow).told is not None


def hold_head(flow: http.HTTPFlow, release: Callable[[], list[bytes]] | None = None) -> None:
    """From `responseheaders`, for an answer that streams: its status is not yet sure, so the client is not told yet.

    After `HELD_AT_MOST` seconds it is told all the same, and gets what `release` returns; without `release` it waits as long as the
    stages do. The stages see an upstream that breaks off as one that ends: whether it was the end is theirs to know.
    """
    course = course_of(flow)
    course.held, course.release, course.held_since = True, release, time.monotonic()


def head_is_held(flow: http.HTTPFlow) -> bool:
    return course_of(flow).held


def answer_instead(flow: http.HTTPFlow, response: http.Response, *, at_once: bool = True) -> None:
    """From a stage, while the head is held: the client gets this, whole, and upstream is not read any further.

    The `response` hook sees it first and may send the request again instead. Not `at_once`, upstream has a moment to come to its
    own end, so that its connection can be used again.
    """
    course = course_of(flow)
    assert course.held, "the client has its answer's head already"
    course.instead, course.end_in = response, None if at_once else WORTH_WAITING


def end_answer(flow: http.HTTPFlow, *, at_once: bool) -> None:
    """From a stage: what it returns now is the last the client gets, in a body that ends in good form.

    Not `at_once`, upstream has a moment to come to its own end, so that its connection can be used again.
    """
    course_of(flow).end_in = 0.0 if at_once else UPSTREAMS_END


def fail_answer(flow: http.HTTPFlow, last_words: Callable[[], list[bytes] | None]) -> None:
    """From a stage: behind what it returns now come these words, asked for then, and upstream is stopped."""
    course_of(flow).last_words = last_words


def cut_off(flow: http.HTTPFlow) -> None:
    """From a stage: behind what it returns now the client's connection is broken off, and upstream is stopped.

    From a `response` hook, for an answer that did not stream: its body, if it has one, is the last that the client gets.
    """
    course_of(flow).last_words = lambda: None


def pause(flow: http.HTTPFlow, seconds: float) -> None:
    """From a stage: behind what it returns now, the answer stands still. What the same stage or another one says about its end
    holds afterwards. Keep-alives go out meanwhile, and the `idle` deadline does not run: the silence is not upstream's.

    Said twice, the seconds add up.
    """
    course = course_of(flow)
    course.pause = (course.pause or 0.0) + seconds


def in_pieces(flow: http.HTTPFlow, split: Callable[[bytes], list[bytes]]) -> None:
    """From `responseheaders`: what upstream sends in one packet comes to the stages in these pieces, one after another, so that a
    pause or an end can be between them."""
    course_of(flow).split = split
