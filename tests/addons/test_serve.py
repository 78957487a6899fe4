from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from mitmproxy import exceptions
from mitmproxy.addonmanager import Loader
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.addons.tlsconfig import TlsConfig
from mitmproxy.test import taddons

from addons.serve import CodexServe, misspelt


@contextmanager
def mitmproxy_with_options() -> Iterator[taddons.context]:
    with taddons.context(Proxyserver(), TlsConfig()) as tctx:
        tctx.options.update(server=False)  # options only: tests/e2e starts the real thing
        CodexServe(None).load(Loader(tctx.master))
        yield tctx


async def test_defaults_make_a_reverse_proxy_on_loopback() -> None:
    with mitmproxy_with_options() as tctx:
        CodexServe("/ca.pem").configure(set())
        options = tctx.options
        assert (options.mode, options.listen_host, options.listen_port) == (["reverse:https://api.openai.com"], "127.0.0.1", 9090)
        assert (options.connection_strategy, options.http2, options.body_size_limit) == ("lazy", False, "64m")
        assert options.ssl_verify_upstream_trusted_ca == "/ca.pem"


async def test_forward_makes_a_plain_proxy_on_loopback_that_measures_nobody() -> None:
    with mitmproxy_with_options() as tctx:
        tctx.options.update(codex_mode="forward")
        CodexServe(None).configure(set())
        options = tctx.options
        assert (options.mode, options.listen_host, options.listen_port) == (["regular"], "127.0.0.1", 9090)
        assert (options.connection_strategy, options.http2, options.body_size_limit) == ("lazy", False, None)


async def test_the_mode_is_chosen_once() -> None:
    with mitmproxy_with_options() as tctx:
        serve = CodexServe(None)
        serve.configure(set())
        tctx.options.update(codex_mode="forward")
        with pytest.raises(exceptions.OptionsError, match="codex_mode"):
            serve.configure({"codex_mode"})


async def test_what_the_user_has_set_stays() -> None:
    with mitmproxy_with_options() as tctx:
        tctx.options.update(listen_port=0, listen_host="0.0.0.0", body_size_limit="1g", mode=["reverse:http://localhost:1"])
        CodexServe(None).configure(set())
        options = tctx.options
        assert (options.listen_port, options.listen_host, options.body_size_limit) == (0, "0.0.0.0", "1g")
        assert options.mode == ["reverse:http://localhost:1"]


async def test_what_is_set_later_is_not_set_back() -> None:
    with mitmproxy_with_options() as tctx:
        serve = CodexServe(None)
        serve.configure(set())
        tctx.options.update(listen_port=8080)
        serve.configure({"listen_port"})
        assert tctx.options.listen_port == 8080


@pytest.mark.parametrize(("option", "value"), [("stream_large_bodies", "3m"), ("proxy_debug", True), ("codex_mode", "x")])
async def test_options_that_would_break_a_promise_are_refused(option: str, value: object) -> None:
    with mitmproxy_with_options() as tctx:
        tctx.options.update(**{option: value})
        with pytest.raises(exceptions.OptionsError, match=option):
            CodexServe(None).configure(set())


@pytest.mark.parametrize(
    ("unknown", "messages"),
    [
        (["codex_upstraem"], ["unknown option codex_upstraem: did you mean codex_upstream?"]),
        (["codx_upstream"], ["unknown option codx_upstream: did you mean codex_upstream?"]),
        (["codex_zzz"], ["unknown option codex_zzz"]),
        (["somebody_elses"], []),
    ],
)
def test_misspelt_options(unknown: list[str], messages: list[str]) -> None:
    assert misspelt(unknown, ["codex_upstream", "codex_accounts", "mode"]) == messages
