"""The parts of a proxy that is one of several, put together."""

import time

from mitmproxy import http

from addons.accounts import CodexAccounts
from addons.counter import OwnCounter
from addons.kept import Kept
from addons.shared.limits import SharedCounter
from addons.shared.line import Line, Shared
from addons.shared.pool import SharedPool
from addons.shared.presence import Presence
from addons.shared.replicas import CodexReplicas
from addons.shared.turns import SharedTurns


class Together:
    def __init__(self, shared: Shared, accounts: CodexAccounts) -> None:
        line = self.line = Line(shared)
        presence = Presence(line)
        self.salt = shared.derive("clients")
        self.kept = Kept()
        self.counter = SharedCounter[http.HTTPFlow](line, presence, OwnCounter(time.monotonic))
        self.turns = SharedTurns(line, self.kept)
        self.pool = SharedPool(line, presence, accounts.roster)
        accounts.may_probe, accounts.roster.on_stranger = self.pool.may_probe, self.pool.forget
        self.addon = CodexReplicas(presence, [self.pool.exchange, self.counter.catch_up, self.turns.catch_up])
