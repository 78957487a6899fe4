"""The script that mitmproxy loads: `mitmdump -s addons/codex_auth.py`. Puts the parts together and defines nothing itself."""

import gc
import os
import sys
from pathlib import Path

# mitmproxy puts addons/ on sys.path, not its parent, and the script itself is in no package: absolute imports need the root.
_ROOT = str(Path(__file__).resolve().parent.parent)
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

# Objects that are made between two looks for garbage, until the proxy runs and `CodexLean` says how many. Nearly all that imports
# make stays: to look through it forty times takes 8 ms.
gc.set_threshold(50_000)

from addons import engine
from addons.accounts import CodexAccounts
from addons.call_log import CodexCallLog
from addons.catalog import CodexCatalog
from addons.cli_discovery import CodexDiscovery
from addons.clock import CodexClock
from addons.commands import CodexCommands
from addons.continuity import CodexContinuity
from addons.edits import CodexEdits
from addons.exit import CodexExit
from addons.fault import CodexFault
from addons.gate import CodexGate
from addons.health import CodexHealth
from addons.incoming import CodexIncoming
from addons.inject import CodexInject
from addons.lean import CodexLean
from addons.local import CodexLocal
from addons.metrics import CodexMetrics
from addons.page import CodexPage
from addons.parallel import CodexParallel, CodexRelease
from addons.policy import CodexPolicy
from addons.record import CodexTraffic
from addons.redact import CodexRedact
from addons.retry import CodexRetry
from addons.route import CodexRoute
from addons.serve import CodexServe
from addons.shutdown import CodexShutdown
from addons.sign_in import CodexSignIn
from addons.slow import CodexSlow
from addons.spans import CodexSpans
from addons.streams import CodexStreams
from addons.telemetry.counts import CallCounts
from addons.translate import CodexTranslate
from addons.upstream_errors import CodexUpstreamErrors
from addons.usage import CodexUsage
from addons.view import CodexView
from addons.websocket import CodexWebsocket
from auth.outbound import Outbound, http_client
from auth.shared import Shared

engine.install()

_outbound = Outbound.from_env(os.environ)
_policy = CodexPolicy()
_shared = Shared.from_env(os.environ)
if _shared:
    from addons.shared.together import Together  # 3 ms, which a proxy that runs alone does without
_accounts = CodexAccounts(_outbound, lambda: _policy.lately().accounts, _shared)
_route = CodexRoute(_outbound.proxy_for)
_catalog = CodexCatalog(_accounts, lambda: _route.bases, lambda agent: http_client(_outbound, agent))
_together = Together(_shared, _accounts) if _shared else None
_continuity = CodexContinuity(_together.kept, _together.turns) if _together else CodexContinuity()
_usage = CodexUsage(_accounts, lambda: _route.bases, lambda agent: http_client(_outbound, agent))
_translate = CodexTranslate(_catalog, _policy, _continuity)
_gate = CodexGate(_policy, os.environ, _together.counter if _together else None)
_health = CodexHealth(_accounts)
_incoming = CodexIncoming()
_view = CodexView()
_counts = CallCounts(_catalog.known_models)
_spans = CodexSpans(os.environ, _outbound.ca_file)
_log = CodexCallLog()
_traffic = CodexTraffic(
    _incoming, _translate, _view, [_counts.ended, _spans.ended, _log.ended], lambda: _policy.current().redact_patterns
)
_inject = CodexInject(_accounts, lambda: _route.bases)
_parallel = CodexParallel()

addons = [
    CodexLean(),
    CodexServe(_outbound.ca_file),
    _log,
    _policy,
    CodexRedact(_together.salt) if _together else CodexRedact(),
    _incoming,
    _gate,
    CodexShutdown(_policy, _health),
    CodexSlow(),
    CodexStreams(),
    CodexPage(_traffic),
    CodexSignIn(_accounts, _gate),
    _health,
    CodexMetrics(_counts, _accounts, _parallel, _traffic),
    _usage,
    _parallel,
    *([_together.addon] if _together else []),
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
    _spans,
    CodexCommands(_accounts, _traffic),
    CodexRelease(_parallel),
    _inject,
]
