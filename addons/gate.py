"""Which requests come in at all, before an account is asked for: refused here is what no account could help.

At the head, of each request on a connection anew: is it addressed to this proxy (`Host`), does a web page send it that nobody has
allowed (`Origin`), does it bring a key. When it is whole: is it too large, has the key something left of its minute and its slots,
may it ask for this model. The path plays no part in it, so there is no spelling of one that leads around.
"""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy.mode_specs import ProxyMode, ReverseMode
from mitmproxy.utils import human

from addons import engine, heads, hosts, probes
from addons.asked_model import asked_model
from addons.counter import Counter, OwnCounter
from addons.edits import in_a_header
from addons.guard import FAULT, Refused, guarded, is_open
from addons.keys import KEY, TURNED_AWAY, Key, find, from_environment
from addons.limits import Over, Wanted, expected_tokens
from addons.own_key import with_key_of_file
from addons.parallel import takes_a_slot
from addons.policy import CodexPolicy
from addons.redact import brought
from addons.route import is_upgrade, plain_body
from addons.websocket import WEBSOCKET_REFUSED, is_relayed
from addons.wire.errors import OpenAIError

logger = logging.getLogger(__name__)

# A proxy without keys is for the machine that it runs on. Whoever means otherwise says so in so many words.
OPEN, OPEN_TO_ALL = "CODEX_MITM_OPEN", "everybody-on-this-network-may-use-my-plan"

# The same for no key, a wrong one and one that was taken back, whichever path it asks for.
NO_KEY = OpenAIError(
    401,
    "Incorrect API key provided. This proxy has keys of its own: ask whoever runs it",
    code="invalid_api_key",
    headers={"www-authenticate": "Bearer"},
)

# The page, which is the same for everybody and asks for the key itself; and what tells a stranger yes or no and nothing else.
WITHOUT_A_KEY = {(method, path) for method in ("GET", "HEAD") for path in ("/", probes.HEALTH, probes.READY)}

# What tells of a web page.
_OF_PAGES, _ORIGIN = heads.in_bytes(("origin", "sec-fetch-site", "sec-fetch-mode")), heads.in_bytes(("origin",))

# A guessed key is a stolen plan; one of `python -m auth key add` has 47 characters.
SHORT_KEY = 16


@dataclass(slots=True, eq=False)
class Guest:
    """A request that was let in."""

    key: Key | None = None
    origin: str = ""
    """Of the page that sent it, if it was a listed one."""
    limits: dict[str, str] = field(default_factory=dict)
    """What its answer says of its key's minute."""


# On answers to a key with limits while the proxies that share them cannot: its limits hold for this proxy alone.
COUNTED = "x-codex-limits"


