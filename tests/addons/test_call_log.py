import io
import logging

import pytest
from mitmproxy.test import taddons

from addons.call_log import CodexCallLog, is_news, writable

RECORDS = {
    "client connect": (logging.INFO, "client connect", False),
    "server connect": (logging.INFO, "server connect 127.0.0.1:443", False),
    "streaming": (logging.INFO, "Streaming response from chatgpt.com.", False),
    "an error of theirs": (logging.INFO, "error establishing server connection: refused", True),
    "a warning": (logging.WARNING, "client connect", True),
}


@pytest.mark.parametrize(("level", "message", "news"), RECORDS.values(), ids=RECORDS)
async def test_what_mitmproxy_says_of_every_connection_is_no_news(level: int, message: str, news: bool) -> None:
    record = logging.makeLogRecord({"levelno": level, "msg": message})
    with taddons.context() as tctx:
        assert is_news(record) is news
        tctx.options.add_option("termlog_verbosity", str, "info", "")
        assert is_news(record) is news
        tctx.options.termlog_verbosity = "debug"
        assert is_news(record), "unless the user wants to see everything"


async def test_the_filter_goes_with_the_script() -> None:
    talker, log = logging.getLogger("mitmproxy.proxy.server"), CodexCallLog()
    before = list(talker.filters)
    with taddons.context(log):
        log.running()
        assert talker.filters == [*before, is_news]
        log.done()
    assert talker.filters == before


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
