"""What the tests of the request side share: the fake backend's models, its verdict on every body, and the words of Responses."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from addons.wire import lite
from addons.wire.aliases import NO_ALIASES
from addons.wire.models import Resolved, parse_catalog, resolve
from addons.wire.plan import BadRequest, Plan
from tests.fakes.catalog import MODELS
from tests.fakes.http import Refused
from tests.fakes.rules import check_responses

type Object = dict[str, Any]

CATALOG = parse_catalog({"models": [model.info(priority) for priority, model in enumerate(MODELS)]})
PLAIN = resolve("gpt-5.5", NO_ALIASES, CATALOG)
LITE = resolve("gpt-6-luna", NO_ALIASES, CATALOG)
BOTH = pytest.mark.parametrize("model", [PLAIN, LITE], ids=["plain", "lite"])


def planned(plan: Callable[..., Plan], body: Object, model: Resolved = PLAIN, **options: Any) -> Plan:
    """The plan, made without a change to the client's body, and of a body that the backend takes."""
    before = copy.deepcopy(body)
    made = plan(body, model=model, **options)
    assert body == before
    try:
        check_responses(made.body, MODELS, lite_header=made.headers == lite.HEADERS, lite_required=True)
    except Refused as refused:
        raise AssertionError(refused.response.body) from None
    return made


def refusal(plan: Callable[..., Plan], body: Object, model: Resolved = PLAIN, **options: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        plan(body, model=model, **options)
    return caught.value


def edits_of(plan: Plan) -> list[str]:
    return [str(edit) for edit in plan.edits]


def heard(text: str = "hi", **more: Any) -> Object:
    return {"type": "input_text", "text": text, **more}


def said(text: str) -> Object:
    return {"type": "output_text", "text": text}


def message(role: str, *parts: Any, **more: Any) -> Object:
    return {"type": "message", "role": role, "content": list(parts), **more}


def call(call_id: str = "c1", name: str = "weather", arguments: str = "{}", **more: Any) -> Object:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments, **more}


def result(output: Any = "18 C", call_id: str = "c1", **more: Any) -> Object:
    return {"type": "function_call_output", "call_id": call_id, "output": output, **more}


def function(name: str = "weather", **more: Any) -> Object:
    return {"type": "function", "name": name, "parameters": {"type": "object", "properties": {}}, "strict": False, **more}


def without(thing: Object, *names: str) -> Object:
    return {name: value for name, value in thing.items() if name not in names}


def normal(**changes: Any) -> Object:
    """A Responses body in which there is nothing to change, with changes."""
    return {
        "model": "gpt-5.5",
        "instructions": "Be brief.",
        "input": [message("user", heard())],
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        **changes,
    }
