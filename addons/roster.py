"""The accounts that are there, what is known of each one's plan, and a file in which that survives a restart.

~/.codex-mitm/state.json    the pool (pool/memory.py): no secret and no word of a conversation is in it
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence

import orjson

from addons.pool import Choice, Nobody, Standing, memory
from addons.pool.strategies import Member
from auth import durable
from auth.errors import AuthError
from auth.issuer import Issuer
from auth.places import place_of
from auth.shared import Shared
from auth.sidecar import fingerprint
from auth.source import TokenSource
from auth.store import own_folder, reason

logger = logging.getLogger(__name__)

STATE_FILE = "state.json"
# Seconds. It changes with every request and is 180 KB at its largest; a restart may forget a minute.
SAVE_EVERY = 60.0
# What 1000 accounts and 4096 conversations come to, twice over.
MAX_STATE = 4 << 20


class Roster:
    def __init__(self, env: Mapping[str, str], shared: Shared | None = None, clock: Callable[[], float] = time.time) -> None:
        self.path = own_folder(env) / STATE_FILE
        self.place = place_of(env, shared)
        self.clock = clock
        self.sources: dict[str, TokenSource] = {}
        """By name, in the order in which they were found."""
        self.places: dict[str, str] = {}
        self.stamps: dict[str, Hashable] = {}
        self.identities: dict[str, tuple[str, str | None]] = {}
        self.saved_at = clock()
        self.complained = False
        self.on_stranger: Callable[[str, float], None] = lambda name, since: None
        """Is told of a name under which somebody else has signed in, and when that was."""
        self.pool = memory.load(self._read(), clock())

    async def find(self, configured: Sequence[str], issuer: Issuer) -> None:
        """Looks for accounts; those that are known keep their source, with what it holds in memory. Raises as `Place.find`."""
        found = await self.place.find(configured)
        known = {place: self.sources[name] for name, place in self.places.items()}
        self.sources = {account.name: known.get(account.where) or TokenSource(account, issuer) for account in found}
        self.places = {account.name: account.where for account in found}
        self.pool.keep(self.sources.keys())

    def forget(self) -> None:
        """For another issuer, or other places to look in."""
        self.sources, self.places = {}, {}

    async def look_again(self) -> list[str]:
        """At files that changed: somebody may have signed in anew, or somebody else. Returns whose that are."""
        changed = []
        for name, source in list(self.sources.items()):
            stamp = source.stamp()
            if self.stamps.get(name) == stamp:
                continue
            self.stamps[name] = stamp
            try:
                credential = await source.get()
            except AuthError:
                continue
            identity = credential.kind, credential.account_id or (credential.api_key and fingerprint(credential.api_key))
            if self.identities.setdefault(name, identity) != identity:
                self.identities[name] = identity
                self.pool.keep(self.sources.keys() - {name})
                self.on_stranger(name, source.status().last_refresh or self.clock())
            self.pool.sign_in_changed(name, self.clock())
            changed.append(name)
        return changed

    def choose(self, members: Mapping[str, Member], keys: Sequence[str], tried: Collection[str]) -> Choice | Nobody:
        return self.pool.choose(self._seated(members), keys=keys, tried=tried, now=self.clock(), roll=random.random())

    def could_serve(self, members: Mapping[str, Member], tried: Collection[str]) -> bool:
        """Whether there is another account to go to right now."""
        return any(standing.state in ("serving", "avoided") and standing.name not in tried for standing in self.view(members))

    def view(self, members: Mapping[str, Member]) -> list[Standing]:
        return self.pool.view(self._seated(members), self.clock())

    def _seated(self, members: Mapping[str, Member]) -> list[Member]:
        return [members.get(name) or Member(name) for name in self.sources]

    async def save(self, *, at_once: bool = False) -> None:
        """A disk that does not take it costs nothing but the memory of a restart."""
        now = self.clock()
        if not self.sources or (not at_once and abs(now - self.saved_at) < SAVE_EVERY):
            return
        document, self.saved_at = orjson.dumps(memory.dump(self.pool)), now
        try:
            await asyncio.to_thread(self._write, document)
        except OSError as e:
            if not self.complained:
                logger.warning("%s is not written (%s): what is known of the plans will be forgotten", self.path, reason(e))
            self.complained = True
        else:
            self.complained = False

    def _write(self, document: bytes) -> None:
        durable.make_private_folders(self.path.parent)
        durable.replace(self.path, document)

    def _read(self) -> object:
        try:
            return orjson.loads(durable.read_bounded(self.path, MAX_STATE))
        except (OSError, ValueError):
            return None
