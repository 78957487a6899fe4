"""Under which names this proxy may be addressed, from which pages, and who can reach it at all. Pure.

A page that a browser shows can send requests to 127.0.0.1. It cannot choose their `Origin`, so the origin tells it from a program,
which sends none. By DNS rebinding a page makes its own name lead here, and is of the same origin then; but it cannot choose the
`Host`, which stays its own name. So both are looked at.
"""

import ipaddress
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
EVERYWHERE = frozenset({"", "0.0.0.0", "::"})

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5})?)?")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}")
# http and https, and what programs with a browser inside have: app://obsidian.md, vscode-webview://..., tauri://localhost
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[A-Za-z0-9._\[\]:-]+")
_DEFAULT_PORTS = {"http": "80", "https": "443"}

MAX_ORIGINS = 100


def host_of(authority: str) -> str | None:
    """The name or address in a `Host` header or an absolute target, without its port. None if it is neither."""
    found = _AUTHORITY.fullmatch(authority.strip())
    return plain(found[1]) if found else None


def plain(host: str) -> str:
    """The one spelling by which hosts are compared."""
    name = host.strip("[]").lower().removesuffix(".")
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return name
    return str(getattr(address, "ipv4_mapped", None) or address)


def is_served(authority: str, names: Collection[str]) -> bool:
    """`names` in their plain spelling."""
    as_said = _AUTHORITY.fullmatch(authority.strip())
    if as_said and (as_said[1] in LOOPBACK or as_said[1] in names):  # what clients say is plain already
        return True
    return (host := host_of(authority)) is not None and (host in LOOPBACK or host in names)


def bad_name(name: str) -> str | None:
    """What is wrong with a name that is to be served."""
    if _NAME.fullmatch(name):
        return None
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return f"{name[:100]} is not the name or the address of a host; it has no port and no http:// in it, and * is none"
    return None


def is_own(origin: str, scheme: str, authority: str) -> bool:
    """Whether a page of this origin was served by the host that it now asks."""
    return _origin(origin) == _origin(f"{scheme}://{authority}") is not None


def _origin(origin: str) -> tuple[str, str, str] | None:
    scheme, separator, authority = origin.strip().lower().partition("://")
    found = _AUTHORITY.fullmatch(authority)
    if not separator or not found:
        return None
    return scheme, plain(found[1]), found[2] or _DEFAULT_PORTS.get(scheme, "")


def validate_origins(raw: Any) -> frozenset[str]:
    """Raises ValueError."""
    if not isinstance(raw, list) or len(raw) > MAX_ORIGINS:
        raise ValueError(f"it must be a list of at most {MAX_ORIGINS}, as https://chat.example.com")
    for origin in raw:
        if not isinstance(origin, str) or not _ORIGIN.fullmatch(origin):
            shown = origin[:100] if isinstance(origin, str) else type(origin).__name__
            raise ValueError(f"{shown} is no origin: https://chat.example.com, without a path, * or null")
    return frozenset(origin.lower() for origin in raw)


def comes_from_a_page(headers: Mapping[str, str]) -> bool:
    """A page's request that has no `Origin`, for a picture, a script or a frame: newer browsers say so all the same."""
    return headers.get("sec-fetch-site", "") in ("cross-site", "same-site")


def follows_a_link(headers: Mapping[str, str]) -> bool:
    """Or looks like it: a page can go wherever a link leads by itself, and in a frame that nobody sees."""
    return headers.get("sec-fetch-mode") == "navigate"


@lru_cache(maxsize=256)  # of the addresses that this machine has, asked with each request
def is_loopback(listen_host: str) -> bool:
    if listen_host == "localhost":
        return True
    try:
        return ipaddress.ip_address(plain(listen_host)).is_loopback
    except ValueError:  # a name may lead anywhere, and "" is every address
        return False


def exposed(listen_hosts: Iterable[str]) -> list[str]:
    """Those on which others than this machine can be heard."""
    return [host or "0.0.0.0" for host in listen_hosts if not is_loopback(host)]


# What a page of a listed origin may read of an answer beside its body.
SHOWN_TO_PAGES = (
    "x-request-id, retry-after, x-should-retry, x-codex-model, x-codex-edits, x-codex-queued, x-ratelimit-limit-requests, "
    "x-ratelimit-remaining-requests, x-ratelimit-reset-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, "
    "x-ratelimit-reset-tokens"
)
_HEADER_NAMES = re.compile(r"[A-Za-z0-9_-]+(, ?[A-Za-z0-9_-]+){0,99}")
# Seconds for which a browser need not ask again; Chrome takes no more than two hours.
PREFLIGHT_HOLDS = 600


def for_page(origin: str) -> dict[str, str]:
    """What lets a page of this origin read an answer. No credentials: those of a browser are not for here."""
    return {"access-control-allow-origin": origin, "access-control-expose-headers": SHOWN_TO_PAGES, "vary": "origin"}


def preflight(origin: str, headers: Mapping[str, str]) -> dict[str, str]:
    """The answer to a browser that asks first. The headers are named as asked for, because * does not cover authorization."""
    wanted = headers.get("access-control-request-headers", "")
    allowed = for_page(origin) | {
        "access-control-allow-methods": "GET, POST, DELETE",
        "access-control-max-age": str(PREFLIGHT_HOLDS),
        "vary": "origin, access-control-request-headers",
    }
    if _HEADER_NAMES.fullmatch(wanted):
        allowed["access-control-allow-headers"] = wanted
    if headers.get("access-control-request-private-network") == "true":
        allowed["access-control-allow-private-network"] = "true"
    return allowed


def is_preflight(method: str, headers: Mapping[str, str]) -> bool:
    return method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def names_of(hosts: Sequence[str]) -> frozenset[str]:
    """The plain spelling of those that lead to one address."""
    return frozenset(_plain_of_own(host) for host in hosts if host not in EVERYWHERE)


# Asked of the address that each connection came in at, and a machine has few of them.
_plain_of_own = lru_cache(maxsize=256)(plain)
