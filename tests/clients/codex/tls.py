"""Hosts of OpenAI's on this machine: TLS with certificates of a CA of the test's own, before plain ports of the fake."""

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from mitmproxy.certs import CertStore


@dataclass(frozen=True)
class Front:
    ca_file: Path
    ports: dict[str, int]
    """By host name."""


@contextmanager
def tls_before(plain: Mapping[str, int], folder: Path) -> Iterator[Front]:
    """`plain` is the port behind each host name."""
    store = CertStore.from_store(folder, "test", 2048)
    front = Front(folder / "test-ca-cert.pem", {})
    opened = threading.Event()
    ends: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        stop = asyncio.Event()
        ends.append((asyncio.get_running_loop(), stop))
        for host, port in plain.items():
            server = await asyncio.start_server(_relay_to(port), "127.0.0.1", 0, ssl=_context(store, host, folder))
            front.ports[host] = server.sockets[0].getsockname()[1]
        opened.set()
        await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="tls", daemon=True)
    thread.start()
    assert opened.wait(20)
    try:
        yield front
    finally:
        for loop, stop in ends:
            loop.call_soon_threadsafe(stop.set)
        thread.join()


def _context(store: CertStore, host: str, folder: Path) -> ssl.SSLContext:
    entry = store.get_cert(host, [x509.DNSName(host)])
    file = folder / f"{host}.pem"
    file.write_bytes(entry.cert.to_pem() + entry.privatekey.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return context


def _relay_to(port: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.TaskGroup() as both:
            both.create_task(_pump(reader, inner_writer), name="to the fake")
            both.create_task(_pump(inner_reader, writer), name="from the fake")

    return relay


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
