"""One answer from its first event to its end, in OpenAI's own order, whatever upstream's looked like.

What comes out are Responses events that both dialects can build on: `response.created` first, items in turn (turns.py) and whole
(items.py), then exactly one of `response.completed`, `response.incomplete`, `response.failed` with everything in it, then nothing.

The awkward cases, each decided by the tables below or right beside them:

- The terminal event has an empty `output`: always so on the Codex backend. It is filled from the items that were told.
- Nothing but a terminal event, with everything in its `output`: the items are told first, so that a stream streams.
- No `response.created`: the SDKs' helpers do not begin without one, so it is made up.
- `error` and then `response.failed`: the first ends the answer, the second comes after the end.
- The end of the stream, without a terminal event: a failure, never an end. The same for an event that cannot be read.
- A limit is reached: the answer ends here, as completed (`stop`) or incomplete; `wants_cancel` says that upstream goes on in vain.
- A failure before anything was said can still get an HTTP status of its own: `refusal`. Once there is output it is `decided` that
  the answer is a 200, and a failure is told within it.
"""

from enum import StrEnum

from addons.wire import failures
from addons.wire.cutoff import Limits
from addons.wire.errors import OpenAIError
from addons.wire.events import Event, Malformed
from addons.wire.items import Items
from addons.wire.plan import Answering
from addons.wire.turns import ADDED, DONE, OWNERS, Turns
from addons.wire.usage import Usage, estimated_usage, usage_of


class State(StrEnum):
    NEW = "nothing has come"
    OPEN = "begun"
    OVER = "ended; the client has had its terminal event"


class Kind(StrEnum):
    BEGIN = "the answer exists"
    PROGRESS = "it is being worked on"
    ITEM = "a piece of it"
    OTHER = "about it, and not known here"
    END = "it is whole, or as whole as it gets"
    FAILURE = "it failed"


FAILED = "response.failed"
KINDS = {
    "response.created": Kind.BEGIN,
    "response.queued": Kind.PROGRESS,
    "response.in_progress": Kind.PROGRESS,
    "response.completed": Kind.END,
    "response.incomplete": Kind.END,
    FAILED: Kind.FAILURE,
    "error": Kind.FAILURE,
} | dict.fromkeys((ADDED, DONE, *OWNERS), Kind.ITEM)

ENDS = {kind for kind in KINDS if KINDS[kind] is Kind.END}

# What may come when; an end and a failure lead to OVER, everything else to OPEN. The rest is passed over: a second beginning,
# something unknown while there is no answer that it could be about, and whatever comes after the end.
LEGAL = {
    State.NEW: {Kind.BEGIN, Kind.PROGRESS, Kind.ITEM, Kind.END, Kind.FAILURE},
    State.OPEN: {Kind.PROGRESS, Kind.ITEM, Kind.OTHER, Kind.END, Kind.FAILURE},
    State.OVER: set[Kind](),
}

AT_FIRST: Event = {
    "status": "in_progress",
    "completed_at": None,
    "error": None,
    "incomplete_details": None,
    "output": [],
    "usage": None,
}


