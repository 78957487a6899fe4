import inspect

import pytest

from auth import errors
from auth.errors import (
    AccountFileError,
    AuthError,
    BadSetting,
    LoginFailed,
    LoginRequired,
    NotSignedIn,
    SaveFailed,
    TokenRejected,
    TryAgainLater,
)
from tests.auth.minting import NOON

SIGN_IN = "run `make login` (or `python -m auth login`) in codex-mitm's folder"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NotSignedIn(), f"not signed in: {SIGN_IN}"),
        (NotSignedIn("/a/auth.json"), f"not signed in, /a/auth.json does not exist: {SIGN_IN}"),
        (AccountFileError("/a/auth.json", "it is not JSON"), "/a/auth.json cannot be used, it is not JSON"),
        (
            LoginRequired("work", "refresh_token_reused", NOON),
            f"account work is signed out since 2026-11-21 12:00 UTC (refresh_token_reused): {SIGN_IN}",
        ),
        (
            TokenRejected("work"),
            "the token of account work was refreshed moments ago and is refused: "
            "check at chatgpt.com that this account and workspace may use Codex",
        ),
        (TryAgainLater("no answer from https://i"), "no answer from https://i: try again later"),
        (TryAgainLater("no answer from https://i", 0.2), "no answer from https://i: try again in 1 s"),
        (LoginFailed("the issuer answered 404"), "sign-in failed, the issuer answered 404"),
        (
            SaveFailed("/a/auth.json", "no space left on device"),
            "/a/auth.json could not be written, no space left on device: make room, or make its folder writable",
        ),
        (BadSetting("codex_issuer_url", "it must be a URL"), "codex_issuer_url cannot be used, it must be a URL"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, AuthError) else "",
)
def test_the_text_says_what_and_what_to_do(error: AuthError, text: str) -> None:
    assert str(error) == text


def test_the_tree_is_drawn_whole() -> None:
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, AuthError)]
    assert [c.__name__ for c in classes if c.__name__ not in (errors.__doc__ or "")] == []
