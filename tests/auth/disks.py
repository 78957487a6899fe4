"""Disks that do not take a token: python -m tests.auth.disks SCENARIO FOLDER ISSUER_URL, run by test_full_disk in a mount
namespace of its own.

Mounts a small disk on FOLDER with the auth.json that comes on stdin, does what the scenario says, prints what it saw as JSON.
"""

import asyncio
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

from auth.issuer import Issuer
from auth.outbound import Outbound
from auth.sidecar import Memory
from auth.source import TokenSource
from auth.store import AccountFile
from tests.smalldisk import SmallDisk


class Disk(SmallDisk):
    """Sixteen pages, of which an account takes three."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "64k")
        self.account = AccountFile(folder / "auth.json")
        self.account.path.write_bytes(sys.stdin.buffer.read())

    def report(self) -> dict[str, Any]:
        fields = json.loads(self.account.path.read_bytes())
        return {"refresh_token_on_disk": fields["tokens"]["refresh_token"], "files": sorted(p.name for p in self.folder.iterdir())}


async def attempt(source: TokenSource, disk: Disk) -> dict[str, Any]:
    bearer = (await source.get()).bearer
    status = source.status()
    remembered = (await disk.account.recall())._asdict()
    return {"bearer": bearer, "state": status.state, "problem": status.problem, "remembered": remembered, **disk.report()}


async def full(source: TokenSource, disk: Disk) -> list[dict[str, Any]]:
    await disk.account.remember(Memory())
    with disk.full():
        during = await attempt(source, disk)
        during["probe"] = await disk.account.probe_writable()
        during["nap"] = await source.refresh_ahead()
    await source.refresh_ahead()
    return [during, await attempt(source, disk)]


async def full_before_anything_was_remembered(source: TokenSource, disk: Disk) -> list[dict[str, Any]]:
    with disk.full():
        return [await attempt(source, disk)]


async def read_only(source: TokenSource, disk: Disk) -> list[dict[str, Any]]:
    with disk.read_only():
        during = await attempt(source, disk)
        during["probe"] = await disk.account.probe_writable()
    await source.refresh_ahead()
    return [during, await attempt(source, disk)]


async def touched_while_unsaved(source: TokenSource, disk: Disk) -> list[dict[str, Any]]:
    with disk.full():
        await attempt(source, disk)
    fields = json.loads(disk.account.path.read_bytes())
    disk.account.path.write_text(json.dumps({**fields, "note": "by an editor"}))
    during = await attempt(source, disk)
    await source.refresh_ahead()
    after = await attempt(source, disk)
    after["note"] = json.loads(disk.account.path.read_bytes())["note"]
    return [during, after]


async def signed_in_anew_while_unsaved(source: TokenSource, disk: Disk) -> list[dict[str, Any]]:
    before = disk.account.path.read_bytes()
    with disk.full():
        await attempt(source, disk)
    fields = json.loads(before)
    fields["tokens"]["refresh_token"] = "rt_of_a_new_sign_in"
    fields["last_refresh"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    disk.account.path.write_text(json.dumps(fields))
    return [await attempt(source, disk)]


async def main(scenario: str, folder: str, issuer_url: str) -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    disk = Disk(Path(folder))
    issuer = Issuer(issuer_url, Outbound(), "codex_mitm/test")
    source = TokenSource(AccountFile(disk.account.path), issuer)
    print(json.dumps(await globals()[scenario](source, disk)))
    await source.aclose()
    await issuer.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
