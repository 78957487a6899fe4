"""The client of the control endpoint, the same for a fake in a thread and for one in a process of its own."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx


class ControlError(Exception):
    """The fake did not take the request; the text is its reason."""


@dataclass(frozen=True)
class Seen:
    """One request that reached a public origin."""

    origin: str
    route: str | None
    method: str
    target: str
    headers: list[tuple[str, str]]
    size: int
    sha256: str
    json: Any
    form: list[tuple[str, str]] | None
    at: float
    connection: int
    fault: bool
    status: int | None
    ended: str | None
    ended_at: float | None

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name.lower()), None)


@dataclass(frozen=True)
class Counts:
    requests: dict[str, dict[str, int]]
    refreshes: int
    reuses: int
    revocations: int
    hasty_device_polls: int
    grants: dict[str, int]

    def of(self, origin: str, path: str | None = None) -> int:
        """Requests to an origin, or to one path of it."""
        paths = self.requests.get(origin, {})
        return sum(paths.values()) if path is None else paths.get(path, 0)


@dataclass(frozen=True)
class CurrentTokens:
    id_token: str
    access_token: str
    refresh_token: str
    expires_in: int


def loopback_client(base_url: str = "") -> httpx.Client:
    # No proxy named in the environment may stand between a test and its fake, and there is no TLS: reading the CA bundle
    # would take longer than starting the fake does.
    return httpx.Client(base_url=base_url, trust_env=False, verify=False, timeout=30)


LINK = re.compile(r'href="([^"]*allow=([01]))"')


def consent(authorize_url: str, *, allow: bool = True) -> str:
    """What a user does in the browser: open the page, follow one of its links. Returns where that sends the browser."""
    with loopback_client() as browser:
        page = browser.get(authorize_url)
        if page.status_code != 200:
            raise ControlError(f"authorize answered {page.status_code}: {page.text}")
        links = {choice: html.unescape(link) for link, choice in LINK.findall(page.text)}
        return browser.get(page.url.join(links["1" if allow else "0"])).headers["location"]


class Control:
    def __init__(self, url: str) -> None:
        self._http = loopback_client(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def reset(self, sentinel: str | None = None) -> None:
        """Forget everything: identities, tokens, faults, scripts, settings, clock, journal."""
        self._post("/reset", sentinel=sentinel)

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Change some settings, by the names of `settings.Settings`; all of them come back."""
        result: dict[str, Any] = self._ask("POST", "/settings", changes)
        return result

    def lifetime(self, access: float | None = None, refresh: float | None = None) -> None:
        """Seconds that tokens minted from now on are good for."""
        self._post("/lifetime", access=access, refresh=refresh)

    def clock(self, offset: float) -> float:
        """Set the server's clock that many seconds ahead of ours; its new now comes back."""
        return float(self._post("/clock", offset=offset)["now"])

    def login(
        self,
        email: str | None = None,
        *,
        plan: str | None = None,
        account_id: str | None = None,
        lifetime: float | None = None,
        issued_ago: float = 0,
        last_refresh_ago: float | None = None,
    ) -> dict[str, Any]:
        """Sign somebody in, and get the auth.json that the CLI would have written."""
        return self._post(
            "/login",
            email=email,
            plan=plan,
            account_id=account_id,
            lifetime=lifetime,
            issued_ago=issued_ago,
            last_refresh_ago=last_refresh_ago,
        )

    def current(self, email: str | None = None) -> CurrentTokens:
        """The newest tokens of somebody."""
        return CurrentTokens(**self._ask("GET", "/current", parameters={"email": email} if email else {}))

    def revoke(self, what: str, email: str | None = None, body: str = "token_invalidated") -> int:
        """Revoke "access", "refresh" or "all" that somebody, or everybody, holds now; how many tokens that hit.

        `body` is the 401 that a revoked access token gets: token_invalidated, token_expired, token_revoked or unauthorized.
        """
        return int(self._post("/revoke", what=what, email=email, body=body)["revoked"])

    def approve(self, user_code: str, email: str | None = None) -> None:
        self._post("/approve", user_code=user_code, email=email)

    def deny(self, user_code: str) -> None:
        self._post("/approve", user_code=user_code, deny=True)

    def api_key(self, key: str | None = None, email: str | None = None) -> str:
        """Register a platform key, or have one minted."""
        return str(self._post("/api-key", key=key, email=email)["key"])

    def quota(self, email: str | None = None, primary: float | None = None, secondary: float | None = None) -> None:
        """Set how many percent of each window somebody has used; at 100 the answer is 429."""
        self._post("/quota", email=email, primary=primary, secondary=secondary)

    def script(self, steps: Sequence[dict[str, Any]], at: str = "responses", times: int = 1) -> None:
        """What the next stream at a route says, exactly; see `scripts`."""
        self._post("/script", at=at, steps=list(steps), times=times)

    def fault(
        self,
        at: str,
        do: dict[str, Any] | None = None,
        *,
        times: int | None = 1,
        after: int = 0,
        email: str | None = None,
        chance: float = 1.0,
        **effects: Any,
    ) -> None:
        """Let requests to `at` meet an effect, given as `do` or as keywords; see `faults`. `times=None` is for ever."""
        fault = {"at": at, "do": {**(do or {}), **effects}, "times": times, "after": after, "email": email, "chance": chance}
        self._ask("POST", "/faults", fault)

    def faults(self) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = self._ask("GET", "/faults")
        return result

    def clear_faults(self) -> None:
        self._ask("DELETE", "/faults")

    def seen(self, origin: str | None = None, route: str | None = None) -> list[Seen]:
        """The requests so far, in order; of one origin or one route if asked."""
        everything = [_seen(entry) for entry in self._ask("GET", "/seen")]
        return [s for s in everything if origin in (None, s.origin) and route in (None, s.route)]

    def counts(self) -> Counts:
        return Counts(**self._ask("GET", "/counts"))

    def tokens(self, *kinds: str) -> list[str]:
        """Every secret ever minted or accepted, of all kinds or of some: access, refresh, id, api_key, code, code_verifier."""
        by_kind: dict[str, list[str]] = self._ask("GET", "/tokens")
        return [value for kind, values in by_kind.items() if not kinds or kind in kinds for value in values]

    def _post(self, path: str, **values: Any) -> dict[str, Any]:
        given = {name: value for name, value in values.items() if value is not None}
        result: dict[str, Any] = self._ask("POST", path, given)
        return result

    def _ask(self, method: str, path: str, document: Any = None, parameters: dict[str, str] | None = None) -> Any:
        answer = self._http.request(method, path, json=document, params=parameters)
        if answer.status_code != 200:
            raise ControlError(answer.json()["error"])
        return answer.json()


def _seen(entry: dict[str, Any]) -> Seen:
    """JSON has no tuples; the pairs of headers and forms are made such again."""
    pairs = {name: entry[name] and [(key, value) for key, value in entry[name]] for name in ("headers", "form")}
    return Seen(**{**entry, **pairs})
