"""The two error bodies: FastAPI's `detail`, spoken by the Codex backend, and OpenAI's envelope, spoken everywhere."""

from typing import NoReturn

from .http import Headers, Refused, json_response


def refuse_detail(text: str, status: int = 400) -> NoReturn:
    raise Refused(json_response(status, {"detail": text}))


def refuse(status: int, code: str | None, message: str, param: str | None = None, headers: Headers = ()) -> NoReturn:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    raise Refused(json_response(status, {"error": error}, headers))
