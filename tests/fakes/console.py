"""The control endpoint: how a test, in this process or another, tells the fake what to do and asks what it has seen.

Every endpoint takes and gives JSON; a wrong request is a 400 with the reason in `error`. `control.Control` is its client.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from .device import Verdict
from .http import Request, Response, json_response
from .identity import auth_document
from .routes import Route, answer, route_of
from .settings import DEFAULT_EMAIL
from .world import World

REQUIRED: Any = object()


def read_object(request: Request) -> dict[str, Any]:
    body = request.json if request.body else {}
    if not isinstance(body, dict):
        raise ValueError("the body must be a JSON object, sent as application/json")
    return body


def read(request: Request, **expected: Any) -> dict[str, Any]:
    """The body's members, each with its default; REQUIRED stands for none, and a member not named here is refused."""
    body = read_object(request)
    if unknown := body.keys() - expected.keys():
        raise ValueError(f"{', '.join(sorted(unknown))}: takes {', '.join(expected)}")
    values = {**expected, **body}
    if missing := [name for name, value in values.items() if value is REQUIRED]:
        raise ValueError(f"missing: {', '.join(missing)}")
    return values


class Console:
    """Reads and writes the world of the moment; `reset` replaces it."""

    def __init__(self, world: Callable[[], World], reset: Callable[[str | None], None]) -> None:
        self._world = world
        self._reset = reset
        self.routes = [
            Route("reset", "POST", "/reset", self.reset),
            Route("settings", "POST", "/settings", self.settings),
            Route("lifetime", "POST", "/lifetime", self.lifetime),
            Route("clock", "POST", "/clock", self.clock),
            Route("login", "POST", "/login", self.login),
            Route("current", "GET", "/current", self.current),
            Route("revoke_tokens", "POST", "/revoke", self.revoke),
            Route("approve", "POST", "/approve", self.approve),
            Route("api_key", "POST", "/api-key", self.api_key),
            Route("quota", "POST", "/quota", self.quota),
            Route("script", "POST", "/script", self.script),
            Route("add_fault", "POST", "/faults", self.add_fault),
            Route("list_faults", "GET", "/faults", self.list_faults),
            Route("clear_faults", "DELETE", "/faults", self.clear_faults),
            Route("seen", "GET", "/seen", self.seen),
            Route("counts", "GET", "/counts", self.counts),
            Route("tokens", "GET", "/tokens", self.tokens),
        ]

    def answer(self, request: Request) -> Response:
        try:
            return answer(self, route_of(self, request), request)
        except (ValueError, TypeError, LookupError) as error:
            return json_response(400, {"error": str(error)})

    def not_found(self, request: Request) -> Response:
        return json_response(404, {"error": f"no {request.path}: one of {', '.join(r.path for r in self.routes)}"})

    def wrong_method(self, request: Request) -> Response:
        return json_response(405, {"error": f"{request.path} does not take {request.method}"})

    def owner(self, request: Request) -> str | None:
        return None

    def reset(self, request: Request) -> Response:
        self._reset(read(request, sentinel=None)["sentinel"])
        return json_response(200, {})

    def settings(self, request: Request) -> Response:
        settings = self._world().settings
        settings.update(read_object(request))
        return json_response(200, asdict(settings))

    def lifetime(self, request: Request) -> Response:
        body = read(request, access=None, refresh=None)
        changes = {f"{kind}_lifetime": seconds for kind, seconds in body.items() if seconds is not None}
        self._world().settings.update(changes)
        return json_response(200, {})

    def clock(self, request: Request) -> Response:
        clock = self._world().clock
        clock.offset = float(read(request, offset=REQUIRED)["offset"])
        return json_response(200, {"now": clock.now()})

    def login(self, request: Request) -> Response:
        body = read(
            request,
            email=DEFAULT_EMAIL,
            plan=None,
            account_id=None,
            lifetime=None,
            issued_ago=0,
            last_refresh_ago=None,
        )
        vault = self._world().vault
        identity = vault.identity(body["email"], body["plan"], body["account_id"])
        session = vault.sign_in(identity, lifetime=body["lifetime"], issued_ago=body["issued_ago"])
        ago = body["issued_ago"] if body["last_refresh_ago"] is None else body["last_refresh_ago"]
        return json_response(200, auth_document(session, vault.issuer_url, vault.clock.now() - ago))

    def current(self, request: Request) -> Response:
        tokens = self._world().vault.current(dict(request.query).get("email", DEFAULT_EMAIL))
        if tokens is None:
            raise ValueError("nobody with that email has signed in")
        return json_response(200, asdict(tokens))

    def revoke(self, request: Request) -> Response:
        body = read(request, what=REQUIRED, email=None, body="token_invalidated")
        if body["what"] not in ("access", "refresh", "all"):
            raise ValueError("what: one of access, refresh, all")
        return json_response(200, {"revoked": self._world().vault.revoke_of(body["what"], body["email"], body["body"])})

    def approve(self, request: Request) -> Response:
        body = read(request, user_code=REQUIRED, deny=False, email=None)
        verdict: Verdict = "denied" if body["deny"] else "approved"
        if not self._world().issuer.device.decide(body["user_code"], verdict, body["email"]):
            raise ValueError("no such user_code is waiting")
        return json_response(200, {})

    def api_key(self, request: Request) -> Response:
        body = read(request, key=None, email=None)
        vault = self._world().vault
        key = vault.register_api_key(body["key"], body["email"]) if body["key"] else vault.mint_api_key(body["email"])
        return json_response(200, {"key": key})

    def quota(self, request: Request) -> Response:
        body = read(request, email=DEFAULT_EMAIL, primary=None, secondary=None)
        world = self._world()
        usage = world.quotas.of(world.vault.identity(body["email"]).account_id)
        for window in ("primary", "secondary"):
            if body[window] is not None:
                setattr(usage, window, float(body[window]))
        return json_response(200, asdict(usage))

    def script(self, request: Request) -> Response:
        body = read(request, at="responses", steps=REQUIRED, times=1)
        self._world().scripts.add(body["at"], body["steps"], body["times"])
        return json_response(200, {})

    def add_fault(self, request: Request) -> Response:
        faults = self._world().faults
        faults.add(read_object(request))
        return json_response(200, {"waiting": len(faults.waiting)})

    def list_faults(self, request: Request) -> Response:
        return json_response(200, [asdict(fault) for fault in self._world().faults.waiting])

    def clear_faults(self, request: Request) -> Response:
        self._world().faults.waiting.clear()
        return json_response(200, {})

    def seen(self, request: Request) -> Response:
        return json_response(200, self._world().journal.seen())

    def counts(self, request: Request) -> Response:
        world = self._world()
        happened = world.vault.counts
        return json_response(
            200,
            {
                "requests": world.journal.requests(),
                "refreshes": happened["refreshes"],
                "reuses": happened["reuses"],
                "revocations": happened["revocations"],
                "hasty_device_polls": happened["hasty_device_polls"],
                "grants": world.vault.grants,
            },
        )

    def tokens(self, request: Request) -> Response:
        return json_response(200, self._world().vault.known_secrets)
