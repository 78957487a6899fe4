"""Who is measured: the way without a proxy, nginx, mitmdump with nothing but a script that lets answers stream, and codex-mitm."""

import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from mitmproxy.certs import CertStore

from addons.keys import MOST
from auth.account_in_redis import AccountInRedis
from auth.authjson import AuthDocument
from auth.keys import make
from auth.shared import Shared
from tests.bench.load import PATH, Caller, asking, called
from tests.bench.processes import family, processor_time, resident
from tests.bench.upstream import Upstream, running_upstream
from tests.e2e.conftest import options_for, write_account
from tests.fakes.openai import FakeOpenAI
from tests.proxy import ENTRY, free_port, running_proxy
from tests.redisserver import RedisServer, redis_server

BARE = """
class Bare:
    def responseheaders(self, flow):
        flow.response.stream = True

addons = [Bare()]
"""

NGINX = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  client_max_body_size 64m;
  client_body_buffer_size 8m;
  keepalive_requests 1000000;
  upstream backend {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }}
  }}
}}
"""

# Without `http-no-delay` it has the kernel hold back the small pieces of a stream for up to 200 ms, in the hope of more.
HAPROXY = """
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  option http-no-delay
frontend clients
  bind 127.0.0.1:{port}
  default_backend proxies
backend proxies
  balance leastconn
{servers}
"""

# What only those have who install codex-mitm with its tests, and what is imported where it is found: trio (with selenium) by
# httpcore, pygments by httpx.
NOT_A_USERS = ("trio", "pygments")

# As many requests at once as a scenario likes to make.
MANY = {"codex_max_parallel": "4096", "codex_queue_size": "4096"}


class NotHere(Exception):
    """The message says which program is missing."""


@dataclass(frozen=True)
class Contestant:
    name: str
    port: int
    pid: int | None
    """None: there is no process between client and upstream."""
    path: str = PATH
    headers: tuple[str, ...] = ()

    def callers(self, count: int, body: bytes) -> list[Caller]:
        return [Caller(self.port, body, self.path, self.headers) for _ in range(count)]

    def processor_time(self) -> float:
        return processor_time(family(self.pid)) if self.pid else 0.0

    def resident(self) -> int:
        return resident(family(self.pid)) if self.pid else 0


@dataclass
class Field:
    """The contestants, each of which is started when it is asked for first, and stays."""

    openai: FakeOpenAI
    upstream: Upstream
    folder: Path
    stack: ExitStack
    certificate: Path
    running: dict[str, Contestant]

    def __getitem__(self, name: str) -> Contestant:
        if name not in self.running:
            self.running[name] = self.stack.enter_context(self.starting(name))
        return self.running[name]

    def starting(self, name: str) -> AbstractContextManager[Contestant]:
        """One more of that name, for as long as the context is open."""
        return STARTS[name](self)

    def home(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))


@contextmanager
def assembled() -> Iterator[Field]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="codex-mitm-bench-", ignore_cleanup_errors=True)))
        certificate = certificate_for_loopback(folder)
        upstream = stack.enter_context(running_upstream(certificate))
        openai = stack.enter_context(FakeOpenAI())
        yield Field(openai, upstream, folder, stack, certificate, {})


def certificate_for_loopback(folder: Path) -> Path:
    """With its key, and signed by a CA whose own is in the same file: for who serves and for who trusts."""
    store = CertStore.from_store(folder / "ca", "bench", 2048)
    entry = store.get_cert("127.0.0.1", [x509.IPAddress(ip_address("127.0.0.1"))])
    key = entry.privatekey.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file = folder / "127.0.0.1.pem"
    file.write_bytes(entry.cert.to_pem() + key + store.default_ca.to_pem())
    return file


@contextmanager
def direct(field: Field) -> Iterator[Contestant]:
    yield Contestant("direct", field.upstream.port, None)


@contextmanager
def nginx(field: Field) -> Iterator[Contestant]:
    home, port = field.home(), free_port()
    config = home / "nginx.conf"
    config.write_text(NGINX.format(folder=home, port=port, upstream=field.upstream.port))
    with program("nginx", home, "-e", str(home / "error.log"), "-p", str(home), "-c", str(config)) as process:
        yield until_it_answers(Contestant("nginx", port, process.pid), process)


@contextmanager
def haproxy(field: Field, ports: Sequence[int], headers: tuple[str, ...] = ()) -> Iterator[Contestant]:
    home, port = field.home(), free_port()
    config = home / "haproxy.cfg"
    servers = "\n".join(f"  server proxy{n} 127.0.0.1:{each}" for n, each in enumerate(ports))
    config.write_text(HAPROXY.format(port=port, servers=servers))
    with program("haproxy", home, "-db", "-f", str(config)) as process:
        yield until_it_answers(Contestant("haproxy", port, process.pid, headers=headers), process)


@contextmanager
def program(name: str, home: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        raise NotHere(f"{name} is not installed")
    with (home / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([path, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=home)
    try:
        yield process
    except OSError as error:
        raise NotHere(f"{name}: {error}; {(home / f'{name}.log').read_text()[-500:]}") from error
    finally:
        process.terminate()
        process.wait()


def until_it_answers(contestant: Contestant, process: subprocess.Popen[bytes], timeout: float = 20.0) -> Contestant:
    deadline = time.monotonic() + timeout
    while True:
        try:
            called(contestant.callers(1, asking("short", False)), calls=1)
            return contestant
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def as_a_user_has_it(folder: Path) -> dict[str, str]:
    """The environment of a proxy that finds none of `NOT_A_USERS`: a start takes 30 ms more with them."""
    for name in NOT_A_USERS:
        (folder / f"{name}.py").write_text(f"raise ModuleNotFoundError({name!r})\n")
    return {"PYTHONPATH": str(folder)}


@contextmanager
def bare(
    field: Field,
    url: str = "",
    options: Mapping[str, str] | None = None,
    home: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Contestant]:
    home = home or field.home()
    script = home / "bare.py"
    script.write_text(BARE)
    arguments = ["-p", "0", "--mode", f"reverse:{url or f'http://127.0.0.1:{field.upstream.port}'}"]
    with running_proxy(home, options, arguments=arguments, scripts=[script], env=env) as proxy:
        yield Contestant("bare mitmdump", proxy.port, proxy.process.pid)


@contextmanager
def codex(
    field: Field,
    url: str = "",
    env: Mapping[str, str] | None = None,
    home: Path | None = None,
    account: str = "chatgpt",
    **more: str,
) -> Iterator[Contestant]:
    home = home or field.home()
    url = url or f"http://127.0.0.1:{field.upstream.port}"
    document = field.openai.control.login() if account == "chatgpt" else {"auth_mode": "apikey", "OPENAI_API_KEY": "sk-bench"}
    write_account(home / ".codex-mitm/accounts/default/auth.json", document)
    options = options_for(field.openai, codex_backend_url=f"{url}/backend-api/codex", codex_platform_url=url, **MANY | more)
    with running_proxy(home, options, scripts=[ENTRY], env=env) as proxy:
        yield Contestant("codex-mitm", proxy.port, proxy.process.pid)


@contextmanager
def sharing_redis(field: Field, count: int) -> Iterator[tuple[list[Contestant], Contestant]]:
    """So many proxies, and their Redis. Their client has a key with all limits, as high as they go, so each call is counted."""
    if not shutil.which("redis-server"):
        raise NotHere("redis-server is not installed")
    home, key = field.home(), make("bench")
    (home / "policy.yaml").write_text(json.dumps({"keys": [key.entry | MOST]}))
    with redis_server(home / "redis") as server, ExitStack() as stack:
        asyncio.run(sign_in_for_all(server, field.openai.control.login()))
        proxies = []
        for _ in range(count):
            started = codex(field, env=server.env, codex_policy=str(home / "policy.yaml"))
            proxies.append(replace(stack.enter_context(started), headers=(f"authorization: Bearer {key.key}",)))
        assert server.process
        yield proxies, Contestant("redis", server.port, server.process.pid)


async def sign_in_for_all(server: RedisServer, document: dict[str, Any]) -> None:
    shared = Shared.from_env(server.env)
    assert shared
    account = AccountInRedis(shared, "default")
    async with account.locked(5):
        await account.save(AuthDocument.parse(json.dumps(document).encode()))
    await shared.aclose()


@contextmanager
def far_bare(field: Field) -> Iterator[Contestant]:
    trusted = {"ssl_verify_upstream_trusted_ca": str(field.certificate)}
    with bare(field, f"https://127.0.0.1:{field.upstream.far_port}", trusted) as contestant:
        yield contestant


@contextmanager
def far_codex(field: Field) -> Iterator[Contestant]:
    url = f"https://127.0.0.1:{field.upstream.far_port}"
    with codex(field, url, {"SSL_CERT_FILE": str(field.certificate)}) as contestant:
        yield contestant


def named(
    name: str, start: Callable[[Field], AbstractContextManager[Contestant]]
) -> Callable[[Field], AbstractContextManager[Contestant]]:
    @contextmanager
    def started(field: Field) -> Iterator[Contestant]:
        with start(field) as contestant:
            yield replace(contestant, name=name)

    return started


STARTS: Mapping[str, Callable[[Field], AbstractContextManager[Contestant]]] = {
    "direct": direct,
    "nginx": nginx,
    "haproxy": lambda field: haproxy(field, [field.upstream.port]),
    "bare mitmdump": bare,
    "codex-mitm": codex,
    "no translation": named("no translation", lambda field: codex(field, account="key")),
    "not recording": named("not recording", lambda field: codex(field, codex_traffic="")),
    "with bodies": named("with bodies", lambda field: codex(field, codex_traffic_bodies="true")),
    "far bare": named("far bare", far_bare),
    "far codex-mitm": named("far codex-mitm", far_codex),
}
