"""What a start does without: what only some proxies need is imported when one of them needs it."""

import subprocess
import sys
from pathlib import Path

from tests.proxy import ROOT, environment

# Who needs it.
LATER = {
    "addons.shared.together": "proxies that share their accounts",
    "addons.telemetry.counted": "who asks for metrics",
    "addons.wire.readable_answer": "who looks at a conversation in mitmweb or the console",
    "auth.device": "who signs in",
    "auth.login": "who signs in",
    "jwt": "who has a token",
    "opentelemetry": "who has a collector",
    "prometheus_client": "who asks for metrics",
    "redis": "proxies that share their accounts",
}

# mitmproxy reads every attribute of every addon when it looks for commands: what is made in a property is made at the start.
STARTS = """
import sys
from contextlib import suppress
from addons.codex_auth import addons

for addon in addons:
    for name in dir(addon):
        with suppress(AttributeError):  # of what needs a running mitmproxy
            getattr(addon, name)
print(*sys.modules, sep="\\n")
"""


def test_what_only_some_need_is_not_imported_by_all(tmp_path: Path) -> None:
    started = subprocess.run(
        [sys.executable, "-c", STARTS], cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, check=True, timeout=60
    )
    imported = started.stdout.split()
    assert "addons.metrics" in imported
    assert {name: LATER[name] for name in LATER if name in imported} == {}
