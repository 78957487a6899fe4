import json
import logging
import sys
from typing import Any

from addons.telemetry.json_lines import CALL, JsonLines
from addons.telemetry.lines import MAX_LINE, fields_of, line_of
from addons.traffic.exchange import Attempt, Client, Exchange, Failure
from tests.addons.traffic.calls import call, refused
from tests.pages import section

KEY = "sk-" + "CANARY0client0key0of0this0test1234"


def test_a_line_for_people() -> None:
    line = line_of(call(client=Client("laptop", "OpenAI/Python 3.52.0", "127.0.0.1")))
    assert line == "00000001 laptop 200 1.42s · gpt-6-luna · 812→344 tok · first token 0.92s · ada"


def test_what_went_wrong() -> None:
    tried = Attempt("ada", 0.0, 503), Attempt("ada", 0.1, 429)
    assert line_of(refused(attempts=tried)) == (
        "00000001 OpenAI/Python 429 1.42s · gpt-6-luna · ada · 2 attempts · usage_limit_reached: The usage limit has been reached"
    )
    assert " left 1.42s · " in line_of(call(outcome="client_left", status=200))
    assert " cut 1.42s · " in line_of(call(outcome="cut", error=Failure("", "proxy_stopped", "stopped")))


def test_without_a_model_it_says_what_was_asked() -> None:
    told = line_of(refused(status=401, model_asked="", model_used="", endpoint="/v1/files", method="GET", account="", attempts=()))
    assert " 401 1.42s · GET /v1/files · usage_limit_reached" in told


def nasty(**more: Any) -> Exchange:
    """A client that wants a line of its own in the log, and a terminal to obey it; and one that mistakes its key for something."""
    return refused(
        client=Client("", f"evil\x1b[2J\n[12:00:01] ok {KEY}", "127.0.0.1"),
        model_used="",
        model_asked=f"m\r\n\u2028\x9b31m{KEY}\udc80",
        error=Failure("t", "c", f"Incorrect API key provided: {KEY}"),
        **more,
    )


def test_a_line_is_one_line_and_no_terminal_obeys_it() -> None:
    line = line_of(nasty())
    assert line.isprintable() and KEY not in line and "[redacted key]" in line
    assert len(line_of(refused(model_asked="x" * 10**6, model_used=""))) <= MAX_LINE


def as_json(exchange: Exchange) -> str:
    record = logging.makeLogRecord({"msg": line_of(exchange), "levelno": 20, "levelname": "INFO", CALL: fields_of(exchange)})
    return JsonLines().format(record)


def test_a_line_for_machines() -> None:
    told = json.loads(as_json(call(client=Client("laptop", "x/1", "127.0.0.1"))))
    assert told["time"].endswith("Z") and told["message"].startswith("00000001 laptop 200")
    assert {name: told[name] for name in ("event", "level", "key", "model", "status", "outcome", "tokens_in", "first_token")} == {
        "event": "call",
        "level": "info",
        "key": "laptop",
        "model": "gpt-6-luna",
        "status": 200,
        "outcome": "complete",
        "tokens_in": 812,
        "first_token": 0.92,
    }


def test_a_line_for_machines_always_has_the_same_fields() -> None:
    bare = Exchange(id="req_1", started=0.0, ended=0.1, endpoint="/", outcome="client_left")
    assert set(fields_of(bare)) == set(fields_of(call())) == set(fields_of(nasty()))


def test_a_line_for_machines_cannot_be_broken() -> None:
    line = as_json(nasty())
    assert line.isascii() and line.isprintable() and KEY not in line
    assert json.loads(line)["model_asked"].startswith("m\r\n")


def test_every_field_stands_in_the_manual() -> None:
    manual = section("docs/watch.md", "The log")
    assert [name for name in ("time", "level", "event", "message", *fields_of(call())) if f"`{name}`" not in manual] == []


def test_what_others_say_is_json_too() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.LogRecord("mitmproxy.x", logging.ERROR, "", 0, "it %s\n", ("failed",), sys.exc_info())
    record.client = ("127.0.0.1", 1234)
    line = JsonLines().format(record)
    told = json.loads(line)
    assert "\n" not in line and told["exception"].endswith("ValueError: two\nlines")
    assert (told["event"], told["level"], told["logger"], told["message"]) == ("log", "error", "mitmproxy.x", "it failed\n")
    assert told["address"] == "127.0.0.1:1234"
