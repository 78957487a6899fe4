"""Messages and hooks are as mitmproxy has them: each case by both."""

from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.hooks import ConfigureHook, DoneHook, Hook
from mitmproxy.test import tutils

from addons import engine
from addons.engine import messages
from addons.engine.originals import original

engine.install()

WRONG: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a whole number for a time": {"timestamp_start": 5},
    "text for bytes": {"http_version": "HTTP/1.1"},
    "no headers": {"headers": None},
    "no content": {"content": None},
    "a number for content": {"content": 5},
    "text for a number": {"status_code": "200"},
}


@pytest.mark.parametrize("case", WRONG)
def test_a_message_of_wrong_types_is_refused_as_ever(case: str) -> None:
    data = tutils.tresp().data
    for name, value in WRONG[case].items():
        setattr(data, name, value)
    assert said_by(messages.check_types, data) == said_by(original[http.MessageData, "__post_init__"], data)


def said_by(check: Any, data: http.MessageData) -> str:
    try:
        check(data)
    except TypeError as e:
        return str(e)
    return ""


@pytest.mark.parametrize("hook", [ConfigureHook({"a"}), DoneHook()], ids=["one", "none"])
def test_a_hook_is_told_what_it_is_about(hook: Hook) -> None:
    assert messages.arguments(hook) == original[Hook, "args"](hook)
