"""The log as JSON, one object a line: what mitmproxy and the addons say (`event` is `log`), and the calls (`event` is `call`)."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from mitmproxy.utils import human

# On a record: the fields of a call.
CALL = "codex_call"


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        call: dict[str, Any] | None = getattr(record, CALL, None)
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": "log" if call is None else "call",
            "message": record.getMessage(),
        }
        if call is None:
            told["logger"] = record.name
            if client := getattr(record, "client", None):
                told["address"] = human.format_address(client)
            if record.exc_info:
                told["exception"] = self.formatException(record.exc_info)
        # ASCII only: a terminal obeys nothing of it, and no shipper takes U+2028 for the end of a line.
        return json.dumps(told | (call or {}))
