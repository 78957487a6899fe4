import json

import pytest

from addons.traffic.cleaning import MAX_ENTRIES, MAX_TEXT, cleaned
from addons.traffic.exchange import Attempt, Client, Exchange, Failure, QuotaWindow
from addons.traffic.headers import Headers
from addons.traffic.stories import as_json, client_name, exchange_of, story_of
from addons.wire.plan import Edit
from tests.addons.traffic.calls import call, refused

KEY = "sk-proj-SENTINEL456def789jkl012"


@pytest.mark.parametrize("exchange", [call(), refused()], ids=["served", "refused"])
def test_it_comes_back_as_it_was(exchange: Exchange) -> None:
    told = exchange_of(as_json(cleaned(story_of(exchange))))
    # Fields are kept in the table of names; of a call there are too many.
    assert told == exchange_of(as_json(story_of(exchange)))
    assert {name for name in Exchange.__dataclass_fields__ if getattr(told, name) != getattr(exchange, name)} == {"event_fields"}


def test_a_query_is_not_kept() -> None:
    assert story_of(call(endpoint="/v1/models?key=CANARY"))["endpoint"] == "/v1/models"


def test_an_old_story_can_still_be_told() -> None:
    story = story_of(call())
    story["attempts"] = [["ada", 0.5]]
    del story["queued"]
    story["from_a_newer_version"] = 1
    assert exchange_of(json.dumps(story)).attempts == (Attempt("ada", 0.5),)


def test_a_secret_in_any_text_is_taken_out() -> None:
    everywhere = call(
        id=KEY,
        client=Client(KEY, KEY, KEY),
        method=KEY,
        endpoint=KEY,
        dialect=KEY,
        model_asked=KEY,
        model_used=KEY,
        account=KEY,
        account_why=KEY,
        upstream=KEY,
        attempts=(Attempt(KEY, 0.0, None, KEY, KEY),),
        edits=(Edit("dropped", KEY, KEY),),
        error=Failure(KEY, KEY, KEY),
        client_headers=Headers([("accept", KEY), (KEY, "")]),
        events={KEY: 1},
        unknown=frozenset({KEY}),
        quota=(QuotaWindow(300, 1.0),),
    )
    assert KEY in as_json(story_of(everywhere))
    assert KEY.lower() not in as_json(cleaned(story_of(everywhere))).lower()


def test_texts_and_lists_without_end_are_cut() -> None:
    endless = call(model_asked="m" * 100_000, edits=(Edit("dropped", "x"),) * 10_000, account="half a pair \ud83d")
    story = cleaned(story_of(endless))
    assert len(story["model_asked"]) == MAX_TEXT and len(story["edits"]) == MAX_ENTRIES
    story["account"].encode()


@pytest.mark.parametrize(
    ("client", "name"),
    [
        (Client("laptop", "curl/8", "10.0.0.1"), "laptop"),
        (Client("", "OpenAI/Python 3.52.0", "10.0.0.1"), "OpenAI/Python"),
        (Client("", "codex_cli_rs/0.169.0 (Linux)", "10.0.0.1"), "codex_cli_rs"),
        (Client("", "Go-http-client/1.1", "10.0.0.1"), "Go-http-client"),
        (Client("", "[redacted by your pattern]/1.0 (Linux)", "10.0.0.1"), "[redacted by your pattern]"),
        (Client("", "", "10.0.0.1"), "10.0.0.1"),
        (Client(), ""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_client_is_called(client: Client, name: str) -> None:
    assert client_name(client) == name
