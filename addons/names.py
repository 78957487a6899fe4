"""How the proxy names itself."""

import platform

from mitmproxy import version

VERSION = "0.1.0"


def user_agent(originator: str) -> str:
    """Who we are, honestly, in the form that the Codex CLI's user agent has."""
    return f"{originator}/{VERSION} ({platform.system()} {platform.release()}; {platform.machine()}) mitmproxy/{version.VERSION}"
