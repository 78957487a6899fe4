"""What somebody knows of a flow besides, for as long as its exchange is under way."""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from mitmproxy import http

_PREFIX = "_codex_"
_names: set[str] = set()


class OnFlow[State]:
    """Like a WeakKeyDictionary by flow, for states that refer to their flow: what such a dictionary's values refer to, it keeps for
    ever. So this is kept on the flow itself. mitmproxy saves and copies the members that it knows, and these are not among them.

    And a call asks forty times for what is known of it: here without a step through Python. Not for a credential, which is on no
    flow.
    """

    def __init__(self, name: str) -> None:
        self.name = _PREFIX + name
        _names.add(self.name)
        setattr(http.HTTPFlow, self.name, None)  # as long as nothing is known
        self.get: Callable[[http.HTTPFlow], State | None] = attrgetter(self.name)

    def __setitem__(self, flow: http.HTTPFlow, state: State) -> None:
        vars(flow)[self.name] = state

    def pop(self, flow: http.HTTPFlow) -> State | None:
        state: State | None = vars(flow).pop(self.name, None)
        return state


def forget(flow: http.HTTPFlow, *, but: OnFlow[Any]) -> None:
    members = vars(flow)
    for name in [name for name in members if name in _names and name != but.name]:
        del members[name]
