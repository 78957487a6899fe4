"""Addons hear of events as they do from mitmproxy itself: each case is told by both, and both tell the same."""

import asyncio
import logging
import types
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from mitmproxy import exceptions
from mitmproxy.addonmanager import AddonManager
from mitmproxy.hooks import ConfigureHook, Hook, RunningHook, UpdateHook
from mitmproxy.log import LegacyLogEvents
from mitmproxy.test import taddons

from addons import engine
from addons.engine import dispatch
from addons.engine.originals import original

engine.install()

heard: list[str] = []


class Hears:
    def __init__(self, name: str, *below: Any, raises: BaseException | None = None) -> None:
        self.name = name
        self.raises = raises
        if below:
            self.addons = list(below)

    def update(self, flows: Any) -> None:
        heard.append(self.name)
        if self.raises:
            raise self.raises


class HearsLater(Hears):
    async def update(self, flows: Any) -> None:  # type: ignore[override]
        heard.append(f"{self.name} begins")
        super().update(flows)


class Other:
    """Without the hook, or with something else in its place."""

    def __init__(self, name: str, **members: Any) -> None:
        self.name = name
        vars(self).update(members)

    def __repr__(self) -> str:
        return self.name


BUG, HALT, BAD_OPTION = RuntimeError("bug"), exceptions.AddonHalt(), exceptions.OptionsError("no")
CHAINS: dict[str, Callable[[], list[Any]]] = {
    "in order, sub-addons behind their own": lambda: [
        Hears("a", Hears("b", Hears("c")), Hears("d")),
        Other("none"),
        HearsLater("e"),
    ],
    "who raises costs its sub-addons the event": lambda: [Hears("a", Hears("b", raises=BUG), Hears("c")), Hears("d")],
    "the same later": lambda: [HearsLater("a", Hears("b"), raises=BUG), Hears("c")],
    "the event ends": lambda: [Hears("a"), Hears("b", raises=HALT), Hears("c")],
    "an option is refused": lambda: [Hears("a"), Hears("b", raises=BAD_OPTION), Hears("c")],
    "a module of that name": lambda: [Other("a", update=types.ModuleType("update")), Hears("b")],
    "no hook": lambda: [Other("a", update=5, addons=[Hears("b")]), Hears("c")],
    "a new hook": lambda: [Other("a", update=lambda flows: heard.append("new")), Hears("b")],
}


async def told_by(trigger: Callable[..., Awaitable[None]], chain: list[Any], caplog: pytest.LogCaptureFixture) -> Any:
    heard.clear()
    caplog.clear()
    with taddons.context() as tctx:
        tctx.master.addons.chain = chain
        try:
            await trigger(tctx.master.addons, UpdateHook([]))
        except exceptions.OptionsError as e:
            heard.append(f"raised {e}")
    return [*heard], [(record.name, record.levelno, record.message) for record in caplog.records if "Addon" in record.message]


@pytest.mark.parametrize("case", CHAINS)
async def test_each_hears_what_it_would_hear_without_this(case: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        here = await told_by(dispatch.trigger_event, CHAINS[case](), caplog)
        there = await told_by(original[AddonManager, "trigger_event"], CHAINS[case](), caplog)
    assert here == there and here != ([], [])


async def test_what_went_wrong_is_told_from_the_hook_on(caplog: pytest.LogCaptureFixture) -> None:
    await told_by(dispatch.trigger_event, [Hears("a", raises=RuntimeError("bug"))], caplog)
    (record,) = (record for record in caplog.records if "Addon error: bug" in record.message)
    assert record.exc_info and record.exc_info[2]
    assert record.exc_info[2].tb_frame.f_code.co_name == "update"


async def test_who_comes_or_goes_is_noticed() -> None:
    with taddons.context() as tctx:
        addons, top = tctx.master.addons, Hears("a", Hears("b"))
        addons.chain = [top]

        async def told() -> list[str]:
            heard.clear()
            await addons.trigger_event(UpdateHook([]))
            return [*heard]

        assert await told() == ["a", "b"]
        top.addons = [Hears("c"), Hears("d")]  # as a script does that is loaded anew
        assert await told() == ["a", "c", "d"]
        top.addons.reverse()
        assert await told() == ["a", "d", "c"]
        addons.add(Hears("e"))
        assert await told() == ["a", "d", "c", "e"]
        addons.chain = addons.chain[1:]
        assert await told() == ["e"]


@pytest.mark.parametrize("change", [ConfigureHook(set()), RunningHook()], ids=["configure", "running"])
async def test_who_has_another_hook_now_is_noticed(change: Hook) -> None:
    with taddons.context() as tctx:
        addons, changing = tctx.master.addons, Other("changing")

        def changed(*_: Any) -> None:
            changing.update = lambda flows: heard.append("changed")  # type: ignore[attr-defined]

        changing.configure = changing.running = changed  # type: ignore[attr-defined]
        addons.chain = [changing, Hears("a")]
        heard.clear()
        await addons.trigger_event(UpdateHook([]))
        assert heard == ["a"]
        if change.name == "configure":
            addons.trigger(change)
        else:
            await addons.trigger_event(change)
        await addons.trigger_event(UpdateHook([]))
        assert heard == ["a", "changed", "a"]


async def test_add_log_is_heard_by_who_has_it() -> None:
    lines: list[str] = []
    with taddons.context() as tctx:
        events = LegacyLogEvents(tctx.master)
        record = logging.makeLogRecord({"levelno": logging.INFO, "msg": "a line"})
        events.emit(record)  # there is nobody
        tctx.master.addons.chain.append(Other("old", add_log=lambda entry: lines.append(entry.msg)))
        events.emit(record)
        await asyncio.sleep(0)  # it comes with the next turn of the event loop
    assert len(lines) == 1 and "a line" in lines[0]
