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
from addons.commands import CodexCommands
from addons.continuity import CodexContinuity
from addons.edits import CodexEdits
from addons.exit import CodexExit
from addons.fault import CodexFault
from addons.gate import CodexGate
from addons.incoming import CodexIncoming
from addons.inject import CodexInject
from addons.local import CodexLocal
from addons.page import CodexPage
from addons.parallel import CodexParallel, CodexRelease
from addons.policy import CodexPolicy
from addons.record import CodexTraffic
from addons.redact import CodexRedact
from addons.retry import CodexRetry
from addons.route import CodexRoute
from addons.serve import CodexServe
from addons.sign_in import CodexSignIn
from addons.slow import CodexSlow
from addons.streams import CodexStreams
from addons.translate import CodexTranslate
from addons.upstream_errors import CodexUpstreamErrors
from addons.usage import CodexUsage
from addons.view import CodexView
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
_translate = CodexTranslate(_catalog, _policy, _continuity)
_gate = CodexGate(_policy, os.environ)
_incoming = CodexIncoming()
_view = CodexView()
_traffic = CodexTraffic(_incoming, _translate, _view)
_inject = CodexInject(_accounts, lambda: _route.bases)
_parallel = CodexParallel()

addons = [
    CodexServe(_outbound.ca_file),
    _policy,
    CodexRedact(),
    _incoming,
    _gate,
    CodexSlow(),
    CodexStreams(),
    CodexPage(_traffic),
    CodexSignIn(_accounts, _gate),
    _usage,
    _parallel,
    _accounts,
    CodexDiscovery(_accounts),
    CodexLocal(_catalog, _policy),
    _continuity,
    _route,
    CodexClock(),
    CodexEdits(),
    _translate,
    CodexRetry(_accounts, _translate, _inject),
    CodexUpstreamErrors(),
    CodexWebsocket(),
    CodexFault(),
    CodexExit(_gate, _translate),
    _traffic,
    _view,
    CodexCommands(_accounts, _traffic),
    CodexRelease(_parallel),
    _inject,
]
