"""The script that mitmproxy loads: `mitmdump -s addons/codex_auth.py`. Puts the parts together and defines nothing itself."""

import os
import sys
from pathlib import Path

# mitmproxy puts addons/ on sys.path, not its parent, and the script itself is in no package: absolute imports need the root.
_ROOT = str(Path(__file__).resolve().parent.parent)
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

from addons import engine
from addons.accounts import CodexAccounts
from addons.catalog import CodexCatalog
from addons.cli_discovery import CodexDiscovery
from addons.clock import CodexClock
from addons.continuity import CodexContinuity
from addons.edits import CodexEdits
from addons.gate import CodexGate
from addons.inject import CodexInject
from addons.local import CodexLocal
from addons.policy import CodexPolicy
from addons.redact import CodexRedact
from addons.retry import CodexRetry
from addons.route import CodexRoute
from addons.serve import CodexServe
from addons.streams import CodexStreams
from addons.translate import CodexTranslate
from addons.upstream_errors import CodexUpstreamErrors
from addons.usage import CodexUsage
from addons.websocket import CodexWebsocket
from auth.outbound import Outbound, http_client

engine.install()

_outbound = Outbound.from_env(os.environ)
_policy = CodexPolicy()
_accounts = CodexAccounts(_outbound, lambda: _policy.current().accounts)
_route = CodexRoute(_outbound.proxy_for)
_catalog = CodexCatalog(_accounts, lambda: _route.bases, lambda agent: http_client(_outbound, agent))
_continuity = CodexContinuity()
_usage = CodexUsage(_accounts, lambda: _route.bases, lambda agent: http_client(_outbound, agent))
_inject = CodexInject(_accounts, lambda: _route.bases)

addons = [
    CodexServe(_outbound.ca_file),
    CodexRedact(),
    CodexGate(),
    CodexStreams(),
    _usage,
    _accounts,
    _policy,
    CodexDiscovery(_accounts),
    CodexLocal(_catalog, _policy),
    _continuity,
    _route,
    CodexClock(),
    CodexEdits(),
    CodexTranslate(_catalog, _policy, _continuity),
    CodexRetry(_accounts, _inject),
    CodexUpstreamErrors(),
    CodexWebsocket(),
    _inject,
]
