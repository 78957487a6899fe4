"""What somebody knows of a flow besides, for as long as there is that flow."""

from mitmproxy import http


class OnFlow[State]:
    """Like a WeakKeyDictionary by flow, for states that refer to their flow: what such a dictionary's values refer to, it keeps for
    ever. So this is kept on the flow itself. mitmproxy saves and copies the members that it knows, and these are not among them.
    """

    def __init__(self, name: str) -> None:
        self.name = f"_codex_{name}"

    def get(self, flow: http.HTTPFlow) -> State | None:
        state: State | None = vars(flow).get(self.name)
        return state

    def __setitem__(self, flow: http.HTTPFlow, state: State) -> None:
        vars(flow)[self.name] = state
