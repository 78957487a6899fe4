from typing import Any

import orjson
import pytest

from addons.cli_discovery import Rewritten, workspace

OURS = {"id": "ours", "name": "Ada's", "structure": "personal", "workspace_backend_origin": "NO_CONSTRAINT"}
FOUND = {
    "accounts": [
        {**OURS, "id": "another", "account_routing_override": "us_cr"},
        {**OURS, "structure": "workspace", "account_routing_override": "us"},
    ],
    "account_ordering": ["another", "ours"],
}


def test_what_is_true_of_our_account_is_said_of_theirs() -> None:
    said = workspace(FOUND, "ours", "theirs")
    assert said == {
        "accounts": [
            {
                "id": "theirs",
                "name": None,
                "workspace_backend_origin": "https://chatgpt.com",
                "structure": "workspace",
                "account_routing_override": "us",
            }
        ],
        "account_ordering": ["theirs"],
        "default_account_id": "theirs",
    }


@pytest.mark.parametrize("document", [None, [], {}, {"accounts": {}}, {"accounts": ["ours"]}, {"accounts": [{"id": "another"}]}])
def test_an_answer_that_says_nothing_of_our_account_is_no_obstacle(document: Any) -> None:
    account = workspace(document, "ours", "theirs")["accounts"][0]
    assert (account["id"], account["account_routing_override"]) == ("theirs", "NO_CONSTRAINT")


def test_a_client_that_names_no_account_hears_of_ours() -> None:
    assert workspace(FOUND, "ours", None)["default_account_id"] == "ours"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_it_is_rewritten_as_it_streams_by(size: int) -> None:
    stage, body = Rewritten("ours", "theirs"), orjson.dumps(FOUND)
    assert [chunk for at in range(0, len(body), size) for chunk in stage(body[at : at + size])] == []
    assert orjson.loads(b"".join(stage(b""))) == workspace(FOUND, "ours", "theirs")


def test_what_is_not_json_says_nothing() -> None:
    stage = Rewritten("ours", "theirs")
    stage(b"<html>")
    assert orjson.loads(b"".join(stage(b""))) == workspace(None, "ours", "theirs")
