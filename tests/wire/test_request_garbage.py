"""Any JSON at all, put together from the words of both APIs, is either planned or the client's fault; nothing else happens."""

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from addons.wire import chat_request, responses_request
from addons.wire.aliases import NO_ALIASES
from addons.wire.models import Catalog, Resolved, list_document, parse_catalog, resolve, smallest
from addons.wire.plan import BadRequest, Plan
from tests.wire.asking import BOTH, Object

KEYS = """
    type role content text id call_id name arguments output input tools function custom format grammar parameters strict
    tool_calls function_call tool_call_id refusal image_url url detail file file_data file_id encrypted_content summary effort
    context json_schema schema allowed_tools mode verbosity approximate user_location include_usage execution status
""".split()
VALUES = """
    message user system assistant developer tool function reasoning function_call function_call_output custom_tool_call
    custom_tool_call_output additional_tools namespace item_reference input_text output_text text image_url file refusal custom
    allowed_tools web_search tool_search client auto none required json_object json_schema grammar high minimal c1 weather {}
    reasoning.encrypted_content flex fast
""".split()

leaf = st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | st.sampled_from(VALUES) | st.text(max_size=3)
thing = st.recursive(
    leaf,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)
# Rarely would chance alone make a message that is nearly right.
nearly = st.dictionaries(st.sampled_from(KEYS), thing, max_size=4).flatmap(
    lambda rest: st.sampled_from(
        [
            {"role": "user", "content": "json", **rest},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", **rest}]},
            {"role": "tool", "tool_call_id": "c1", "content": "x", **rest},
            {"type": "function_call", "call_id": "c1", "name": "weather", **rest},
            {"type": "function_call_output", "call_id": "c1", "output": "x", **rest},
            {"type": "additional_tools", "role": "developer", "tools": [rest], **rest},
            {"type": "function", "name": "weather", "function": rest, **rest},
        ]
    )
)
anything = thing | nearly | st.lists(nearly, max_size=3)


def bodies(parameters: Any, *required: str) -> st.SearchStrategy[Object]:
    optional = {name: anything for name in [*parameters, "made up"] if name not in required}
    return st.fixed_dictionaries({"model": st.just("gpt-5.5")} | dict.fromkeys(required, anything)).flatmap(
        lambda fixed: st.dictionaries(st.sampled_from(sorted(optional)), anything, max_size=4).map(lambda more: {**more, **fixed})
    )


def judged(plan: Any, body: Object, model: Resolved, strict: bool) -> None:
    before = copy.deepcopy(body)
    try:
        made = plan(body, model=model, strict=strict)
    except BadRequest as refused:
        assert refused.message and (refused.param is None or isinstance(refused.param, str))
    else:
        assert isinstance(made, Plan)
        assert all(str(edit).isascii() and str(edit).isprintable() for edit in made.edits)
        assert not strict or all(edit.verb != "dropped" or "[]" in edit.what for edit in made.edits)
    assert repr(body) == repr(before)  # by their words: no NaN is equal to itself


FUZZ = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@BOTH
@FUZZ
@given(body=bodies(responses_request.PARAMETERS, "input"), strict=st.booleans())
def test_any_json_for_responses(model: Resolved, body: Object, strict: bool) -> None:
    judged(responses_request.plan, body, model, strict)


@BOTH
@FUZZ
@given(body=bodies(chat_request.PARAMETERS, "messages"), strict=st.booleans())
def test_any_json_for_chat(model: Resolved, body: Object, strict: bool) -> None:
    judged(chat_request.plan, body, model, strict)


@settings(deadline=None)
@given(
    entries=st.lists(
        thing | st.fixed_dictionaries({"slug": st.text(max_size=9)}, optional={"priority": thing, "visibility": thing})
    )
)
def test_any_json_for_a_list_of_models(entries: list[Any]) -> None:
    catalog = parse_catalog({"models": entries})
    list_document(catalog)
    assert (smallest(catalog) is None) == (not catalog.listed())


@given(name=st.text(max_size=300), slugs=st.lists(st.text("g-pt5.", min_size=1, max_size=6)))
def test_any_name_of_a_model(name: str, slugs: list[str]) -> None:
    catalog: Catalog = parse_catalog({"models": [{"slug": slug} for slug in slugs]})
    resolved = resolve(name, NO_ALIASES, catalog)
    assert resolved.slug == name or catalog.get(resolved.slug)


@pytest.mark.parametrize("plan", [responses_request.plan, chat_request.plan], ids=["responses", "chat"])
@pytest.mark.parametrize(
    "body", [{}, {"model": None}, {"model": "gpt-5.5"}, {"model": "gpt-5.5", "input": [], "messages": []}], ids=str
)
def test_empty_everything(plan: Any, body: Object) -> None:
    judged(plan, body, Resolved("gpt-5.5"), False)