class CodexGate:
    """After `CodexRedact`, which has taken the keys off the flows, and after `CodexPolicy`; before everything that answers."""

    def __init__(self, policy: CodexPolicy, env: Mapping[str, str], counter: Counter[http.HTTPFlow] | None = None) -> None:
        self.policy = policy
        self.env = env
        self.counter = counter or OwnCounter[http.HTTPFlow](time.monotonic)
        self.own_key: Key | None = None
        self.names: frozenset[str] = frozenset()
        self.exposed = ["nowhere yet"]
        """The addresses that others than this machine can reach. Until they are known nothing is open."""
        self.is_set_up = self.had_keys = self.said_closed = False
        self.guests: WeakKeyDictionary[http.HTTPFlow, Guest] = WeakKeyDictionary()
        """Not on the flow: a guest has its key's digest, and keys may be short or guessable."""
        self.counted: frozenset[bytes] = frozenset()
        """The digests of the keys that have asked."""

    def load(self, loader: Loader) -> None:
        loader.add_option(
            "codex_hosts",
            Sequence[str],
            [],
            "Names under which this proxy may be addressed, beside localhost, 127.0.0.1, ::1 and the address that it listens on: "
            "its service name in docker compose, for instance.",
        )

    # -- when options change

    def configure(self, updated: set[str]) -> None:
        if "codex_hosts" in updated:
            for name in ctx.options.codex_hosts:
                if problem := hosts.bad_name(name):
                    raise exceptions.OptionsError(f"codex_hosts: {problem}")
        if not self.is_set_up:
            if "codex_policy" not in updated:
                return  # `CodexServe` is setting its defaults, and nothing is known of keys yet
            self._read_environment()
            self.is_set_up = True
        if updated & {"mode", "listen_host", "codex_policy", "codex_hosts"}:
            listening = listen_hosts()
            self.names, self.exposed = hosts.names_of([*listening, *ctx.options.codex_hosts]), hosts.exposed(listening)
            self._look_who_can_come()

    def _read_environment(self) -> None:
        try:
            env = with_key_of_file(self.env)
            self.own_key = from_environment(env)
        except ValueError as e:
            raise exceptions.OptionsError(str(e)) from e
        if self.env.get(OPEN, "") not in ("", OPEN_TO_ALL):
            raise exceptions.OptionsError(f"{OPEN}: it means something only as {OPEN_TO_ALL}")
        if self.own_key and len(env["PROXY_API_KEY"].strip()) < SHORT_KEY:
            logger.warning("PROXY_API_KEY is short and can be guessed; `python -m auth key add` makes a good one")

    def _look_who_can_come(self) -> None:
        """Raises OptionsError: at the start that ends the proxy, later the option keeps its old value."""
        keys, where = self._keys(), ", ".join(self.exposed)
        if not self.exposed or keys:
            return
        if keys is None and self.env.get(OPEN) == OPEN_TO_ALL:
            logger.warning("%s: whoever can reach %s may use your plan, without a key (%s)", OPEN_TO_ALL, where, OPEN)
            return
        raise exceptions.OptionsError(
            f"listening on {where} without a key, others could use your plan. Three ways out: a key "
            "(PROXY_API_KEY in the environment, or `python -m auth key add` and `keys` in the policy file); "
            f"listen_host=127.0.0.1; or {OPEN}={OPEN_TO_ALL} in the environment"
        )

    # -- the head

    @guarded
    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if not is_open(flow) or flow.is_replay:
            return  # whoever can replay a flow sits in front of mitmproxy, and the key is gone from it
        shown = brought(flow)
        flow.metadata[TURNED_AWAY] = True
        guest = Guest()
        self._check_host(flow, shown.authority)
        self._check_origin(flow, guest)
        self.guests[flow] = guest
        if guest.origin and hosts.is_preflight(flow.request.method, flow.request.headers):
            flow.response = http.Response.make(204, b"", hosts.preflight(guest.origin, flow.request.headers))
            return
        self._check_key(flow, guest, shown.digests)
        heads.take_off(flow.request.headers, _ORIGIN)  # it was for this proxy
        del flow.metadata[TURNED_AWAY]

    def _check_host(self, flow: http.HTTPFlow, authority: str) -> None:
        """RFC 9112, 3.2: exactly one, but HTTP/1.0 may do without. The authority of an absolute target counts like one."""
        given = flow.request.headers.get_all("host")
        if len(given) != 1 and not (flow.request.is_http10 and not given):
            raise Refused(one_host_wanted(len(given)))
        here = flow.client_conn.sockname
        for name in (*given, authority) if authority else given:
            if not hosts.is_served(name, self.names) and not (here and hosts.is_served(name, hosts.names_of([here[0]]))):
                raise Refused(host_refused(name))

    def _check_origin(self, flow: http.HTTPFlow, guest: Guest) -> None:
        headers = flow.request.headers
        told = heads.told(headers, _OF_PAGES)
        origin = told.get("origin")
        if origin is None:
            # What is the same for everybody may be linked to. All else costs a look upstream, even if nobody can read it there.
            if hosts.comes_from_a_page(told) and not (hosts.follows_a_link(told) and needs_no_key(flow.request)):
                raise Refused(origin_refused("another page"))
            return
        scheme = "https" if flow.client_conn.tls else "http"
        if hosts.is_own(origin, scheme, headers.get("host", "")):
            return
        if origin.lower() not in self.policy.current().origins:
            raise Refused(origin_refused(f"pages of '{in_a_header(origin[:100])}'"))
        guest.origin = origin

    def _check_key(self, flow: http.HTTPFlow, guest: Guest, digests: Sequence[bytes]) -> None:
        keys = self._keys()
        if keys is not None:
            guest.key = find(keys, digests)
            if guest.key:
                flow.metadata[KEY] = guest.key.label
                return
        elif self._is_for_everybody(flow):
            return
        if not needs_no_key(flow.request):
            raise Refused(NO_KEY)

    def _keys(self) -> tuple[Key, ...] | None:
        """None: it was set up without keys. One that had some and has lost them lets nobody in until it has one again."""
        listed = self.policy.current().keys
        if listed is not None or self.own_key:
            self.had_keys = True
        keys = (*(listed or ()), *([self.own_key] if self.own_key else []))
        if self.had_keys and bool(keys) is self.said_closed:
            self.said_closed = not keys
            if not keys:
                logger.warning("there is no key, so nobody is let in; add one (`python -m auth key add`), or start without `keys`")
        return keys if self.had_keys else None

    def _is_for_everybody(self, flow: http.HTTPFlow) -> bool:
        """The connection counts as well as the options: it may be older than they are."""
        here = flow.client_conn.sockname
        is_near = not self.exposed and here is not None and hosts.is_loopback(here[0])
        return is_near or self.env.get(OPEN) == OPEN_TO_ALL

    # -- the whole request

    @guarded
    async def request(self, flow: http.HTTPFlow) -> None:
        if engine.body_was_too_large(flow) and flow.live and not flow.response:
            # In every mode: the body is gone, and without it the request would be another one.
            raise Refused(OpenAIError(413, f"the request body is over {ctx.options.body_size_limit} (option body_size_limit)"))
        if not is_open(flow):
            return
        guest = self.guests.get(flow)
        if (guest is None or TURNED_AWAY in flow.metadata) and not flow.is_replay:
            raise Refused(FAULT)  # a script before this one has broken at the head, and nobody has looked at it
        key = guest.key if guest else None
        # What is said on a WebSocket is not counted here. Whoever has limits is told to use POST, and is counted there.
        if is_upgrade(flow.request) and (not is_relayed(flow.request) or (key and key.is_limited)):
            raise Refused(WEBSOCKET_REFUSED)
        if guest and key and not probes.is_probe(flow):
            await self._check_limits(flow, guest, key)
            self._check_model(flow, key)

    async def _check_limits(self, flow: http.HTTPFlow, guest: Guest, key: Key) -> None:
        if key.limits.are_none:
            return
        if key.digest not in self.counted:
            self.counted = frozenset(each.digest for each in self._keys() or ())
            self.counter.keep(self.counted)
        wanted = Wanted(expected_tokens(len(flow.request.raw_content or b"")), takes_a_slot(flow.request))
        asked = await self.counter.ask(key.digest, flow, wanted, key.limits)
        for gauge in asked.gauges:
            guest.limits |= gauge.headers()
        if asked.alone:
            guest.limits[COUNTED] = "this proxy only"
        if asked.over:
            raise Refused(over_the_limit(asked.over))

    def _check_model(self, flow: http.HTTPFlow, key: Key) -> None:
        """Whatever has a body must name a model: a body that cannot be read here could be read elsewhere."""
        request = flow.request
        if key.models is None or not request.raw_content:
            return
        limit = human.parse_size(ctx.options.body_size_limit) or 2**63
        body = plain_body(request.headers.get("content-encoding", ""), request.raw_content, limit)
        model = asked_model(body)
        if model is None or not key.may_ask_for(model):
            named = f"The model '{in_a_header(model[:100])}'" if model else "A model that is not named"
            raise Refused(
                OpenAIError(404, f"{named} does not exist or you do not have access to it.", code="model_not_found", param="model")
            )

    # -- what comes after it, on a WebSocket

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        """It may be open for hours, and each message of its client is a request: for a key that is still there."""
        guest = self.guests.get(flow)
        if guest is None or not flow.websocket or not flow.websocket.messages[-1].from_client:
            return
        keys = self._keys()
        if keys is None:
            return
        key = find(keys, [guest.key.digest] if guest.key else [])
        if key is None or key.is_limited:
            flow.websocket.messages[-1].drop()
            for handler in list(ctx.master.addons.get("proxyserver").connections.values()):
                if handler.client is flow.client_conn:
                    engine.hang_up(handler, flow.server_conn)  # which closes the client's side in good form

    # -- when it is over

    def counted_key(self, flow: http.HTTPFlow) -> Key | None:
        """The key that this request counts for."""
        guest = self.guests.get(flow)
        return guest.key if guest and guest.key and not guest.key.limits.are_none else None

    async def over(self, key: Key, flow: http.HTTPFlow, tokens: int | None) -> None:
        """It is over, and has used so many tokens; None if nobody can say."""
        await self.counter.settle(key.digest, flow, tokens)


