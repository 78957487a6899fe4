"""The device login, decided: given this answer to a poll, what next?

OpenAI's flow predates none of RFC 8628 and follows little of it: 403 and 404 mean "the user is not done yet", and the answer
that ends the wait is an authorization code with the PKCE verifier the server itself made up. The RFC's own words are
understood as well, in case the issuer learns them. Waiting and asking are the caller's: nothing here has a clock.
"""

import json
from dataclasses import dataclass, field

from auth.errors import LoginFailed
from auth.grants import JSON, TokenRequest, error_code

DEADLINE = 15 * 60.0  # how long the issuer keeps a code, and how long the CLI asks
DEFAULT_INTERVAL = 5.0  # RFC 8628 3.5, if the server names none
SLOW_DOWN = 5.0  # RFC 8628 3.5: "the interval MUST be increased by 5 seconds for this and all subsequent requests"


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """Show `user_code` and `verification_url` to the user, then poll every `interval` seconds."""

    user_code: str
    verification_url: str
    interval: float
    device_auth_id: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


@dataclass(frozen=True, slots=True)
class Slower:
    """Wait this long, now and from now on."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Granted:
    code: str = field(repr=False)
    verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Denied:
    why: str


@dataclass(frozen=True, slots=True)
class Expired:
    pass


type Decision = Wait | Slower | Granted | Denied | Expired


def usercode_request(client_id: str) -> TokenRequest:
    return TokenRequest(JSON, json.dumps({"client_id": client_id}).encode())


def poll_request(shown: DeviceCode) -> TokenRequest:
    asked = {"device_auth_id": shown.device_auth_id, "user_code": shown.user_code}
    return TokenRequest(JSON, json.dumps(asked).encode())


def decide(status: int, body: bytes, interval: float, elapsed: float) -> Decision:
    """`elapsed` is in seconds since the code was shown; an answer that grants counts even after the deadline."""
    if status == 200:
        return _granted(body)
    decision = _not_yet(status, error_code(body), interval)
    return Expired() if isinstance(decision, Wait | Slower) and elapsed >= DEADLINE else decision


def _not_yet(status: int, code: str, interval: float) -> Decision:
    match status, code:
        case 400, "authorization_pending":
            return Wait(interval)
        case (400, "slow_down") | (429, _):
            return Slower(interval + SLOW_DOWN)
        case 400, "expired_token":
            return Expired()
        case 400, "access_denied":
            return Denied(code)
        case ((403 | 404), _):
            return Wait(interval)
        case _ if status >= 500:
            return Wait(interval)  # an outage is not an answer; the deadline ends it if it lasts
        case _:
            return Denied(code or f"http_{status}")


def parse_usercode(status: int, body: bytes, verification_url: str) -> DeviceCode:
    """Raises LoginFailed if the issuer gave no code to show."""
    if status == 404:
        raise LoginFailed("device login is not enabled at this issuer", "sign in with a browser instead")
    if status != 200:
        raise LoginFailed(f"the issuer answered {status}, {error_code(body) or 'without an error code'}")
    answer = _object(body)
    user_code = answer.get("user_code") or answer.get("usercode")
    device_auth_id = answer.get("device_auth_id")
    if not isinstance(user_code, str) or not isinstance(device_auth_id, str):
        raise LoginFailed("the issuer's answer lacks user_code or device_auth_id")
    return DeviceCode(user_code, verification_url, _interval(answer.get("interval")), device_auth_id)


def _granted(body: bytes) -> Granted | Denied:
    answer = _object(body)
    code, verifier = answer.get("authorization_code"), answer.get("code_verifier")
    if not isinstance(code, str) or not isinstance(verifier, str):
        return Denied("the issuer's answer lacks authorization_code or code_verifier")
    return Granted(code, verifier)


def _interval(value: object) -> float:
    """A JSON string in OpenAI's answers, a number in the RFC. Not less than a second, not more than a minute."""
    try:
        seconds = float(value) if isinstance(value, str | int | float) else DEFAULT_INTERVAL
    except ValueError:
        seconds = DEFAULT_INTERVAL
    return min(max(seconds, 1.0), 60.0) if seconds == seconds else DEFAULT_INTERVAL


def _object(body: bytes) -> dict[str, object]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}
