"""auth.openai.com: consent in the browser, the token endpoint with its grants, revocation.

As strict as what Codex CLI 0.169 sends allows: every parameter of the authorize URL, form fields in its order, JSON with its
keys and no others.
"""

import html
import secrets
from typing import NoReturn
from urllib.parse import urlencode

from .device import DeviceFlow
from .errors import refuse
from .http import Request, Response, html_response, json_response
from .identity import CLIENT_ID, RefreshRefused, Tokens, Vault
from .oauth import CHALLENGE, Codes, read_form, read_json, refuse_oauth
from .routes import Route
from .settings import Settings

SCOPES = {"openid", "profile", "email", "offline_access", "api.connectors.read", "api.connectors.invoke"}
REQUIRED_SCOPES = {"openid", "offline_access"}
MIN_STATE = 8  # characters: Hydra's least parameter entropy

FIXED = {
    "response_type": "code",
    "client_id": CLIENT_ID,
    "code_challenge_method": "S256",
    "id_token_add_organizations": "true",
    "codex_cli_simplified_flow": "true",
}
FREE = {"redirect_uri", "code_challenge", "state", "scope", "originator"}
OPTIONAL = {"allowed_workspace_id"}

CODE_FIELDS = ("grant_type", "client_id", "code", "redirect_uri", "code_verifier")
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
EXCHANGE_FIELDS = ("grant_type", "client_id", "requested_token", "subject_token", "subject_token_type")
REFRESH_REASONS = {"proactive_expiry", "unauthorized_recovery", "scheduled", "forced"}

REFRESH_MESSAGES = {
    "refresh_token_reused": "Your refresh token has already been used to generate a new access token. Please try signing in again.",
    "refresh_token_invalidated": "Your refresh token has been invalidated. Please try signing in again.",
    "refresh_token_expired": "Your refresh token has expired. Please try signing in again.",
}

CONSENT = """<!DOCTYPE html><title>Sign in to Codex with ChatGPT</title>
<h1>Sign in to Codex with ChatGPT</h1><p>Signed in as {email}</p>
<form method="get" action="/oauth/authorize/decision"><input type="hidden" name="request" value="{request}">
<button name="allow" value="1">Continue</button> <button name="allow" value="0">Deny</button></form>
<p><a href="/oauth/authorize/decision?request={request}&amp;allow=1">Continue</a>
<a href="/oauth/authorize/decision?request={request}&amp;allow=0">Deny</a></p>"""