def needs_no_key(request: http.Request) -> bool:
    return (request.method, probes.bare(request.path)) in WITHOUT_A_KEY


def listen_hosts() -> list[str]:
    """Of the listeners that serve the plan; other modes of the same mitmproxy do not."""
    modes = [ProxyMode.parse(mode) for mode in ctx.options.mode]
    return [mode.listen_host(ctx.options.listen_host) for mode in modes if isinstance(mode, ReverseMode)]


def one_host_wanted(given: int) -> OpenAIError:
    return OpenAIError(400, f"a request must have one Host header, and this one has {given}", code="invalid_host")


def host_refused(name: str) -> OpenAIError:
    return OpenAIError(
        421, f"this proxy does not serve the host '{in_a_header(name[:100])}' (option codex_hosts)", code="host_not_allowed"
    )


def origin_refused(who: str) -> OpenAIError:
    return OpenAIError(403, f"{who} may not use this proxy (`origins` in the policy file)", code="origin_not_allowed")


def over_the_limit(over: Over) -> OpenAIError:
    """In OpenAI's words, for clients that read the seconds out of them."""
    of, limit, left = over.gauge.of, over.gauge.limit, over.gauge.left
    seconds = max(1, math.ceil(over.again_in))
    short = {"requests": "requests per min (RPM)", "tokens": "tokens per min (TPM)", "parallel": "requests at a time"}[of]
    return OpenAIError(
        429,
        f"Rate limit reached for this key on {short}: Limit {limit}, Used {limit - left}, Requested {over.asked}. "
        f"Please try again in {seconds}s.",
        code="rate_limit_exceeded",
        type=of,
        headers={"retry-after": str(seconds)},
    )
