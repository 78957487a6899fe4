import io
import logging

import pytest
from mitmproxy.proxy.commands import StartHook
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.server import ConnectionHandler
from mitmproxy.test import taddons
from mitmproxy.test.tflow import tclient_conn

from addons import engine
from addons.call_log import CodexCallLog, writable

engine.install()


class Connection(ConnectionHandler):
    """mitmproxy's, of which nothing comes."""

    async def handle_hook(self, hook: StartHook) -> None: ...


RECORDS = {
    "client connect": (logging.INFO, "client connect", False),
    "server connect": (logging.INFO, "server connect 127.0.0.1:443", False),
    "streaming": (logging.INFO, "Streaming response from chatgpt.com.", False),
    "details": (logging.DEBUG, "closing transports...", False),
    "other details": (logging.DEBUG, "half-closing Server(...)", True),
    "an error of theirs": (logging.INFO, "error establishing server connection: refused", True),
    "a warning": (logging.WARNING, "client connect", True),
}


@pytest.mark.parametrize(("level", "message", "news"), RECORDS.values(), ids=RECORDS)
async def test_what_mitmproxy_says_of_every_connection_is_no_news(level: int, message: str, news: bool) -> None:
    log = CodexCallLog()
    with taddons.context(log) as tctx:
        assert log.is_news(message, level) is news
        tctx.options.add_option("termlog_verbosity", str, "info", "")
        tctx.configure(log, termlog_verbosity="info")
        assert log.is_news(message, level) is news
        tctx.configure(log, termlog_verbosity="debug")
        assert log.is_news(message, level), "unless the user wants to see everything"


async def test_it_is_said_again_once_the_script_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = CodexCallLog()
    with taddons.context(log) as tctx:
        connection = Connection(Context(tclient_conn(), tctx.options))
        log.running()
        connection.log("client connect")
        connection.log("Cannot open connection, no hostname given.")
        log.done()
        connection.log("client disconnect")
    assert caplog.messages == ["Cannot open connection, no hostname given.", "client disconnect"]


async def test_the_lines_of_the_dumper_are_off_unless_somebody_wants_them() -> None:
    for wanted, shown in ((None, 0), (2, 2)):
        log = CodexCallLog()
        with taddons.context(log) as tctx:
            tctx.options.add_option("flow_detail", int, 1, "")
            if wanted is not None:
                tctx.options.flow_detail = wanted
            tctx.configure(log)
            assert tctx.options.flow_detail == shown
            tctx.configure(log, codex_log="json")
            assert tctx.options.flow_detail == 0, "they are no JSON"


def test_a_terminal_without_arrows() -> None:
    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    assert writable("812→344 tok · \udc80", latin) == "812\\u2192344 tok · \\udc80"
    assert writable("812→344 tok ·", io.StringIO()) == "812→344 tok ·"
