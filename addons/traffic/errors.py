"""What can be wrong with a database or with what is asked of it, as a user is told: what it is, and what to do.

TrafficError
    NoDatabase        nothing has been recorded there yet
    BadDatabase       it cannot be opened or read
        NewerSchema   it was written by a newer codex-mitm
        NotOurs       it is some other program's
    NotRecorded       no such call, or not that part of it
"""


class TrafficError(Exception):
    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


class NoDatabase(TrafficError):
    def __init__(self, path: str) -> None:
        super().__init__(
            f"nothing is recorded yet, there is no {path}",
            "the proxy makes it with the first call, start it with `make run`",
        )


class BadDatabase(TrafficError):
    def __init__(self, path: str, why: str, remedy: str = "") -> None:
        super().__init__(f"{path} cannot be used, {why}", remedy or "move it away, and the proxy begins a new one")


class NewerSchema(BadDatabase):
    def __init__(self, path: str, found: int, known: int) -> None:
        super().__init__(
            path,
            f"it has version {found} and this codex-mitm knows {known}",
            "use the codex-mitm that wrote it, or move it away",
        )


class NotOurs(BadDatabase):
    def __init__(self, path: str) -> None:
        super().__init__(path, "it is another program's database", "name another file")


class NotRecorded(TrafficError):
    """There is no such call, or it was recorded without that."""
