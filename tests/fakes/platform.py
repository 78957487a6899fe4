"""api.openai.com: for API keys only. A ChatGPT access token is told which scope it lacks, and no refresh will give it that."""

import base64
import hashlib
import secrets
import struct
import time
from collections.abc import AsyncIterator
from typing import Any

from . import chat, events
from .catalog import PLATFORM_MODELS
from .errors import refuse
from .http import Headers, Request, Response, json_response
from .identity import Vault
from .items import check_items, check_text_format, check_tool_choice, check_tools, offered_tools
from .prompts import chat_prompt, responses_prompt
from .routes import Route
from .scripts import Scripts
from .settings import Settings
from .shapes import expect, expect_members, refuse_missing
from .speech import speak
from .uploads import read_parts

CREATED = 1767225600  # when all models were made
DIMENSIONS = 8  # of an embedding

MISSING_SCOPE = (
    "You have insufficient permissions for this operation. Missing scopes: {}. Check that you have the correct role in your "
    "organization (Reader, Writer, Owner) and project (Member, Owner), and if you're using a restricted API key, that it has "
    "the necessary scopes."
)
NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
    "(i.e. Authorization: Bearer YOUR_KEY)."
)
WRONG_KEY = "Incorrect API key provided: {}. You can find your API key at https://platform.openai.com/account/api-keys."


