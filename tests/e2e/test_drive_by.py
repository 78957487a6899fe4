"""A page that somebody looks at while the proxy runs, in a real Chromium: it learns nothing and costs nothing.

The proxy has no key, so that nothing but `Host` and `Origin` is in the way, and it is mitmweb, whose own port is tried too.
"""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver

from tests.e2e.chromium import chromium
from tests.e2e.client import ask, post, said
from tests.e2e.conftest import options_for
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.proxy import RunningProxy, free_port, running_proxy

pytestmark = pytest.mark.slow

EVIL = "evil.example"
PATHS = (
    *("/", "/v1/models", "/v1/chat/completions", "/v1/responses", "/v1/responses/resp_1", "/backend-api/wham/usage"),
    *("/codex/usage", "/codex/calls", "/codex/sign-in", "/healthz", "/readyz", "/metrics"),
)
WEB_PATHS = ("/", "/flows", "/options", "/state", "/updates", "/commands/view.flows.resolve")

# Everything with which a page can ask somebody else: what it has learned, null where that is nothing.
TRY_ALL = """
const [targets, body, done] = arguments, learned = [], waits = [];
const frame = name => document.body.appendChild(Object.assign(document.createElement("iframe"), {name}));
const read = async answer => answer.type === "opaque" ? null : [answer.status, await answer.text()];
const loads = (tag, set) => new Promise(tell => {
  const element = document.createElement(tag);
  element.onload = () => tell(tag + " loaded");
  element.onerror = () => tell(null);
  set(element);
  document.body.append(element);
});
const inside = element => new Promise(tell => element.onload = () => {
  try { if (element.contentWindow.location.href === "about:blank") return;
        tell(element.contentDocument.body.textContent); } catch { tell(null); }
});
const after = (milliseconds, what) => new Promise(tell => setTimeout(tell, milliseconds, what));
for (const url of targets) {
  const attempt = (how, promise) => waits.push(
    Promise.race([promise, after(15000, "late")]).catch(() => null).then(what => learned.push([how, url, what])));
  for (const mode of ["cors", "no-cors"]) for (const more of [{}, {method: "POST", body}])
    attempt(`${mode} ${more.method}`, fetch(url, {mode, credentials: "include", ...more}).then(read));
  const headers = {"content-type": "application/json", "authorization": "Bearer guess", "x-codex-page": "1"};
  for (const method of ["POST", "DELETE"]) attempt(`${method} as a program`, fetch(url, {method, headers, body}).then(read));
  attempt("EventSource", new Promise(tell => {
    const source = new EventSource(url);
    source.onopen = source.onmessage = () => tell("heard");
    source.onerror = () => { source.close(); tell(null); };
  }));
  attempt("WebSocket", new Promise(tell => {
    const talk = new WebSocket(url.replace("http", "ws"));
    talk.onopen = () => tell("open");
    talk.onerror = () => tell(null);
  }));
  attempt("script", loads("script", element => element.src = url));
  attempt("img", loads("img", element => element.src = url));
  attempt("stylesheet", loads("link", element => { element.rel = "stylesheet"; element.href = url; }));
  const seen = frame("seen" + waits.length);
  attempt("frame", inside(seen));
  seen.src = url;
  const sent = frame("sent" + waits.length), form = document.createElement("form");
  attempt("form", Promise.race([inside(sent), after(3000, null)]));  // an empty refusal may leave the frame as it was
  Object.assign(form, {action: url, method: "POST", enctype: "text/plain", target: sent.name});
  form.append(Object.assign(document.createElement("input"), {name: body, value: ""}));
  document.body.append(form);
  form.submit();
  navigator.sendBeacon(url, body);
}
Promise.all(waits).then(() => done(learned));
"""


@dataclass
class Site:
    """Somebody else's, on another port of this machine; `name` is any name, the browser finds it here."""

    port: int

    def at(self, name: str) -> str:
        return f"http://{name}:{self.port}/"


