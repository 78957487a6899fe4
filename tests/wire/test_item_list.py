from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.wire.item_list import as_listed, list_document
from addons.wire.plan import BadRequest
from tests.wire.asking import Object, call, heard, message, result, said

TEN: list[Object] = [message("user", heard(str(n)), id=f"msg_{n}") for n in range(10)]


def ids(document: Object) -> list[str]:
    return [item["id"] for item in document["data"]]


@given(st.lists(st.integers(), max_size=60, unique=True), st.integers(1, 100), st.sampled_from(["asc", "desc"]))
def test_the_pages_together_are_everything_in_order(names: list[int], limit: int, order: str) -> None:
    items = [{"type": "message", "id": f"msg_{name}"} for name in names]
    found: list[str] = []
    query = {"limit": str(limit), "order": order}
    for _ in range(61):
        page = list_document(items, query)
        assert len(page["data"]) <= limit and page["object"] == "list"
        assert (page["first_id"], page["last_id"]) == ((ids(page)[0], ids(page)[-1]) if page["data"] else (None, None))
        found += ids(page)
        if not page["has_more"]:
            break
        query["after"] = page["last_id"]
    assert found == [f"msg_{name}" for name in (names if order == "asc" else names[::-1])]


def test_the_latest_come_first_and_twenty_of_them() -> None:
    items = [message("user", heard(), id=f"msg_{n}") for n in range(30)]
    page = list_document(items, {})
    assert ids(page) == [f"msg_{n}" for n in range(29, 9, -1)] and page["has_more"]


WRONG: dict[str, tuple[dict[str, str], str, str]] = {
    "none at all": ({"limit": "0"}, "limit", "Invalid 'limit': integer below minimum value. Expected a value >= 1"),
    "too many": ({"limit": "101"}, "limit", "Invalid 'limit': integer above maximum value. Expected a value <= 100"),
    "no number": ({"limit": "ten"}, "limit", "Invalid type for 'limit': expected an integer"),
    "no order": ({"order": "up"}, "order", "Invalid value: 'up'. Supported values are: 'asc' and 'desc'."),
    "after nothing": ({"after": "msg_none"}, "after", "Item with id 'msg_none' not found."),
}


@pytest.mark.parametrize(("query", "param", "words"), WRONG.values(), ids=WRONG)
def test_wrong_queries_are_refused(query: dict[str, str], param: str, words: str) -> None:
    with pytest.raises(BadRequest) as refused:
        list_document(TEN, query)
    assert refused.value.param == param and refused.value.message.startswith(words)


PART = {"type": "output_text", "text": "a", "annotations": [], "logprobs": []}
PICTURE = {"type": "input_image", "image_url": "data:"}

LISTED: dict[str, tuple[Any, Any]] = {
    "text": ({"role": "user", "content": "a"}, message("user", heard("a"), status="completed")),
    "text of the assistant": ({"role": "assistant", "content": "a"}, message("assistant", PART, status="completed")),
    "part of the assistant": (message("assistant", said("a")), message("assistant", PART, status="completed")),
    "cut": (message("assistant", PART, status="incomplete"), message("assistant", PART, status="incomplete")),
    "picture": (message("user", PICTURE), message("user", {**PICTURE, "detail": "auto"}, status="completed")),
    "fine picture": (
        message("user", {**PICTURE, "detail": "high"}),
        message("user", {**PICTURE, "detail": "high"}, status="completed"),
    ),
    "null": (message("user", heard(), phase=None, status=None), message("user", heard(), status="completed")),
    "call": (call(), call(status="completed")),
    "call without arguments": ({"type": "function_call", "call_id": "c", "name": "f"}, call("c", "f", status="completed")),
    "result": (result(), result(status="completed")),
    "result of parts": (result([PICTURE]), result([{**PICTURE, "detail": "auto"}], status="completed")),
    "reasoning": ({"type": "reasoning"}, {"type": "reasoning", "summary": []}),
    "not known": ({"type": "new", "content": [1]}, {"type": "new", "content": [1]}),
}


@pytest.mark.parametrize(("item", "listed"), LISTED.values(), ids=LISTED)
def test_items_are_listed_with_all_that_the_schemas_demand(item: Any, listed: Any) -> None:
    assert as_listed(item) == listed