class Platform:
    def __init__(self, vault: Vault, settings: Settings, scripts: Scripts) -> None:
        self._vault = vault
        self._settings = settings
        self._scripts = scripts
        self.routes = [
            Route("platform_responses", "POST", "/v1/responses", self.responses),
            Route("chat", "POST", "/v1/chat/completions", self.chat),
            Route("platform_models", "GET", "/v1/models", self.models),
            Route("platform_model", "GET", "/v1/models/*", self.model),
            Route("embeddings", "POST", "/v1/embeddings", self.embeddings),
            Route("files", "POST", "/v1/files", self.files),
        ]

    def not_found(self, request: Request) -> Response:
        refuse(404, None, f"Invalid URL ({request.method} {request.path})")

    def wrong_method(self, request: Request) -> Response:
        message = f"Not allowed to {request.method} on {request.path}. (HINT: Perhaps you meant to use a different HTTP method?)"
        refuse(405, "method_not_supported", message)

    def owner(self, request: Request) -> str | None:
        return self._vault.owner(request.bearer) if request.bearer else None

    def responses(self, request: Request) -> Response:
        self._check_key(request, "api.responses.write")
        body = self._body(request)
        self._check_model(body, status=400)
        if not body.get("input"):
            refuse_missing("input")
        expect_members(body, {"tools": list, "text": dict, "reasoning": dict})
        if isinstance(body["input"], str):
            body["input"] = [{"role": "user", "content": body["input"]}]
        check_items(body["input"])
        check_tools(body.get("tools") or [])
        if body.get("tool_choice") is not None:
            check_tool_choice(body["tool_choice"], offered_tools(body))
        check_text_format(body.get("text") or {}, body["input"])
        prompt = responses_prompt(body)
        said = speak(prompt)
        response = events.response_object(body)
        usage = events.usage_of(prompt, said)
        if not body.get("stream"):
            output = [events.item_of(utterance) for utterance in said]
            return json_response(200, events.finished(response, output, usage), self._headers())
        script = self._scripts.take("platform_responses")
        story = events.story(response, said, usage, fill=True)
        return self._stream(script or events.stream(story, self._settings.delta_delay))

    def chat(self, request: Request) -> Response:
        self._check_key(request, "model.request")
        body = self._body(request)
        self._check_model(body, status=404)
        chat.check_chat(body)
        prompt = chat_prompt(body)
        said = speak(prompt)
        if not body.get("stream"):
            return json_response(200, chat.completion(body, prompt, said), self._headers())
        script = self._scripts.take("chat")
        return self._stream(script or chat.stream(chat.chunks(body, prompt, said), self._settings.delta_delay))

    def models(self, request: Request) -> Response:
        self._check_key(request, "api.model.read")
        document = {"object": "list", "data": [_model(slug) for slug in PLATFORM_MODELS]}
        return json_response(200, document, self._headers())

    def model(self, request: Request) -> Response:
        self._check_key(request, "api.model.read")
        slug = request.path.rpartition("/")[2]
        if slug not in PLATFORM_MODELS:
            refuse(404, "model_not_found", f"The model '{slug}' does not exist", "model")
        return json_response(200, _model(slug), self._headers())

    def embeddings(self, request: Request) -> Response:
        self._check_key(request, "model.request")
        body = self._body(request)
        self._check_model(body, status=404)
        if not body.get("input"):
            refuse_missing("input")
        texts = [body["input"]] if isinstance(body["input"], str) else expect(body["input"], list, "input")
        for index, text in enumerate(texts):
            expect(text, str, f"input[{index}]")
        encoded = body.get("encoding_format") == "base64"
        vectors = [_embedding(text, encoded) for text in texts]
        count = sum(len(text.split()) for text in texts)
        document = {
            "object": "list",
            "data": [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)],
            "model": body["model"],
            "usage": {"prompt_tokens": count, "total_tokens": count},
        }
        return json_response(200, document, self._headers())

    def files(self, request: Request) -> Response:
        self._check_key(request, "api.files.write")
        parts = {part.name: part for part in read_parts(request)}
        for name in ("file", "purpose"):
            if name not in parts:
                refuse_missing(name)
        file = parts["file"]
        document = {
            "id": f"file-{secrets.token_hex(12)}",
            "object": "file",
            "bytes": len(file.content),
            "created_at": int(time.time()),
            "filename": file.filename,
            "purpose": bytes(parts["purpose"].content).decode(),
            "status": "processed",
            # Not OpenAI's: lets a test see that what arrived is what it sent.
            "sha256": hashlib.sha256(file.content).hexdigest(),
        }
        return json_response(200, document, self._headers())

    def _check_key(self, request: Request, scope: str) -> None:
        key = request.bearer
        if not key:
            refuse(401, None, NO_KEY)
        if key in self._vault.api_keys:
            return
        if key in self._vault.access or key.count(".") == 2:
            refuse(401, "missing_scope", MISSING_SCOPE.format(scope))
        refuse(401, "invalid_api_key", WRONG_KEY.format(f"{key[:8]}{'*' * 12}{key[-4:]}"))

    def _body(self, request: Request) -> dict[str, Any]:
        if not isinstance(request.json, dict):
            refuse(400, None, "We could not parse the JSON body of your request.")
        return request.json

    def _check_model(self, body: dict[str, Any], status: int) -> None:
        """On Responses an unknown model is a 400 with `param`, everywhere else a 404 without."""
        slug = body.get("model")
        if slug is None:
            refuse_missing("model")
        if slug not in PLATFORM_MODELS:
            if status == 400:
                refuse(400, "model_not_found", f"The requested model '{slug}' does not exist.", "model")
            refuse(404, "model_not_found", f"The model `{slug}` does not exist or you do not have access to it.")

    def _stream(self, body: AsyncIterator[bytes]) -> Response:
        return Response(200, [("content-type", "text/event-stream; charset=utf-8"), *self._headers()], body)

    def _headers(self) -> Headers:
        return [
            ("openai-version", "2020-10-01"),
            ("openai-organization", "org-test"),
            ("openai-processing-ms", "12"),
            ("x-ratelimit-limit-requests", "10000"),
            ("x-ratelimit-remaining-requests", "9999"),
            ("x-ratelimit-reset-requests", "6ms"),
            ("access-control-expose-headers", "X-Request-ID"),
        ]


def _model(slug: str) -> dict[str, Any]:
    return {"id": slug, "object": "model", "created": CREATED, "owned_by": "openai"}


def _embedding(text: str, encoded: bool) -> list[float] | str:
    """A vector that is a function of the text, in both of the encodings that clients ask for."""
    digest = hashlib.sha256(text.encode()).digest()
    vector = [(byte - 127.5) / 127.5 for byte in digest[:DIMENSIONS]]
    return base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *vector)).decode() if encoded else vector