class Story:
    def __init__(self, answering: Answering, response_id: str, created_at: int) -> None:
        """`response_id` and `created_at` are for an answer that upstream does not name."""
        self._limits = Limits(answering.max_output_tokens, answering.stop)
        self._prompt_tokens = answering.prompt_tokens
        self._turns = Turns()
        self._items = Items(
            self._limits if self._limits.in_force else None,
            answering.tool_names,
            answering.call_ids,
            answering.show_annotations,
        )
        self._state = State.NEW
        self.response: Event = {"id": response_id, "created_at": created_at}
        """Upstream's own response object as it was told last; whole when the answer is over."""
        self.decided = False
        self.failure: OpenAIError | None = None
        self.refusal: OpenAIError | None = None
        self.usage: Usage | None = None
        self.wants_cancel = False

    @property
    def over(self) -> bool:
        return self._state is State.OVER

    def take(self, event: Event) -> list[Event]:
        """What is to be told because of it. The event is used up."""
        kind = KINDS.get(event["type"]) or _other(event)
        if kind not in LEGAL[self._state]:
            return []
        out: list[Event] = []
        try:
            if kind is Kind.ITEM or kind is Kind.OTHER:  # as nearly all of them
                if self._state is State.NEW:
                    self._open({}, out)
                for due in self._turns.take(event):
                    self._items.take(due, out)
                self.decided = self.decided or kind is Kind.ITEM
                if self._limits.reached:
                    self.wants_cancel = True
                    self._cut({}, out)
            elif kind is Kind.END:
                self._on_end(event, out)
            elif kind is Kind.FAILURE:
                self._on_failure(event, out)
            else:
                self._on_progress(event, out)
        except Malformed as e:
            out += self.fail(failures.unreadable(str(e)))
        return out

    def end(self) -> list[Event]:
        """Upstream's stream has ended."""
        return [] if self.over else self._fail(failures.CUT_OFF, {})

    def fail(self, error: OpenAIError) -> list[Event]:
        """Nothing more can be made of upstream's stream."""
        if self.over:
            return []
        self.wants_cancel = True
        return self._fail(error, {})

    def _on_progress(self, event: Event, out: list[Event]) -> None:
        response = event.get("response")
        self._open(response if isinstance(response, dict) else {}, out)
        if event["type"] != "response.created":
            out.append({**event, "response": self.response})

    def _on_end(self, event: Event, out: list[Event]) -> None:
        response = event["response"]
        self._open(response, out)
        final, complete = response.get("output"), event["type"] == "response.completed"
        for due in self._turns.finish(final if isinstance(final, list) else [], complete):
            self._items.take(due, out)
        if self._limits.reached:
            self._cut(response, out)
        else:
            self._end("completed" if complete else "incomplete", response, usage_of(response), out)

    def _cut(self, response: Event, out: list[Event]) -> None:
        too_long = self._limits.reached == "max_output_tokens"
        status = "incomplete" if too_long else "completed"
        self._items.close(status, out)
        usage = usage_of(response) or estimated_usage(self.response, self._prompt_tokens, self._limits.tokens)
        details = {"reason": "max_output_tokens"} if too_long else None
        self._end(status, {**response, "incomplete_details": details}, usage, out)

    def _on_failure(self, event: Event, out: list[Event]) -> None:
        if event["type"] == "error":
            out += self._fail(failures.of_error_event(event), {})
        else:
            out += self._fail(failures.of_response(event["response"]), event["response"])

    def _fail(self, error: OpenAIError, response: Event) -> list[Event]:
        out: list[Event] = []
        self._open(response, out)
        self.failure = error
        self.refusal = None if self.decided else error
        self._end("failed", {**response, "error": {"code": error.code, "message": error.message}}, usage_of(response), out)
        return out

    def _open(self, response: Event, out: list[Event]) -> None:
        if self._state is State.NEW:
            self._state = State.OPEN
            self._learn({**response, **AT_FIRST})
            out.append({"type": "response.created", "response": self.response})

    def _end(self, status: str, response: Event, usage: Usage | None, out: list[Event]) -> None:
        self._state = State.OVER
        self.decided = True
        self.usage = usage
        told = usage.for_responses() if usage else None
        self._learn({**response, "status": status, "output": self._items.values(), "usage": told})
        out.append({"type": f"response.{status}", "response": self.response})

    def _learn(self, response: Event) -> None:
        # A null in the place of what upstream has told before is no news.
        self.response = {**self.response, **{k: v for k, v in response.items() if v is not None or k not in self.response}}


def _other(event: Event) -> Kind:
    """Of a type that is in no table: about an item, or about the answer."""
    return Kind.OTHER if event.get("output_index") is None else Kind.ITEM
