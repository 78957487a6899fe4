"""The script that mitmproxy loads: `mitmdump -s addons/codex_auth.py`. Puts the parts together and defines nothing itself."""

import os
import sys
from pathlib import Path

# mitmproxy puts addons/ on sys.path, not its parent, and the script itself is in no package: absolute imports need the root.
_ROOT = str(Path(__file__).resolve().parent.parent)
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

from addons import engine  # noqa: E402 - after sys.path
from addons.accounts import CodexAccounts  # noqa: E402
from addons.catalog import CodexCatalog  # noqa: E402
from addons.gate import CodexGate  # noqa: E402
from addons.inject import CodexInject  # noqa: E402
from addons.local import CodexLocal  # noqa: E402
from addons.policy import CodexPolicy  # noqa: E402
from addons.redact import CodexRedact  # noqa: E402
from addons.retry import CodexRetry  # noqa: E402
from addons.route import CodexRoute  # noqa: E402
from addons.serve import CodexServe  # noqa: E402
from addons.streams import CodexStreams  # noqa: E402
from addons.translate import CodexTranslate  # noqa: E402
from addons.upstream_errors import CodexUpstreamErrors  # noqa: E402
from auth.outbound import Outbound, http_client  # noqa: E402

engine.install()

_outbound = Outbound.from_env(os.environ)
_accounts = CodexAccounts(_outbound)
_policy = CodexPolicy()
_route = CodexRoute(_outbound.proxy_for)
_catalog = CodexCatalog(_accounts, lambda: _route.bases, lambda agent: http_client(_outbound, agent))
_inject = CodexInject(_accounts, lambda: _route.bases)

addons = [
    CodexServe(_outbound.ca_file),
    CodexRedact(),
    CodexGate(),
    _accounts,
    _policy,
    CodexLocal(_catalog, _policy),
    _route,
    CodexStreams(),
    CodexTranslate(_catalog, _policy),
    CodexRetry(_accounts, _inject),
    CodexUpstreamErrors(),
    _inject,
]
