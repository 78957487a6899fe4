"""The OpenID issuer over HTTP. What to send and what an answer means is in `grants` and `device`; here it travels.

Every failure of the network, and every answer that does not come whole and in time, is TryAgainLater: whether the issuer
acted on the request is then unknown.
"""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from auth import grants
from auth.errors import BadSetting, LoginFailed, TryAgainLater
from auth.grants import CLIENT_ID, Refused, TokenGrant, TokenRequest, Unclear
from auth.outbound import Outbound, http_client, is_loopback, is_url

if TYPE_CHECKING:
    from auth.device import Decision, DeviceCode

ISSUER_URL = "https://auth.openai.com"

MAX_BODY = 1 << 20  # as golang/oauth2: no token answer comes near
# httpx limits each read; this ends an answer that trickles. Whoever waits for the account's lock waits longer than this.
TOTAL_TIMEOUT = 40.0
REVOKE_TIMEOUT = 10.0  # the CLI's
# Whatever else goes wrong may have gone wrong after the issuer had it all.
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    retry_after: float | None
    body: bytes = field(repr=False)


class Issuer:
    """One HTTP client for all accounts of an issuer. `url` must be https unless its host is loopback."""

    def __init__(
        self,
        url: str,
        outbound: Outbound,
        user_agent: str,
        *,
        client_id: str = CLIENT_ID,
        originator: str = "codex_mitm",
        total_timeout: float = TOTAL_TIMEOUT,
    ) -> None:
        self.url = _checked(url)
        self.client_id = client_id
        self.device_redirect_uri = f"{self.url}/deviceauth/callback"
        self._originator = originator
        self._total_timeout = total_timeout
        self.refreshes = {"renewed": 0, "refused": 0, "failed": 0}
        """How many ended how, for whoever counts them."""
        self._client = http_client(outbound, user_agent)

    async def exchange_code(self, code: str, verifier: str, redirect_uri: str) -> TokenGrant:
        """All three tokens. Raises LoginFailed if the issuer refuses the code."""
        request = grants.code_request(self.client_id, code, redirect_uri, verifier)
        answer = await self._post("/oauth/token", request)
        match grants.parse_code(answer.status, answer.body):
            case TokenGrant() as grant:
                return grant
            case Refused(code=why):
                raise LoginFailed(f"the issuer refuses the code ({why})", "start the sign-in again")
            case Unclear(why=why) if 400 <= answer.status < 500 and answer.status != 429:
                raise LoginFailed(why, "check that your region and workspace may use Codex")
            case Unclear(why=why):
                raise TryAgainLater(why, answer.retry_after)

    async def refresh(self, refresh_token: str, reason: str) -> TokenGrant | Refused:
        """Spends the refresh token. Raises TryAgainLater if it may be unspent."""
        request = grants.refresh_request(self.client_id, refresh_token, reason)
        became = "failed"
        try:
            answer = await self._post("/oauth/token", request, {"originator": self._originator})
            outcome = grants.parse_refresh(answer.status, answer.body)
            if isinstance(outcome, Unclear):
                raise TryAgainLater(outcome.why, answer.retry_after)
            became = "refused" if isinstance(outcome, Refused) else "renewed"
            return outcome
        finally:
            self.refreshes[became] += 1

    async def api_key_for(self, id_token: str) -> str | None:
        """A Platform API key for this login. Most ChatGPT accounts get none, and that is no error."""
        try:
            answer = await self._post("/oauth/token", grants.api_key_request(self.client_id, id_token))
        except TryAgainLater:
            return None
        return grants.parse_api_key(answer.status, answer.body)

    async def device_start(self) -> "DeviceCode":
        """Raises LoginFailed where device login is switched off."""
        from auth import device  # 3 ms of each start, and nearly none leads to a sign-in

        request = device.usercode_request(self.client_id)
        answer = await self._post("/api/accounts/deviceauth/usercode", request)
        return device.parse_usercode(answer.status, answer.body, f"{self.url}/codex/device")

    async def device_poll(self, shown: "DeviceCode", interval: float, elapsed: float) -> "Decision":
        """One poll. A granted code is exchanged with `device_redirect_uri`."""
        from auth import device

        answer = await self._post("/api/accounts/deviceauth/token", device.poll_request(shown))
        return device.decide(answer.status, answer.body, interval, elapsed)

    async def revoke(self, token: str, hint: str = "refresh_token") -> bool:
        """Whether the issuer said so; it is asked once, for ten seconds."""
        request = grants.revoke_request(self.client_id, token, hint)
        try:
            async with asyncio.timeout(REVOKE_TIMEOUT):
                answer = await self._post("/oauth/revoke", request)
        except (TryAgainLater, TimeoutError):
            return False
        return answer.status == 200

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _post(self, path: str, request: TokenRequest, headers: dict[str, str] | None = None) -> _Answer:
        content_type = {"content-type": request.content_type}
        try:
            async with (
                asyncio.timeout(self._total_timeout),
                self._client.stream(
                    "POST", self.url + path, content=request.body, headers=content_type | (headers or {})
                ) as response,
            ):
                body = await _read_bounded(response)
        except (httpx.HTTPError, httpx.StreamError, TimeoutError) as error:
            # The class says what happened; the text of some would repeat the URL, or the proxy's with its password.
            unanswered = not isinstance(error, NOT_SENT)
            raise TryAgainLater(f"no answer from {self.url} ({type(error).__name__})", unanswered=unanswered) from None
        return _Answer(response.status_code, _retry_after(response.headers.get("retry-after")), body)


async def _read_bounded(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_BODY:
            raise TryAgainLater(f"the issuer's answer is larger than {MAX_BODY} bytes")
    return bytes(body)


def _checked(url: str) -> str:
    if not is_url(url):
        raise BadSetting("codex_issuer_url", "it must be a URL such as https://auth.openai.com")
    parts = urlsplit(url)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise BadSetting("codex_issuer_url", "http:// is for loopback hosts only, use https://")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise BadSetting("codex_issuer_url", "it must have no user, query or fragment")
    return url.rstrip("/")


def _retry_after(value: str | None) -> float | None:
    """Seconds only: the HTTP date form would need the issuer's clock."""
    return float(value) if value and value.isascii() and value.isdigit() and len(value) < 7 else None
