"""The log: one line for each call that is over, on the terminal where mitmproxy's own lines are; all of them as JSON if wanted.

mitmproxy says five to eight lines about each call: who has connected, what was asked, how large the answer was. They are left out
where this line is, unless the user asks for them (`flow_detail`, `-v`). The lines of calls go to the terminal alone: mitmweb and
the console list the calls themselves.
"""

import io
import logging
from typing import IO

from mitmproxy import ctx, exceptions, http, log
from mitmproxy.addonmanager import Loader
from mitmproxy.addons.termlog import TermLogHandler

from addons import engine
from addons.telemetry.json_lines import CALL, JsonLines
from addons.telemetry.lines import fields_of, line_of
from addons.traffic.exchange import Exchange

SETTINGS = ("text", "json")

# What mitmproxy says of every connection and every answer, however well all goes.
ROUTINE = (
    "client connect",
    "client disconnect",
    "server connect",
    "server disconnect",
    "Streaming request to ",
    "Streaming response from ",
    "closing transports...",
    "transports closed!",
)


class CodexCallLog:
    """Right after `CodexServe`, so that what the others say while they start is in the right form."""

    def __init__(self) -> None:
        self.format = "text"
        self.is_set_up = False
        self.tells_all = False

    def load(self, loader: Loader) -> None:
        loader.add_option(
            "codex_log",
            str,
            "text",
            "How the log is written, with one line for each call: text for people, json for machines (one object a line).",
            choices=SETTINGS,
        )

    def configure(self, updated: set[str]) -> None:
        self.tells_all = getattr(ctx.options, "termlog_verbosity", "info") == "debug"  # the console has no such option
        if ctx.options.codex_log not in SETTINGS:  # mitmproxy shows choices, and takes anything
            raise exceptions.OptionsError(f"codex_log: {ctx.options.codex_log} is not one of {', '.join(SETTINGS)}")
        if ctx.options.codex_log != self.format:
            self.format, self.is_set_up = ctx.options.codex_log, False
            for handler in terminals():
                handler.setFormatter(JsonLines() if self.format == "json" else log.MitmFormatter(handler.has_vt_codes))
        if not self.is_set_up:
            self.is_set_up = True
            self._silence_the_dumper()

    def running(self) -> None:
        engine.say_only(self.is_news)
        for handler in terminals():
            if isinstance(handler.file, io.TextIOWrapper):
                handler.file.reconfigure(line_buffering=True)  # a line that waits in a pipe's buffer is news to nobody

    def done(self) -> None:
        engine.say_all()

    def is_news(self, message: str, level: int) -> bool:
        """Or the user wants to see everything (`-v`)."""
        return self.tells_all or level > logging.INFO or not message.startswith(ROUTINE)

    def _silence_the_dumper(self) -> None:
        """Its lines are no JSON, and say what ours say. Where there is none, there is no such option."""
        if "flow_detail" in ctx.options.keys() and (self.format == "json" or not ctx.options.has_changed("flow_detail")):
            ctx.options.update(flow_detail=0)

    def ended(self, flow: http.HTTPFlow, call: Exchange) -> None:
        level = logging.WARNING if call.failed else logging.INFO
        for handler in terminals():
            if level >= handler.level:
                line = writable(line_of(call), handler.file)
                record = logging.LogRecord(__name__, level, "", 0, line, None, None)
                if self.format == "json":
                    setattr(record, CALL, fields_of(call))
                handler.handle(record)


def terminals() -> list[TermLogHandler]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, TermLogHandler)]


def writable(line: str, terminal: IO[str]) -> str:
    """Also where there are no arrows. What cannot be printed would be an exception, and the end of the hook that tells of calls."""
    encoding = getattr(terminal, "encoding", None) or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)
