"""Which of mitmproxy's own addons are taken out, and how they come back: in a real master of mitmdump, which serves nobody."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import exceptions, hooks
from mitmproxy.options import Options
from mitmproxy.proxy.layers.http import HttpRequestHook
from mitmproxy.test import tflow
from mitmproxy.tools.dump import DumpMaster
from mitmproxy.tools.web.master import WebMaster

from addons.lean import NEEDED_IF, CodexLean

# Why the others stay. A mitmproxy with an addon that stands in neither table is to be looked at before it is used.
KEPT = {
    "block": "it keeps strangers out, by default too",
    "browser": "commands only",
    "clientplayback": "its end is asynchronous, so it cannot be removed; it hears nothing of requests",
    "commandhistory": "commands only",
    "comment": "commands only",
    "core": "commands only",
    "cut": "commands only",
    "disableh2c": "any client can ask for h2c",
    "dnsresolver": "it hears nothing of HTTP",
    "errorcheck": "it ends a start that has failed",
    "export": "commands only",
    "keepserving": "it hears nothing of requests",
    "nextlayer": "every connection needs it",
    "proxyserver": "it is the proxy",
    "readfilestdin": "it hears nothing of requests",
    "scriptloader": "this suite is in it",
    "serverplayback": "its commands, too, give it something to do",
    "stripdnshttpsrecords": "it hears nothing of HTTP",
    "termlog": "it is the log",
    "tlsconfig": "upstream is TLS",
    "updatealtsvc": "no option is needed for that",
}

# What makes each of them needed.
REASONS: dict[str, dict[str, Any]] = {
    "anticache": {"anticache": True},
    "anticomp": {"anticomp": True},
    "blocklist": {"block_list": [":~u blocked:404"]},
    "dumper": {"flow_detail": 2},
    "maplocal": {"map_local": ["|example.com|FOLDER"]},
    "mapremote": {"map_remote": ["|example.com|example.org"]},
    "modifybody": {"modify_body": ["/a/b"]},
    "modifyheaders": {"modify_headers": ["/x-a/b"]},
    "onboarding": {"mode": ["regular"]},
    "proxyauth": {"proxyauth": "any"},
    "save": {"save_stream_file": "FOLDER/flows"},
    "savehar": {"hardump": "FOLDER/flows.har"},
    "stickyauth": {"stickyauth": ".*"},
    "stickycookie": {"stickycookie": ".*"},
    "upstreamauth": {"upstream_auth": "user:CANARY"},
}


def reason(name: str, folder: Path) -> dict[str, Any]:
    def here(value: Any) -> Any:
        if isinstance(value, list):
            return [here(entry) for entry in value]
        return value.replace("FOLDER", str(folder)) if isinstance(value, str) else value

    return {option: here(value) for option, value in REASONS[name].items()}


@pytest.fixture
async def masters() -> AsyncIterator[Callable[..., Any]]:
    """As it is when the script has been loaded; `ctx` knows the latest one. `server=False`: it listens nowhere."""
    made = []

    def make(kind: type[Any] = DumpMaster, **options: Any) -> Any:
        master = kind(Options())
        made.append(master)
        master.options.update(server=False, mode=["reverse:https://api.openai.com"])
        if kind is DumpMaster:
            master.options.update(**{"flow_detail": 0} | options)  # `CodexCallLog` says more in less
        return master

    yield make
    for master in made:
        master.should_exit.set()
        await master.done()


async def lean(master: Any) -> CodexLean:
    addon = CodexLean()
    master.addons.add(addon)
    await master.addons.trigger_event(hooks.RunningHook())
    return addon


def names(master: Any) -> list[str]:
    return [getattr(addon, "name", type(addon).__name__.lower()) for addon in master.addons.chain]


async def test_of_every_addon_it_is_known_whether_it_is_needed(masters: Callable[..., Any]) -> None:
    assert sorted(names(masters())) == sorted([*NEEDED_IF, *KEPT])
    assert set(REASONS) == set(NEEDED_IF)


async def test_what_is_idle_is_taken_out_and_its_options_and_commands_stay(masters: Callable[..., Any]) -> None:
    master = masters()
    before, commands, options = names(master), set(master.commands.commands), set(master.options.keys())
    await lean(master)
    assert names(master) == [*(name for name in before if name in KEPT), "codexlean"]
    assert set(master.commands.commands) == commands and set(master.options.keys()) == options


@pytest.mark.parametrize("name", REASONS)
async def test_what_an_option_needs_stays_and_comes_back_to_its_place(
    name: str, masters: Callable[..., Any], tmp_path: Path
) -> None:
    needed = reason(name, tmp_path)
    master = masters(**needed)
    there = [kept for kept in names(master) if kept in KEPT or kept == name]
    await lean(master)
    assert names(master) == [*there, "codexlean"]
    master = masters()
    await lean(master)
    assert name not in names(master)
    master.options.update(**needed)
    assert names(master) == [*there, "codexlean"]


async def test_what_has_come_back_does_its_work(masters: Callable[..., Any]) -> None:
    master, flow = masters(), tflow.tflow()
    await lean(master)
    master.options.update(block_list=["/~all/418"])
    await master.addons.handle_lifecycle(HttpRequestHook(flow))
    assert flow.response and flow.response.status_code == 418


async def test_a_value_that_it_does_not_take_is_refused_as_ever(masters: Callable[..., Any]) -> None:
    master = masters()
    await lean(master)
    with pytest.raises(exceptions.OptionsError, match="block_list"):
        master.options.update(block_list=["nonsense"])
    assert master.options.block_list == []


async def test_all_of_it_comes_back_when_the_script_goes(masters: Callable[..., Any]) -> None:
    master = masters()
    before = names(master)
    addon = await lean(master)
    master.addons.remove(addon)
    assert names(master) == before


async def test_mitmweb_keeps_everything(masters: Callable[..., Any]) -> None:
    master = masters(WebMaster)
    before = names(master)
    await lean(master)
    assert names(master) == [*before, "codexlean"]
