"""What a test may turn: plain values with the strict, realistic answer as default. `Clock` is the server's own idea of now."""

import time
from dataclasses import dataclass, field, fields
from typing import Any

DAY = 86400.0
DEFAULT_EMAIL = "user@example.com"


@dataclass
class Clock:
    offset: float = 0.0

    def now(self) -> float:
        return time.time() + self.offset


@dataclass
class Settings:
    # Issuer
    instant_consent: bool = False  # authorize answers 302 at once, as for a browser that consented before
    sign_in_email: str = DEFAULT_EMAIL  # who sits at the browser
    redirect_hosts: list[str] = field(default_factory=lambda: ["127.0.0.1", "localhost"])
    redirect_ports: list[int] = field(default_factory=lambda: [1455, 1457])  # the two registered for this client
    device_login: bool = True
    device_interval: str = "5"  # seconds, and a JSON string on the wire: an integer does not parse in the CLI
    api_key_exchange: bool = False  # off: an account without a Platform organisation, the usual case
    reuse_revokes_session: bool = False  # on: RFC 9700 4.14.2, a replayed refresh token ends the whole sign-in
    access_lifetime: float = 10 * DAY
    refresh_lifetime: float = 365 * DAY
    # Backend
    models: list[str] = field(default_factory=list)  # slugs this plan gets; empty means the whole catalog
    lite_header_required: bool = True  # off: a lite model also takes a plain body that has reasoning.context all_turns
    account_routing_override: str = "NO_CONSTRAINT"
    delta_delay: float = 0.0  # seconds before each piece of text, on the platform too

    def update(self, changes: dict[str, Any]) -> None:
        """Take over `changes` whole, or raise ValueError and change nothing."""
        known = {f.name for f in fields(self)}
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"unknown setting {name}: one of {', '.join(sorted(known))}")
            current = getattr(self, name)
            wanted = (int, float) if isinstance(current, float) else type(current)
            if not isinstance(value, wanted):
                raise ValueError(f"setting {name} takes {type(current).__name__}, not {type(value).__name__}")
        for name, value in changes.items():
            setattr(self, name, value)
