"""OpenAI's error envelope: the one shape in which a client of this proxy learns that something failed.

    {"error": {"message": str, "type": str, "param": str | null, "code": str | null}}

Three kinds of upstream refusal are brought into it: OpenAI's own envelope (kept as it is), the Codex backend's FastAPI
shape `{"detail": ...}`, and pages that are not JSON at all (a Cloudflare challenge, a gateway's 502).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from addons.wire.plan import Dialect

# By status: what OpenAI answers where it says more than "something failed". The first is the `type`, the second the `code`
# used when upstream gave none. The SDKs choose their exception class by status alone.
KIND_BY_STATUS: dict[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("permission_error", None),
    404: ("invalid_request_error", None),
    405: ("invalid_request_error", "method_not_supported"),
    413: ("invalid_request_error", "request_too_large"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    500: ("server_error", "server_error"),
    502: ("server_error", "upstream_error"),
    503: ("service_unavailable_error", "server_is_overloaded"),
    504: ("server_error", "timeout"),
}

# What Cloudflare's challenge and block pages have in them, in lower case.
CHALLENGE_MARKS = (b"_cf_chl_opt", b"/cdn-cgi/challenge-platform/", b"<title>just a moment", b"| cloudflare</title>")

# A message is a sentence for a person; what is longer is a page or a dump that strayed into it.
MAX_MESSAGE = 2000


class OpenAIError(NamedTuple):
    """One refusal, ready for the wire. `headers` carries what steers the SDKs' own retries (`retry-after`, `x-should-retry`)."""

    status: int
    message: str
    code: str | None = None
    type: str = ""
    param: str | None = None
    headers: Mapping[str, str] = {}
    more: Mapping[str, Any] = {}
    """Further members of the error, for clients that know them."""

    def body(self) -> bytes:
        kind, default_code = kind_of(self.status)
        return orjson.dumps(
            {
                "error": {
                    "message": self.message[:MAX_MESSAGE],
                    "type": self.type or kind,
                    "param": self.param,
                    "code": self.code if self.code is not None else default_code,
                    **self.more,
                }
            }
        )


def kind_of(status: int) -> tuple[str, str | None]:
    return KIND_BY_STATUS.get(status) or (("server_error", None) if status >= 500 else ("invalid_request_error", None))


def invalid_url(method: str, path: str) -> OpenAIError:
    """OpenAI's own words for a path it does not know."""
    return OpenAIError(404, f"Invalid URL ({method} {path})")


def from_upstream(status: int, content_type: str, body: bytes, upstream: str, dialect: Dialect | None = None) -> OpenAIError | None:
    """The refusal that `upstream` (its host name, for the message) answered with, or None if it already is OpenAI's envelope."""
    if is_page(content_type, body):
        return _from_page(status, body, upstream)
    parsed = json_object(body)
    if isinstance(parsed.get("error"), dict) and isinstance(parsed["error"].get("message"), str):
        return None
    if "detail" in parsed:
        return _from_detail(status, _detail(parsed["detail"]), dialect)
    if isinstance(parsed.get("error"), str):
        return OpenAIError(status, parsed["error"])
    return OpenAIError(status, f"{upstream} answered {status} without saying why")


def is_page(content_type: str, body: bytes) -> bool:
    return "html" in content_type or body.lstrip()[:1] == b"<"


def says_unknown_model(detail: str) -> bool:
    """The Codex backend's sentence has no code: The 'X' model is not supported when using Codex with a ChatGPT account."""
    return detail.startswith("The '") and "' model is not supported" in detail


# What an envelope may have beside OpenAI's four members: what the Codex CLI reads of a plan that is used up.
MORE = ("plan_type", "resets_at", "resets_in_seconds")


def completed(status: int, body: bytes) -> OpenAIError:
    """An envelope of upstream's with all of its members, and without those that say whose account it is."""
    told = json_object(body).get("error")
    error = told if isinstance(told, dict) else {}
    kind, code, param = (value if isinstance(value := error.get(name), str) else None for name in ("type", "code", "param"))
    if kind == "usage_limit_reached":
        code = code or kind  # the backend tells it by its type alone, and the SDKs' users look at the code
    more = {name: error[name] for name in MORE if name in error}
    return OpenAIError(status, str(error.get("message", "")), code, kind or "", param, more=more)


def _from_page(status: int, body: bytes, upstream: str) -> OpenAIError:
    # A managed challenge asks for a browser. Trying again only makes it worse, so every SDK is told not to.
    text = body.lower()
    if status in (403, 429, 503) and any(mark in text for mark in CHALLENGE_MARKS):
        return OpenAIError(
            403,
            f"{upstream} blocked this machine with a browser challenge (HTTP {status}); "
            "this happens to data-centre addresses: try from another network",
            code="upstream_blocked",
            headers={"x-should-retry": "false"},
        )
    return OpenAIError(status, f"{upstream} answered {status} with a web page instead of JSON", code="upstream_error")


def _from_detail(status: int, detail: str, dialect: Dialect | None) -> OpenAIError:
    if status == 400 and says_unknown_model(detail):
        # OpenAI's two APIs say it differently.
        found = OpenAIError(400, detail, code="model_not_found", param="model")
        return found if dialect == "responses" else OpenAIError(404, detail, code="model_not_found")
    return OpenAIError(status, detail)


def _detail(detail: Any) -> str:
    """FastAPI's `detail` is a sentence, or a list of `{"loc": [...], "msg": ...}` from its own validation."""
    if isinstance(detail, str):
        return detail
    if isinstance(detail, list):
        found = [entry for entry in detail if isinstance(entry, dict)]
        return "; ".join(f"{_place(e.get('loc', []))}: {e.get('msg', '')}" for e in found)
    if isinstance(detail, dict) and isinstance(detail.get("message"), str):
        return str(detail["message"])
    return orjson.dumps(detail).decode()


def _place(loc: Any) -> str:
    return ".".join(map(str, loc if isinstance(loc, list) else [loc]))


def json_object(body: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
