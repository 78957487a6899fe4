"""What a user of mitmweb or the console can ask: the accounts, the plan and today's tokens, what became of a call."""

import io
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

from mitmproxy import command, exceptions

from addons.accounts import CodexAccounts
from addons.pool import Standing
from addons.record import CodexTraffic
from addons.traffic import usage
from addons.traffic.errors import TrafficError
from addons.traffic.explain import explain, resets
from addons.traffic.recorded import load
from addons.traffic.schema import open_to_read
from addons.traffic.text import Page, plural

# Seconds. The call that has just ended is to be found.
PATIENCE = 0.5

NOT_RECORDED = "nothing is recorded: the option codex_traffic is empty"


class CodexCommands:
    def __init__(self, accounts: CodexAccounts, traffic: CodexTraffic) -> None:
        self.accounts = accounts
        self.traffic = traffic

    @command.command("codex.status")
    def status(self) -> str:
        """Who is signed in, which accounts serve, and whether calls are recorded."""
        lines = [standing_line(standing, time.time()) for standing in self.accounts.standings()]
        return "\n".join([*(lines or ["nobody is signed in: `make login`"]), self._recording()])

    @command.command("codex.usage")
    def usage(self) -> str:
        """Calls, tokens and plans of the last week, by day."""
        return self._from_the_database(lambda db, page: usage.as_table(db, "day", 7, time.time(), page))

    @command.command("codex.explain")
    def explain(self, id: str = "last") -> str:
        """What became of a call, and why; by its x-request-id, the beginning of one, or `last`."""
        return self._from_the_database(lambda db, page: explain(load(db, id, with_bodies=False), page))

    def _from_the_database(self, tell: Callable[[sqlite3.Connection, Page], None]) -> str:
        recorder, path = self.traffic.recorder, self.traffic.path
        if recorder is None or path is None:
            raise exceptions.CommandError(NOT_RECORDED)
        recorder.flush(PATIENCE)
        text = io.StringIO()
        try:
            with closing(open_to_read(path)) as db:
                tell(db, Page(text))
        except (TrafficError, sqlite3.Error) as e:
            raise exceptions.CommandError(str(e)) from e
        return text.getvalue()

    def _recording(self) -> str:
        if self.traffic.recorder is None:
            return NOT_RECORDED
        health = self.traffic.recorder.health()
        missing = f"; {plural(health.not_recorded, 'call')} not recorded" if health.not_recorded else ""
        trouble = f"; {health.trouble}" if health.trouble else ""
        return f"calls are recorded in {self.traffic.path}{missing}{trouble}"


def standing_line(standing: Standing, now: float) -> str:
    windows = standing.quota.windows if standing.quota else {}
    plan = "; ".join(f"{kind} {w.used(now):.0f} % used{resets(w.resets_at)}" for kind, w in windows.items())
    reason = f" ({standing.reason})" if standing.reason else ""
    return f"account {standing.name}: {standing.state}{reason}, {standing.in_flight} under way{f'; {plan}' if plan else ''}"
