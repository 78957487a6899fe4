"""How connections leave this machine: decided here once, for sign-in, refresh and traffic alike.

Peers that let the refresh take another way out than the traffic were refused by region, or failed behind a company's proxy
and certificate while requests went through.
"""

import asyncio
import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self
from urllib.parse import SplitResult, urlsplit

import httpx

from auth.errors import BadSetting

# Sign-in and refresh are a handful of small requests; an issuer that takes longer than this is down.
TIMEOUT = httpx.Timeout(connect=10, read=30, write=10, pool=10)
LIMITS = httpx.Limits(max_connections=8, max_keepalive_connections=2, keepalive_expiry=30)


@dataclass(frozen=True, slots=True)
class Outbound:
    """CA and proxy settings. Proxy URLs may contain a password and are in no repr."""

    ca_file: str | None = None
    https_proxy: str | None = field(default=None, repr=False)
    http_proxy: str | None = field(default=None, repr=False)
    no_proxy: tuple[str, ...] = ()

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Raises BadSetting for a proxy of a kind that cannot be used."""
        everything = _proxy(environ, "ALL_PROXY")
        return cls(
            ca_file=environ.get("CODEX_CA_CERTIFICATE") or environ.get("SSL_CERT_FILE") or None,
            https_proxy=_proxy(environ, "HTTPS_PROXY") or everything,
            http_proxy=_proxy(environ, "HTTP_PROXY") or everything,
            no_proxy=tuple(_either_case(environ, "NO_PROXY").replace(",", " ").lower().split()),
        )

    def proxy_for(self, url: str) -> str | None:
        """The proxy for this URL, or None for a direct connection. Loopback is never proxied."""
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        if is_loopback(host) or any(_covers(entry, host, _port(parts)) for entry in self.no_proxy):
            return None
        return self.https_proxy if parts.scheme == "https" else self.http_proxy


def is_loopback(host: str) -> bool:
    """RFC 6761: localhost and all names below it; and the loopback addresses."""
    address = _address(host)
    return address.is_loopback if address else host == "localhost" or host.endswith(".localhost")


def is_url(url: str) -> bool:
    """Whether httpx will accept it later, so that a typing error is found at start and not at the first request."""
    try:
        parts = urlsplit(url)
        port = parts.port
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0


def http_client(outbound: Outbound, user_agent: str) -> httpx.AsyncClient:
    """The one client for the issuer. It follows no redirect: a token must not be sent to wherever an answer points."""
    return httpx.AsyncClient(
        transport=_Routed(outbound),
        headers={"user-agent": user_agent, "accept": "*/*", "accept-encoding": "identity"},
        timeout=TIMEOUT,
        follow_redirects=False,
        trust_env=False,
    )


class _Routed(httpx.AsyncBaseTransport):
    """Asks `proxy_for` for each request. httpx's own `mounts` would be a second reading of NO_PROXY."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        if outbound.ca_file:
            _ssl_context(outbound.ca_file)  # a file that cannot be used is found at start, and not at the first request
        self._routes: dict[tuple[str | None, bool], httpx.AsyncHTTPTransport] = {}
        """By the proxy, and whether there is TLS behind it."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        way = self._outbound.proxy_for(str(request.url)), request.url.scheme == "https"
        if way not in self._routes:
            context = await self._trusted(has_tls=way[1])
            if way not in self._routes:  # another request was faster
                self._routes[way] = httpx.AsyncHTTPTransport(verify=context, proxy=way[0], limits=LIMITS, trust_env=False)
        return await self._routes[way].handle_async_request(request)

    async def _trusted(self, *, has_tls: bool) -> ssl.SSLContext:
        """Where there is no TLS: nobody."""
        if not has_tls:
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return await asyncio.to_thread(_ssl_context, self._outbound.ca_file)

    async def aclose(self) -> None:
        for route in self._routes.values():
            await route.aclose()


@lru_cache
def _ssl_context(ca_file: str | None) -> ssl.SSLContext:
    """Made once: to read the CA bundle takes 20 ms. An API key has nothing to sign in with and never needs it."""
    if ca_file is None:
        return httpx.create_ssl_context(trust_env=False)
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError, for a file without a certificate, is one too
        raise BadSetting("CODEX_CA_CERTIFICATE or SSL_CERT_FILE", f"{ca_file} holds no readable certificate") from error


def _proxy(environ: Mapping[str, str], name: str) -> str | None:
    value = _either_case(environ, name)
    if not value:
        return None
    url = value if "://" in value else f"http://{value}"  # "proxy:3128" is what most people write
    if not is_url(url):
        raise BadSetting(name, "only http:// and https:// proxies are supported")
    return url


def _either_case(environ: Mapping[str, str], name: str) -> str:
    """Lower case wins, as in curl and in Python."""
    return (environ.get(name.lower()) or environ.get(name) or "").strip()


def _covers(entry: str, host: str, port: int) -> bool:
    """As in curl and Go: *, a name with everything below it, an address, a network; each with an optional port."""
    if entry == "*":
        return True
    name, _, number = entry.rpartition(":")
    if name and number.isdigit() and (":" not in name or name.startswith("[")):
        return int(number) == port and _covers(name.strip("[]"), host, port)
    return _covers_address(entry, host) or _covers_name(entry, host)


def _covers_address(entry: str, host: str) -> bool:
    address = _address(host)
    try:
        return address is not None and address in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False


def _covers_name(entry: str, host: str) -> bool:
    name = entry.removeprefix("*").lstrip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)
