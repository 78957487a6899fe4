"""chatgpt.com/backend-api: the Codex backend behind a ChatGPT sign-in, and the account endpoints beside it.

Every request is judged in the order of a real one: credential, account, then what it asks for. The credential is an access token
only: an API key is as good as none here.
"""

import hashlib
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import orjson

from .catalog import available
from .errors import refuse, refuse_detail
from .events import Event, finished, response_object, story, stream, told, usage_of
from .http import Headers, Refused, Request, Response, json_response
from .identity import AccessRefused, Identity, Vault
from .journal import Journal
from .prompts import responses_prompt
from .quota import Quotas
from .routes import Route
from .rules import check_compact, check_responses
from .scripts import Scripts
from .settings import Settings
from .speech import speak
from .websocket import Past, accept, error_event, is_upgrade

LITE_HEADER = "x-openai-internal-codex-responses-lite"
# Where a message carries what would be that header of a request.
LITE_METADATA = "ws_request_header_x_openai_internal_codex_responses_lite"
ROUTING_HEADER = "x-openai-account-routing-override"

UNAUTHORIZED: dict[str, dict[str, Any]] = {
    "token_invalidated": {"message": "Your authentication token has been invalidated. Please try signing in again."},
    "token_expired": {"message": "Provided authentication token is expired. Please try signing in again."},
    "token_revoked": {"message": "Encountered invalidated oauth token for user, failing request"},
}


def unauthorized(body: str) -> Response:
    """The 401 of that name; `unauthorized` is FastAPI's own, for a request without any credential."""
    if body not in UNAUTHORIZED:
        return json_response(401, {"detail": "Unauthorized"})
    error = {**UNAUTHORIZED[body], "type": "invalid_request_error", "code": body, "param": None}
    return json_response(401, {"error": error, "status": 401}, [("x-openai-authorization-error", body)])


