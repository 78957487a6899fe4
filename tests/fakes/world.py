"""One life of the fake, from its start or a reset to the next reset: all of its state, and the sites that work on it."""

import secrets
from dataclasses import replace
from email.utils import formatdate

from .backend import Backend
from .faults import NONE, Ended, Faults, deliver
from .http import Request, Response, Wire
from .identity import Vault
from .issuer import Issuer
from .journal import Journal
from .platform import Platform
from .quota import Quotas
from .routes import Route, Site, answer, route_of
from .scripts import Scripts
from .settings import Clock, Settings

SCRIPTED = frozenset({"responses", "platform_responses", "chat"})


class World:
    def __init__(self, issuer_url: str, sentinel: str) -> None:
        self.clock = Clock()
        self.settings = Settings()
        self.journal = Journal()
        self.scripts = Scripts(SCRIPTED)
        self.quotas = Quotas(self.clock)
        self.vault = Vault(self.clock, self.settings, issuer_url, sentinel)
        self.issuer = Issuer(issuer_url, self.vault, self.settings)
        self.sites: dict[str, Site] = {
            "issuer": self.issuer,
            "backend": Backend(self.vault, self.settings, self.quotas, self.scripts, self.journal),
            "platform": Platform(self.vault, self.settings, self.scripts),
        }
        names = [route.name for site in self.sites.values() for route in site.routes]
        self.faults = Faults(frozenset([*self.sites, *names]))

    async def serve(self, request: Request, wire: Wire) -> None:
        """What every request to a public origin goes through: journal, faults, its route, delivery."""
        site = self.sites[request.origin]
        route = route_of(site, request)
        entry = self.journal.open(request, route.name if route else None)
        places = [request.origin, route.name] if route else [request.origin]
        effect = self.faults.take(places, site.owner(request))
        entry.fault = effect is not NONE
        ended: Ended = "client_left"
        try:
            ended = await deliver(request, lambda: self._answer(site, route, request), wire, effect, entry.answered)
        finally:
            entry.end(ended)

    def _answer(self, site: Site, route: Route | None, request: Request) -> Response:
        response = answer(site, route, request)
        date = formatdate(self.clock.now(), usegmt=True)
        return replace(
            response,
            headers=[*response.headers, ("date", date), ("x-request-id", f"req_{secrets.token_hex(16)}")],
        )
