"""Sign-in with a code typed elsewhere, in OpenAI's own dialect of RFC 8628.

403 means "not yet", the interval is a JSON string, and the server makes the PKCE pair itself: the device is told the verifier
together with the code. Until that code is redeemed, polling again gives the same answer, so a lost answer costs nothing.
"""

import html
import secrets
from dataclasses import dataclass
from typing import Literal

from .errors import refuse
from .http import Request, Response, html_response, json_response
from .identity import CLIENT_ID, Vault
from .oauth import Codes, challenge_of, read_json
from .routes import Route
from .settings import Settings

type Verdict = Literal["approved", "denied"]

CODE_LIFETIME = 900.0  # "expires in 15 minutes", as the CLI tells its user
# No vowels and no look-alikes, RFC 8628 6.1.
ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"

FORM = """<!DOCTYPE html><title>Sign in to Codex</title><h1>Enter the code shown on your device</h1>
<form method="post" action="/codex/device">
<input name="user_code" value="{code}" autocomplete="off">
<button name="decision" value="approve">Continue</button> <button name="decision" value="deny">Deny</button>
</form>"""
DONE = """<!DOCTYPE html><title>Sign in to Codex</title><h1>{message}</h1>"""


@dataclass
class Pending:
    device_auth_id: str
    user_code: str
    expires_at: float
    verdict: Verdict | None = None
    email: str | None = None
    answer: dict[str, str] | None = None
    last_poll: float | None = None


class DeviceFlow:
    def __init__(self, vault: Vault, settings: Settings, codes: Codes, issuer_url: str) -> None:
        self._vault = vault
        self._settings = settings
        self._codes = codes
        self._redirect_uri = f"{issuer_url}/deviceauth/callback"
        self._pending: dict[str, Pending] = {}
        self.routes = [
            Route("usercode", "POST", "/api/accounts/deviceauth/usercode", self.usercode),
            Route("device_token", "POST", "/api/accounts/deviceauth/token", self.token),
            Route("device_page", "GET", "/codex/device", self.page),
            Route("device_decision", "POST", "/codex/device", self.submit),
        ]

    def usercode(self, request: Request) -> Response:
        if not self._settings.device_login:
            refuse(404, "not_found", "device code login is not enabled")
        if read_json(request, {"client_id"})["client_id"] != CLIENT_ID:
            refuse(400, "invalid_client", "unknown client_id")
        letters = "".join(secrets.choice(ALPHABET) for _ in range(8))
        pending = Pending(
            device_auth_id=f"deviceauth_{secrets.token_hex(12)}",
            user_code=f"{letters[:4]}-{letters[4:]}",
            expires_at=self._vault.clock.now() + CODE_LIFETIME,
        )
        self._pending[pending.user_code] = pending
        return json_response(
            200,
            {
                "device_auth_id": pending.device_auth_id,
                "user_code": pending.user_code,
                "interval": self._settings.device_interval,
            },
        )

    def token(self, request: Request) -> Response:
        body = read_json(request, {"device_auth_id", "user_code"})
        pending = self._pending.get(body["user_code"])
        if pending is None or pending.device_auth_id != body["device_auth_id"]:
            refuse(400, "invalid_request", "device_auth_id and user_code do not belong together")
        self._note_pace(pending)
        if pending.expires_at <= self._vault.clock.now():
            refuse(400, "expired_token", "the device code has expired")
        if pending.verdict == "denied":
            refuse(400, "access_denied", "the request was denied")
        if pending.verdict is None:
            refuse(403, "deviceauth_authorization_pending", "the code has not been approved yet")
        if pending.answer is None:
            pending.answer = self._grant(pending)
        return json_response(200, pending.answer)

    def page(self, request: Request) -> Response:
        code = dict(request.query).get("user_code", "")
        return html_response(200, FORM.format(code=html.escape(code, quote=True)))

    def submit(self, request: Request) -> Response:
        form = dict(request.form or [])
        decision: Verdict = "denied" if form.get("decision") == "deny" else "approved"
        code = form.get("user_code", "").strip().upper()
        if not self.decide(code, decision):
            return html_response(404, DONE.format(message="That code is not valid"))
        return html_response(200, DONE.format(message=f"Device {decision}"))

    def decide(self, user_code: str, verdict: Verdict, email: str | None = None) -> bool:
        """Whether there was such a code to decide on. `email` is who approves; by default who sits at the browser."""
        pending = self._pending.get(user_code)
        if pending is None or pending.expires_at <= self._vault.clock.now():
            return False
        pending.verdict, pending.email = verdict, email
        return True

    def _grant(self, pending: Pending) -> dict[str, str]:
        verifier = self._vault.remember("code_verifier", secrets.token_urlsafe(64))
        challenge = challenge_of(verifier)
        identity = self._vault.identity(pending.email or self._settings.sign_in_email)
        code = self._codes.issue(identity, self._redirect_uri, challenge)
        return {"authorization_code": code, "code_challenge": challenge, "code_verifier": verifier}

    def _note_pace(self, pending: Pending) -> None:
        now = self._vault.clock.now()
        # A tenth of tolerance: timers of a client and of a server never agree to the millisecond.
        if pending.last_poll is not None and now - pending.last_poll < 0.9 * float(self._settings.device_interval):
            self._vault.counts["hasty_device_polls"] += 1
        pending.last_poll = now
