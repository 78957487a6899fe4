"""`make bench` measures: one short round of it, with the real proxy."""

import json
import sys
from pathlib import Path

import pytest

from tests.bench.__main__ import run
from tests.bench.scenarios import Effort

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the bench reads the processor time of processes from /proc"),
]

TINY = Effort(rounds=1, seconds=0.05, loads=(1, 4), streams=(2,))


def test_a_short_round_has_all_figures_and_a_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["B1", "B3"], TINY, tmp_path)

    [result] = tmp_path.glob("*.json")
    [plot] = tmp_path.glob("*.svg")
    taken = {(row["case"], row["contestant"], row["measure"]): row["median"] for row in json.loads(result.read_text())["figures"]}
    # Two streams of 200 words: each word was timed on its way, and none was lost.
    assert {taken["2 streams", who, "heard"] for who in ("direct", "bare mitmdump", "codex-mitm")} == {400}
    assert taken["2 streams", "codex-mitm", "delay"] > 0
    # Where nothing stands between client and upstream, no processor time is measured.
    assert {who for case, who, measure in taken if measure == "cpu" and case == "4 clients"} >= {"bare mitmdump", "codex-mitm"}
    assert ("4 clients", "direct", "cpu") not in taken
    for name in ("bare mitmdump", "codex-mitm"):
        assert taken["1 client", name, "cpu"] > 0
        assert f">{name}</text>" in plot.read_text()
    table = capsys.readouterr().out
    assert "added to a call" in table
    assert max(map(len, table.splitlines()[:-1])) <= 80
