"""When there are spans at all: by OpenTelemetry's own variables, and only if its packages are there."""

import ast
import sys

import pytest
from mitmproxy import exceptions
from mitmproxy.test import taddons

from addons.spans import CodexSpans
from tests.proxy import ROOT

NOBODY = "http://127.0.0.1:1"

# The only file that imports OpenTelemetry, and the only one that imports that file.
IMPORTS, IMPORTS_THAT = ROOT / "addons/telemetry/exporting.py", ROOT / "addons/spans.py"


def test_without_a_collector_nothing_of_it_is_imported() -> None:
    texts = {file: file.read_text() for folder in ("addons", "auth") for file in ROOT.glob(f"{folder}/**/*.py")}
    product = {file: ast.parse(text) for file, text in texts.items() if "opentelemetry" in text or "exporting" in text}
    assert {file for file, tree in product.items() if imports(tree, "opentelemetry")} == {IMPORTS}
    assert {file for file, tree in product.items() if imports(tree, "addons.telemetry.exporting")} == {IMPORTS_THAT}
    at_import = ast.Module([node for node in product[IMPORTS_THAT].body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    assert not imports(at_import, "addons.telemetry.exporting")


def imports(tree: ast.AST, name: str) -> bool:
    found = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    found |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return any(f"{module}.".startswith(f"{name}.") for module in found)


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": NOBODY, "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": NOBODY, "OTEL_TRACES_EXPORTER": "none"},
    ],
    ids=str,
)
async def test_nobody_wants_spans(env: dict[str, str]) -> None:
    spans = CodexSpans(env, None)
    with taddons.context(spans) as tctx:
        tctx.configure(spans)
        assert spans.spans is None


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
async def test_somebody_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, NOBODY)
    spans = CodexSpans({name: NOBODY}, None)
    with taddons.context(spans) as tctx:
        tctx.configure(spans)
        assert spans.spans is not None
        spans.done()


async def test_a_missing_package_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "addons.telemetry.exporting", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with taddons.context() as tctx, pytest.raises(exceptions.OptionsError, match=r"install codex-mitm\[otel\]"):
        tctx.configure(CodexSpans({"OTEL_EXPORTER_OTLP_ENDPOINT": NOBODY}, None))


async def test_a_protocol_that_is_not_spoken_is_told_at_the_start() -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": NOBODY, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with taddons.context() as tctx, pytest.raises(exceptions.OptionsError, match="grpc is not spoken here, only http/protobuf"):
        tctx.configure(CodexSpans(env, None))
