"""What somebody knows of a flow besides, for as long as its exchange is under way."""

from typing import Any

from mitmproxy import http

_PREFIX = "_codex_"


class OnFlow[State]:
    """Like a WeakKeyDictionary by flow, for states that refer to their flow: what such a dictionary's values refer to, it keeps for
    ever. So this is kept on the flow itself. mitmproxy saves and copies the members that it knows, and these are not among them.
    """

    def __init__(self, name: str) -> None:
        self.name = _PREFIX + name

    def get(self, flow: http.HTTPFlow) -> State | None:
        state: State | None = vars(flow).get(self.name)
        return state

    def __setitem__(self, flow: http.HTTPFlow, state: State) -> None:
        vars(flow)[self.name] = state


def forget(flow: http.HTTPFlow, *, but: OnFlow[Any]) -> None:
    members = vars(flow)
    for name in [name for name in members if name.startswith(_PREFIX) and name != but.name]:
        del members[name]
