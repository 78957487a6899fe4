"""How long an answer may take: the four options, and the watch that the engine keeps over every request that goes upstream."""

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader

from addons import engine, heads
from addons.guard import guarded, is_open
from addons.route import UPSTREAM
from addons.streams import chain_of

# Option, default in seconds, what it is for. The defaults: proxies and load balancers between client and us drop a silent
# connection after 60 s, some after 30; a model that thinks hard is silent for minutes, and the Codex CLI waits 300 s itself.
TIMES: dict[str, tuple[float, str]] = {
    "codex_keepalive": (15, "Seconds of silence after which a client that streams is told that its answer is still being made."),
    "codex_first_byte_timeout": (120, "Seconds that upstream may take to connect and to send the first byte of an answer."),
    "codex_idle_timeout": (300, "Seconds for which upstream may be silent in the middle of an answer."),
    "codex_total_timeout": (1800, "Seconds that a request may take in all, every attempt included."),
}


class CodexClock:
    """After `CodexRoute`. An upgraded connection is no answer, and has its own times."""

    def __init__(self) -> None:
        self.limits = engine.Limits(*(default for default, _ in TIMES.values()))

    def load(self, loader: Loader) -> None:
        for name, (default, text) in TIMES.items():
            loader.add_option(name, str, f"{default:g}", text)

    def configure(self, updated: set[str]) -> None:
        if TIMES.keys() & updated:
            self.limits = engine.Limits(*(seconds_of(name) for name in TIMES))

    @guarded
    def request(self, flow: http.HTTPFlow) -> None:
        if UPSTREAM not in flow.metadata or not is_open(flow) or heads.has(flow.request.headers, b"upgrade"):
            return
        engine.watch(
            flow,
            engine.Watch(
                self.limits,
                say_alive=lambda: chain_of(flow).say_alive(),
                give_up=lambda lapse: chain_of(flow).end_with(engine.no_answer(flow.request.host, lapse)),
            ),
        )


def seconds_of(name: str) -> float:
    """mitmproxy has no options with fractions, so these are text. Raises OptionsError."""
    try:
        seconds = float(getattr(ctx.options, name))
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise exceptions.OptionsError(f"{name}: {getattr(ctx.options, name)} is not a number of seconds above 0")
    return seconds
