"""Which handler answers: a table of exact paths for each origin, a path that ends in `/*` taking one more segment.

A route's name is also what faults and the journal call it, so names are unique over all origins.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .http import Refused, Request, Response

type Handler = Callable[[Request], Response]


@dataclass(frozen=True)
class Route:
    name: str
    method: str
    path: str
    handler: Handler

    def takes(self, path: str) -> bool:
        if self.path.endswith("/*"):
            head, _, last = path.rpartition("/")
            return bool(last) and head == self.path[:-2]
        return path == self.path


class Site(Protocol):
    """What lives on one origin. Handlers are synchronous: between two requests the state is always whole."""

    @property
    def routes(self) -> list[Route]: ...

    def not_found(self, request: Request) -> Response: ...

    def wrong_method(self, request: Request) -> Response: ...

    def owner(self, request: Request) -> str | None:
        """The email of whoever's credential the request carries, if it is one that this site gave out."""
        ...


def route_of(site: Site, request: Request) -> Route | None:
    return next((r for r in site.routes if r.takes(request.path) and r.method == request.method), None)


def answer(site: Site, route: Route | None, request: Request) -> Response:
    try:
        if route is not None:
            return route.handler(request)
        if any(other.takes(request.path) for other in site.routes):
            return site.wrong_method(request)
        return site.not_found(request)
    except Refused as refusal:
        return refusal.response