class Issuer:
    """One origin's worth of sign-in, over a vault that the other origins share."""

    def __init__(self, url: str, vault: Vault, settings: Settings) -> None:
        self._vault = vault
        self._settings = settings
        self._codes = Codes(vault)
        self._consents: dict[str, dict[str, str]] = {}
        self.device = DeviceFlow(vault, settings, self._codes, url)
        self.routes = [
            Route("authorize", "GET", "/oauth/authorize", self.authorize),
            Route("decision", "GET", "/oauth/authorize/decision", self.decision),
            Route("token", "POST", "/oauth/token", self.token),
            Route("revoke", "POST", "/oauth/revoke", self.revoke),
            *self.device.routes,
        ]

    def not_found(self, request: Request) -> Response:
        return html_response(404, "<!DOCTYPE html><title>Not found</title><h1>Not found</h1>")

    def wrong_method(self, request: Request) -> Response:
        return html_response(405, "<!DOCTYPE html><title>Method not allowed</title><h1>Method not allowed</h1>")

    def owner(self, request: Request) -> str | None:
        """A refresh's, by the token in its body; the other requests carry no credential."""
        token = request.json.get("refresh_token") if isinstance(request.json, dict) else None
        return self._vault.owner(token) if isinstance(token, str) else None

    def authorize(self, request: Request) -> Response:
        parameters = dict(request.query)
        if len(parameters) != len(request.query):
            # RFC 6749 3.1: "Request and response parameters MUST NOT be included more than once."
            self._refuse_authorize("a parameter is included more than once")
        self._check_authorize(parameters)
        self._check_scope(set(parameters["scope"].split(" ")))
        ticket = secrets.token_urlsafe(16)
        self._consents[ticket] = parameters
        if self._settings.instant_consent:
            return self._send_back(ticket, allow=True)
        email = self._vault.identity(self._settings.sign_in_email).email
        return html_response(200, CONSENT.format(email=html.escape(email), request=ticket))

    def decision(self, request: Request) -> Response:
        query = dict(request.query)
        if query.get("request") not in self._consents or query.get("allow") not in ("0", "1"):
            self._refuse_authorize("no such request for consent")
        return self._send_back(query["request"], allow=query["allow"] == "1")

    def token(self, request: Request) -> Response:
        if request.form is None:
            return self._refresh(request)
        grant = dict(request.form).get("grant_type")
        if grant == "authorization_code":
            return self._redeem_code(request)
        if grant == EXCHANGE:
            return self._exchange_for_api_key(request)
        refuse_oauth("unsupported_grant_type", f"{grant} is not a grant that comes as a form")

    def revoke(self, request: Request) -> Response:
        body = read_json(request, {"token", "token_type_hint"}, {"client_id"})
        expected = {"refresh_token": CLIENT_ID, "access_token": None}
        if expected.get(body["token_type_hint"], "") != body.get("client_id"):
            refuse(400, "invalid_request", "a refresh token is revoked with the client_id, an access token without")
        self._vault.revoke_token(body["token"])
        self._vault.counts["revocations"] += 1
        # RFC 7009 2.2: 200 also for a token that is not known.
        return json_response(200, {})

    def _redeem_code(self, request: Request) -> Response:
        form = read_form(request, CODE_FIELDS)
        self._check_client(form["client_id"])
        session = self._codes.redeem(form["code"], form["redirect_uri"], form["code_verifier"])
        return self._grant("authorization_code", session.tokens)

    def _refresh(self, request: Request) -> Response:
        body = read_json(request, {"client_id", "grant_type", "refresh_token"}, {"refresh_reason"})
        if body["grant_type"] != "refresh_token":
            refuse(400, "unsupported_grant_type", f"{body['grant_type']} is not a grant that comes as JSON")
        if body["client_id"] != CLIENT_ID:
            refuse(400, "invalid_client", "unknown client_id")
        if body.get("refresh_reason", "forced") not in REFRESH_REASONS:
            refuse(400, "invalid_request", f"refresh_reason must be one of {', '.join(sorted(REFRESH_REASONS))}")
        try:
            tokens = self._vault.redeem(body["refresh_token"])
        except RefreshRefused as error:
            refuse(401, error.code, REFRESH_MESSAGES[error.code])
        return self._grant("refresh_token", tokens)

    def _exchange_for_api_key(self, request: Request) -> Response:
        form = read_form(request, EXCHANGE_FIELDS)
        self._check_client(form["client_id"])
        if form["requested_token"] != "openai-api-key":
            refuse_oauth("invalid_request", "requested_token must be openai-api-key")
        if form["subject_token_type"] != "urn:ietf:params:oauth:token-type:id_token":
            refuse_oauth("invalid_request", "subject_token_type must be that of an id_token")
        if form["subject_token"] not in self._vault.known_secrets["id"]:
            refuse(401, "invalid_subject_token", "Invalid ID token")
        if not self._settings.api_key_exchange:
            refuse(401, "invalid_subject_token", "Invalid ID token: missing organization_id")
        self._vault.grants["token-exchange"] += 1
        return json_response(200, {"access_token": self._vault.mint_api_key(None)})

    def _grant(self, kind: str, tokens: Tokens) -> Response:
        self._vault.grants[kind] += 1
        return json_response(
            200,
            {
                "access_token": tokens.access_token,
                "expires_in": tokens.expires_in,
                "id_token": tokens.id_token,
                "refresh_token": tokens.refresh_token,
                "scope": "openid profile email offline_access",
                "token_type": "bearer",
            },
            # RFC 6749 5.1: the server MUST include these with a token.
            [("cache-control", "no-store"), ("pragma", "no-cache")],
        )

    def _send_back(self, ticket: str, allow: bool) -> Response:
        parameters = self._consents.pop(ticket)
        answer = {"error": "access_denied", "error_description": "The resource owner denied the request"}
        if allow:
            identity = self._vault.identity(self._settings.sign_in_email)
            code = self._codes.issue(identity, parameters["redirect_uri"], parameters["code_challenge"])
            answer = {"code": code, "scope": parameters["scope"]}
        query = urlencode({**answer, "state": parameters["state"]})
        return Response(302, [("location", f"{parameters['redirect_uri']}?{query}")])

    def _check_authorize(self, parameters: dict[str, str]) -> None:
        if missing := (FIXED.keys() | FREE) - parameters.keys():
            self._refuse_authorize(f"missing: {', '.join(sorted(missing))}")
        if unknown := parameters.keys() - FIXED.keys() - FREE - OPTIONAL:
            self._refuse_authorize(f"not known here: {', '.join(sorted(unknown))}")
        for name, value in FIXED.items():
            if parameters[name] != value:
                self._refuse_authorize(f"{name} must be {value}")
        hosts, ports = self._settings.redirect_hosts, self._settings.redirect_ports
        redirects = [f"http://{host}:{port}/auth/callback" for host in hosts for port in ports]
        if parameters["redirect_uri"] not in redirects:
            self._refuse_authorize(f"redirect_uri must be one of {', '.join(redirects)}")
        if not CHALLENGE.fullmatch(parameters["code_challenge"]):
            self._refuse_authorize("code_challenge must be a SHA-256 digest in base64url without padding")
        if len(parameters["state"]) < MIN_STATE:
            self._refuse_authorize(f"state must have at least {MIN_STATE} characters")
        if not parameters["originator"]:
            self._refuse_authorize("originator must not be empty")

    def _check_scope(self, scopes: set[str]) -> None:
        if missing := REQUIRED_SCOPES - scopes:
            self._refuse_authorize(f"scope lacks {', '.join(sorted(missing))}")
        if foreign := scopes - SCOPES:
            refuse_oauth("invalid_scope", f"the client is not allowed to request '{min(foreign)}'")

    def _check_client(self, client_id: str) -> None:
        if client_id != CLIENT_ID:
            refuse_oauth("invalid_client", "unknown client_id")

    def _refuse_authorize(self, message: str) -> NoReturn:
        refuse(400, "authorize_hydra_invalid_request", message)