class Backend:
    def __init__(self, vault: Vault, settings: Settings, quotas: Quotas, scripts: Scripts, journal: Journal) -> None:
        self._vault = vault
        self._settings = settings
        self._quotas = quotas
        self._scripts = scripts
        self._journal = journal
        self.routes = [
            Route("responses", "POST", "/backend-api/codex/responses", self.responses),
            Route("websocket", "GET", "/backend-api/codex/responses", self.websocket),
            Route("compact", "POST", "/backend-api/codex/responses/compact", self.compact),
            Route("models", "GET", "/backend-api/codex/models", self.models),
            Route("accounts_check", "GET", "/backend-api/wham/accounts/check", self.accounts_check),
            Route("usage", "GET", "/backend-api/wham/usage", self.usage),
            Route("reset_credits", "GET", "/backend-api/wham/rate-limit-reset-credits", self.reset_credits),
            Route("user_settings", "GET", "/backend-api/wham/settings/user", self.user_settings),
        ]

    def not_found(self, request: Request) -> Response:
        return json_response(404, {"detail": "Not Found"})

    def wrong_method(self, request: Request) -> Response:
        return json_response(405, {"detail": "Method Not Allowed"})

    def owner(self, request: Request) -> str | None:
        return self._vault.owner(request.bearer) if request.bearer else None

    def responses(self, request: Request) -> Response:
        who = self._who(request)
        self._check_routing(request)
        body = self._body(request)
        self._judge(who, body, lite=request.header(LITE_HEADER) == "true")
        headers = [
            ("content-type", "text/event-stream; charset=utf-8"),
            ("cache-control", "no-cache"),
            ("x-codex-turn-state", secrets.token_urlsafe(24)),
            ("x-models-etag", self._models_document()[0]),
            *self._headers(who),
        ]
        if script := self._scripts.take("responses"):
            return Response(200, headers, script)
        return Response(200, headers, stream(_told(body), self._settings.delta_delay, own=[self._quotas.event(who)]))

    def websocket(self, request: Request) -> Response:
        if not is_upgrade(request):
            return self.wrong_method(request)
        who = self._who(request)
        self._check_routing(request)
        past = Past()
        return accept(request, self._headers(who), lambda message: self._answer_message(request, who, past, message))

    async def _answer_message(self, handshake: Request, who: Identity, past: Past, message: str) -> AsyncIterator[Event]:
        """In the journal a message is a request of its own, with the method MESSAGE."""
        headers = [("content-type", "application/json")]
        request = replace(handshake, method="MESSAGE", headers=headers, body=message.encode())
        entry = self._journal.open(request, "message")
        try:
            events = self._events_of(self._body(request), who, past)
        except Refused as refusal:
            entry.answered(refusal.response.status)
            yield error_event(refusal.response)
        else:
            entry.answered(200)
            async for event in told(events, self._settings.delta_delay, own=[self._quotas.event(who)]):
                yield event
        entry.end("complete")

    def _events_of(self, message: dict[str, Any], who: Identity, past: Past) -> Iterator[Event]:
        """A `response.create` is the body of a request, with less input and two members of its own."""
        of_its_own = {"type", "generate", "previous_response_id"}
        if message.get("type") != "response.create":
            refuse(400, "invalid_value", "The only message is response.create.", "type")
        if not isinstance(message.get("input"), list):
            refuse_detail("Input must be a list")
        body = {key: value for key, value in message.items() if key not in of_its_own}
        items = [*past.before(message.get("previous_response_id")), *message["input"]]
        if message.get("generate") is False:  # to have everything at hand when the first turn comes; nothing is said yet
            return past.listen(items, story(response_object(body), [], usage_of(responses_prompt(body), []), fill=False))
        body["input"] = items
        self._judge(who, body, lite=(body.get("client_metadata") or {}).get(LITE_METADATA) == "true")
        return past.listen(items, _told(body))

    def _judge(self, who: Identity, body: dict[str, Any], lite: bool) -> None:
        check_responses(body, available(self._settings.models), lite, self._settings.lite_header_required)
        if self._quotas.of(who.account_id).reached:
            raise Refused(json_response(429, self._quotas.refusal(who), self._headers(who)))

    def compact(self, request: Request) -> Response:
        who = self._who(request)
        body = self._body(request)
        check_compact(body, available(self._settings.models))
        prompt = responses_prompt(body)
        users = [item for item in body["input"] if item.get("role") == "user"]
        sealed = {"id": f"cmp_{secrets.token_hex(24)}", "type": "compaction", "encrypted_content": secrets.token_urlsafe(48)}
        document = {**response_object(body), "object": "response.compaction"}
        return json_response(200, finished(document, [*users, sealed], usage_of(prompt, [])), self._headers(who))

    def models(self, request: Request) -> Response:
        who = self._who(request)
        if not dict(request.query).get("client_version"):
            refuse_detail("client_version is required")
        etag, document = self._models_document()
        headers = [("etag", etag), *self._headers(who)]
        if request.header("if-none-match") == etag:
            return Response(304, headers)
        return Response(200, [("content-type", "application/json"), *headers], document)

    def accounts_check(self, request: Request) -> Response:
        who = self._who(request)
        account = {
            "id": who.account_id,
            "name": None,
            "structure": "personal",
            "workspace_backend_origin": "NO_CONSTRAINT",
            "account_routing_override": self._settings.account_routing_override,
        }
        document = {"accounts": [account], "account_ordering": [who.account_id], "default_account_id": who.account_id}
        return json_response(200, document, self._headers(who))

    def usage(self, request: Request) -> Response:
        who = self._who(request)
        return json_response(200, self._quotas.document(who), self._headers(who))

    def reset_credits(self, request: Request) -> Response:
        """With these a window can be reset before its time. Nobody here has any."""
        return json_response(200, {"available_count": 0, "credits": []}, self._headers(self._who(request)))

    def user_settings(self, request: Request) -> Response:
        return json_response(200, {"settings": {}}, self._headers(self._who(request)))

    def _who(self, request: Request) -> Identity:
        if not request.bearer:
            raise Refused(unauthorized("unauthorized"))
        try:
            who = self._vault.holder(request.bearer)
        except AccessRefused as error:
            raise Refused(unauthorized(error.body)) from None
        account = request.header("chatgpt-account-id")
        if account != who.account_id:
            refuse_detail("chatgpt-account-id is missing" if account is None else "not a member of this account", 403)
        return who

    def _check_routing(self, request: Request) -> None:
        wanted = self._settings.account_routing_override
        if wanted != "NO_CONSTRAINT" and request.header(ROUTING_HEADER) != wanted:
            refuse_detail(f"{ROUTING_HEADER} must be {wanted}")

    def _body(self, request: Request) -> dict[str, Any]:
        coding = request.header("content-encoding")
        if coding not in (None, "identity", "zstd"):
            refuse_detail(f"Unsupported content encoding: {coding}")
        if request.media_type != "application/json":
            refuse_detail("Unsupported content type")
        if not isinstance(request.json, dict):
            refuse(400, None, "We could not parse the JSON body of your request.")
        return request.json

    def _models_document(self) -> tuple[str, bytes]:
        infos = [model.info(priority) for priority, model in enumerate(available(self._settings.models))]
        document = orjson.dumps({"models": infos})
        return f'W/"{hashlib.sha256(document).hexdigest()[:32]}"', document

    def _headers(self, who: Identity) -> Headers:
        return [
            *self._quotas.headers(who),
            ("cf-ray", f"{secrets.token_hex(8)}-FRA"),
            ("set-cookie", f"__cf_bm={secrets.token_urlsafe(32)}; path=/; HttpOnly; Secure; SameSite=None"),
        ]


def _told(body: dict[str, Any]) -> Iterator[Event]:
    prompt = responses_prompt(body)
    said = speak(prompt)
    return story(response_object(body), said, usage_of(prompt, said), fill=False)
