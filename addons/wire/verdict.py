"""What an upstream's refusal means, whoever tells it: an answer, an event of a stream, a connection that broke.

    of_answer      a status, its headers and its body
    of_failure     the error of a `response.failed`, an `error` event, a WebSocket's error with a status of its own
    of_error       the same once it has become an `OpenAIError`, as a stage's `refusal` is
    of_connection  there was no answer, or not all of it

What a code means stands in one table, what a status means in another; a code that is known wins. Whether and when the request is
sent again is patience.py's to decide, and what it means for the account the pool's.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from addons.wire import delays, errors, failures
from addons.wire.errors import OpenAIError

# client    the request itself; whoever sends it, it is refused
# sign_in   the account's token
# plan      the account's quota is used up
# pace      too many requests for now
# upstream  5xx, overloaded
# network   no answer
# blocked   a challenge page: this machine's address
Blame = Literal["client", "sign_in", "plan", "pace", "upstream", "network", "blocked"]

Broken = Literal[
    "refused",
    "unreachable",
    "tls",
    "stale",
    "reset_before_answer",
    "not_http",
    "first_byte_timeout",
    "idle_timeout",
    "total_timeout",
    "cut_off",
]


class Verdict(NamedTuple):
    """`retry`: the same request may succeed if it is sent once more. `elsewhere`: but only on another account.

    A `sign_in` may be mended by renewing the token, and is dead if it is `elsewhere` too. A `client` that is `elsewhere` is
    something that this account may not do and another one perhaps may: a model, a part of the API.

    `wait` is in seconds, as upstream asks; `resets_at` is the unix time at which a used-up plan comes back. `reason` is for logs
    and `explain`: codes and numbers, nothing that the client or upstream wrote in their own words.
    """

    blame: Blame
    retry: bool
    elsewhere: bool
    wait: float | None
    resets_at: float | None
    reason: str


class Kind(NamedTuple):
    blame: Blame
    retry: bool
    elsewhere: bool
    words: str


REQUEST = Kind("client", False, False, "the request itself is refused")
NOT_HERE = Kind("client", True, True, "the account may not do this")
TOKEN = Kind("sign_in", True, False, "the account's token is refused")
DEAD = Kind("sign_in", True, True, "the account's sign-in is dead")
USED_UP = Kind("plan", True, True, "the account's plan is used up")
PACE = Kind("pace", True, False, "too many requests for now")
TROUBLE = Kind("upstream", True, False, "upstream is in trouble")
# Trying again only makes it worse, and another account has the same address.
BLOCKED = Kind("blocked", False, False, "this machine's address is blocked")
# A redirect, which is never followed, or a success that was none. It will be the same the next time.
STRANGE = Kind("upstream", False, False, "upstream answered with something else")

BY_STATUS: dict[int, Kind] = {
    401: TOKEN,
    402: USED_UP,
    403: NOT_HERE,
    408: TROUBLE,
    409: TROUBLE,  # "lock timeout": the SDKs repeat it too
    425: TROUBLE,
    429: PACE,
    451: BLOCKED,
    501: REQUEST,
    505: REQUEST,
}


def of_status(status: int) -> Kind:
    """Of the many from 500 on (520 to 530 are Cloudflare's, 529 is a gateway's "overloaded") none is final but the two above."""
    return BY_STATUS.get(status) or (TROUBLE if status >= 500 else REQUEST if status >= 400 else STRANGE)


# With a 400 or 403 a code that is known is about the request. No policy refusal is taken to another account.
BY_CODE: dict[str, Kind] = {
    **{code: REQUEST if status in (400, 403) else of_status(status) for code, status in failures.STATUS_BY_CODE.items()},
    **dict.fromkeys(failures.FINAL, USED_UP),
    "model_not_found": NOT_HERE,
    "missing_scope": NOT_HERE,
    "token_expired": TOKEN,
    "token_invalidated": TOKEN,
    "token_revoked": TOKEN,
    "invalid_api_key": TOKEN,
    "account_deactivated": DEAD,
    "upstream_blocked": BLOCKED,
    "unsupported_country_region_territory": BLOCKED,
}

BY_CONNECTION: dict[Broken, Kind] = {
    "refused": Kind("network", True, False, "upstream refuses connections"),
    "unreachable": Kind("network", True, False, "upstream cannot be reached"),
    # The name or the issuer of its certificate will be no better in a second, and a bearer must not go there.
    "tls": Kind("network", False, False, "upstream's certificate or TLS is not accepted"),
    "stale": Kind("network", True, False, "a connection that was kept alive was dead"),
    "reset_before_answer": Kind("network", True, False, "the connection broke before an answer"),
    "not_http": Kind("network", True, False, "what came is not HTTP"),
    "first_byte_timeout": Kind("network", True, False, "no answer in time"),
    "idle_timeout": Kind("upstream", True, False, "the answer came to a halt"),
    # It had all the time that an answer may take.
    "total_timeout": Kind("upstream", False, False, "the answer took too long"),
    "cut_off": Kind("upstream", True, False, "the answer broke off"),
}

# The token cannot be renewed any more: for whoever tries to and is refused, so that it counts like a refusal of upstream's.
SIGN_IN_DEAD = Verdict(*DEAD[:3], None, None, DEAD.words)

# In a `reason` nothing else that upstream wrote is quoted.
LOOKS_LIKE_A_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")


def of_answer(status: int, headers: Mapping[str, str], body: bytes, now: float) -> Verdict:
    """For a refusal, whatever it looks like: OpenAI's envelope, FastAPI's `detail`, a web page, nothing."""
    headers = _lower(headers)
    content_type, parsed = headers.get("content-type", "").lower(), errors.json_object(body)
    told = next((parsed[name] for name in ("error", "detail") if isinstance(parsed.get(name), dict)), None)
    if told is not None:
        error = failures.of_error_event({"error": told})
    else:
        error = errors.from_upstream(status, content_type, body, "upstream") or OpenAIError(status, "")
    # A 403 that is a page comes from something that stands before upstream, also if it is no challenge that we know.
    at_the_edge = status == 403 and told is None and errors.is_page(content_type, body)
    kind = BLOCKED if at_the_edge else _kind(status, error, headers)
    return _verdict(kind, [f"HTTP {status}"], error, told or {}, headers, now)


def of_failure(error: Mapping[str, Any], now: float) -> Verdict:
    """`error` is the inner object ({"code", "message", ...}) or the whole event around it."""
    event = error if error.get("type") == "error" or "error" in error else {"error": error}
    inner, sent = event.get("error"), event.get("headers")
    failure, headers = failures.of_error_event(event), _lower(sent) if isinstance(sent, dict) else {}
    told = inner if isinstance(inner, dict) else event
    return _verdict(_kind(failure.status, failure, headers), [], failure, told, headers, now)


def of_error(error: OpenAIError, now: float) -> Verdict:
    headers = _lower(error.headers)
    return _verdict(_kind(error.status, error, headers), [], error, {}, headers, now)


def of_connection(broken: Broken) -> Verdict:
    """`stale`: the connection had served before, and was found dead when this request went out on it."""
    blame, retry, elsewhere, words = BY_CONNECTION[broken]
    return Verdict(blame, retry, elsewhere, None, None, words)


def _kind(status: int, error: OpenAIError, headers: Mapping[str, str]) -> Kind:
    code = _code(error)
    if headers.get("cf-mitigated") == "challenge":
        return BLOCKED
    if code in BY_CODE:
        return BY_CODE[code]
    if "policy" in code:  # one that is new
        return REQUEST
    return of_status(status)


def _code(error: OpenAIError) -> str:
    """The code, or what the backend has instead of one: a type, a sentence."""
    if error.type in failures.FINAL:
        return error.type
    if errors.says_unknown_model(error.message):
        return "model_not_found"
    if "Missing scopes:" in error.message:  # api.openai.com, of a ChatGPT login's token; a refresh never widens it
        return "missing_scope"
    return error.code or ""


def _verdict(
    kind: Kind, facts: list[str], error: OpenAIError, told: Mapping[str, Any], headers: Mapping[str, str], now: float
) -> Verdict:
    code, wait = _code(error), _wait(kind, error, told, headers, now)
    facts = [*facts, code] if LOOKS_LIKE_A_CODE.fullmatch(code) else facts
    reason = f"{kind.words} ({', '.join(facts)})" if facts else kind.words
    if wait is not None:
        reason += f", asks to wait {round(wait, 3):.12g} s"
    resets_at = now + wait if kind.blame == "plan" and wait is not None else None
    return Verdict(kind.blame, kind.retry, kind.elsewhere, wait, resets_at, reason)


def _wait(kind: Kind, error: OpenAIError, told: Mapping[str, Any], headers: Mapping[str, str], now: float) -> float | None:
    """The longest that is asked for: header and message are not rounded alike."""
    asked = [delays.in_headers(headers, now), delays.in_message(error.message), delays.in_plan_refusal(told, now)]
    if any(seconds is not None for seconds in asked):
        return max(seconds for seconds in asked if seconds is not None)
    return delays.until_rate_resets(headers, now) if kind is PACE else None


def _lower(headers: Mapping[str, Any]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items() if isinstance(value, str)}
