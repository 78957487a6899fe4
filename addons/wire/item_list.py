"""`GET /v1/responses/{id}/input_items`: everything that led to a response, page by page, in the shapes that OpenAI's answers have.

What clients may leave out when they say something has to be there when they are told of it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from addons.wire.input_items import Item, item_type
from addons.wire.plan import BadRequest
from addons.wire.refusals import outside, wrong_type, wrong_value

DEFAULT_LIMIT, MAX_LIMIT = 20, 100
ORDERS = ("asc", "desc")

# What the schemas demand, by type.
DEMANDED: dict[str, Item] = {
    "message": {"status": "completed"},
    "reasoning": {"summary": []},
    "function_call": {"arguments": "{}", "status": "completed"},
    "custom_tool_call": {"status": "completed"},
    "function_call_output": {"status": "completed"},
    "custom_tool_call_output": {"status": "completed"},
}
DEMANDED_OF_PARTS: dict[str, Item] = {
    "output_text": {"annotations": [], "logprobs": []},
    "input_image": {"detail": "auto"},
}


def list_document(items: Sequence[Item], query: Mapping[str, str]) -> Item:
    """`items` are in order and have ids. Raises BadRequest for a query that is not OpenAI's."""
    order, limit = query.get("order", "desc"), _limit(query.get("limit"))
    if order not in ORDERS:
        raise wrong_value(order, ORDERS, "order")
    ordered = list(items) if order == "asc" else list(reversed(items))
    start = _behind(query["after"], ordered) if "after" in query else 0
    page = [as_listed(item) for item in ordered[start : start + limit]]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": start + limit < len(ordered),
    }


def as_listed(item: Item) -> Item:
    kind = item_type(item)
    listed = {"type": kind, **DEMANDED.get(kind, {}), **{name: value for name, value in item.items() if value is not None}}
    for home in ("content", "output"):
        if isinstance(listed.get(home), list):
            listed[home] = [_part(part) for part in listed[home]]
    if kind == "message" and isinstance(listed.get("content"), str):
        spoken = "output_text" if listed.get("role") == "assistant" else "input_text"
        listed["content"] = [_part({"type": spoken, "text": listed["content"]})]
    return listed


def _part(part: Any) -> Any:
    return {**DEMANDED_OF_PARTS.get(str(part.get("type")), {}), **part} if isinstance(part, dict) else part


def _limit(value: str | None) -> int:
    if value is None:
        return DEFAULT_LIMIT
    try:
        limit = int(value)
    except ValueError:
        raise wrong_type(value, (int,), "limit") from None
    if complaint := outside(limit, 1, MAX_LIMIT, "limit"):
        raise complaint
    return limit


def _behind(item_id: str, items: Sequence[Item]) -> int:
    for index, item in enumerate(items):
        if item["id"] == item_id:
            return index + 1
    raise BadRequest(f"Item with id '{item_id[:100]}' not found.", "after")