@dataclass
class Mitmweb:
    proxy: RunningProxy
    port: int


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!DOCTYPE html><title>a page</title><body>")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Site(server.server_port)
        server.shutdown()


@pytest.fixture(scope="module")
def shared_proxy(web: Mitmweb) -> RunningProxy:
    return web.proxy


@pytest.fixture(scope="module")
def web(openai: FakeOpenAI, home: Path) -> Iterator[Mitmweb]:
    port = free_port()
    arguments = ["-p", "0", "--no-web-open-browser", "--web-port", str(port), "--set", "web_password=of-the-test"]
    with running_proxy(home, options_for(openai), program="mitmweb", arguments=arguments) as proxy:
        proxy.wait_for_log("Web server listening at ")
        yield Mitmweb(proxy, port)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile"), f"--host-resolver-rules=MAP {EVIL} 127.0.0.1") as driver:
        driver.set_script_timeout(60)
        yield driver


def try_all(driver: webdriver.Chrome, base: str, paths: tuple[str, ...]) -> list[tuple[str, str, Any]]:
    learned = driver.execute_async_script(TRY_ALL, [base + path for path in paths], json.dumps(ask()))
    return [(how, url, what) for how, url, what in learned]


def test_our_own_page_can_ask(driver: webdriver.Chrome, proxy: RunningProxy, control: Control) -> None:
    """Or the tests below would show nothing."""
    driver.get(f"{proxy.origin}/")
    asked = "const [path, body, done] = arguments; fetch(path, body ? {method: 'POST', body} : {}).then(a => done(a.status))"
    assert driver.execute_async_script(asked, "/v1/models", "") == 200
    assert driver.execute_async_script(asked, "/v1/responses", json.dumps(ask())) == 200
    assert control.seen("backend", "responses")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", EVIL])
def test_another_page_learns_nothing_and_costs_nothing(
    name: str, driver: webdriver.Chrome, site: Site, web: Mitmweb, proxy: RunningProxy, control: Control
) -> None:
    driver.get(site.at(name))
    learned = try_all(driver, proxy.origin, PATHS) + try_all(driver, f"http://127.0.0.1:{web.port}", WEB_PATHS)
    assert len(learned) > 200
    assert [each for each in learned if each[2] is not None] == []
    assert control.seen() == [], "no model was asked, and no sign-in has begun"


def test_nor_does_one_whose_name_has_come_to_lead_here(
    driver: webdriver.Chrome, web: Mitmweb, proxy: RunningProxy, control: Control
) -> None:
    """DNS rebinding: for the browser it is the page's own server, and the page may read all that it says."""
    assert said(post(proxy.url, ask("CANARY"))) == "You said: CANARY"
    before = len(control.seen())
    for port, paths in ((proxy.port, PATHS), (web.port, WEB_PATHS)):
        driver.get(f"http://{EVIL}:{port}/")
        for how, url, what in try_all(driver, f"http://{EVIL}:{port}", paths):
            if isinstance(what, list):
                assert what[0] in ((421,) if port == proxy.port else (403, 405)), (how, url, what)
            else:
                assert what is None or how in ("frame", "form"), (how, url, what)
            assert not any(told in str(what) for told in ("CANARY", "gpt-", "@example", "<title>codex-mitm")), (how, url, what)
    assert len(control.seen()) == before


def test_a_link_leads_to_the_page_and_no_further(
    driver: webdriver.Chrome, site: Site, proxy: RunningProxy, control: Control
) -> None:
    go = "const link = document.createElement('a'); link.href = arguments[0]; document.body.append(link); link.click()"
    for path, title in (("/", "codex-mitm"), ("/v1/models", ""), ("/codex/usage", "")):
        driver.get(site.at(EVIL))
        driver.execute_script(go, f"{proxy.origin}{path}")
        shown = driver.find_element("tag name", "body").text
        assert driver.title == title and ("origin_not_allowed" in shown) == (path != "/")
        before = len(control.seen())  # the page asks for the plan, and it is ours
    assert len(control.seen()) == before
