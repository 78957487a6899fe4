import asyncio
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from auth.errors import AccountFileError, NotSignedIn, SaveFailed, TryAgainLater
from auth.sidecar import Memory
from auth.store import AccountFile, find_accounts, own_account
from tests.auth.minting import ROOT, chatgpt_fields, document

posix = pytest.mark.skipif(sys.platform == "win32", reason="flock and modes")
as_user = pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read and write anything")


@contextmanager
def locks_held_elsewhere(account: AccountFile) -> Iterator["subprocess.Popen[str]"]:
    """A process that holds the CLI's locks until it is killed."""
    command = [sys.executable, "-m", "tests.auth.actors", "hold", str(account.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield holder
        finally:
            holder.kill()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_what_was_saved_is_read(account: AccountFile) -> None:
    saved = document(chatgpt_fields(more=1))
    async with account.locked(1):
        stamp = await account.save(saved)
    assert await account.read() == saved
    assert account.stamp() == stamp


async def test_nobody_is_signed_in(account: AccountFile) -> None:
    assert account.stamp() is None
    with pytest.raises(NotSignedIn) as none:
        await account.read()
    assert str(account.path) in str(none.value)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(b"", "it is not JSON", id="empty"),
        pytest.param(b'{"tokens": {"access_tok', "it is not JSON", id="half"),
        pytest.param(b"{}", "it holds no tokens.access_token", id="no-token"),
        pytest.param(b"[1" + b" " * (1 << 20) + b"]", "it is larger than 1048576 bytes", id="large"),
    ],
)
async def test_a_file_that_cannot_be_used_is_named(account: AccountFile, content: bytes, why: str) -> None:
    account.path.write_bytes(content)
    with pytest.raises(AccountFileError) as unusable:
        await account.read()
    assert (unusable.value.path, unusable.value.why) == (account.path, why)


async def test_a_folder_in_place_of_the_file(account: AccountFile) -> None:
    account.path.mkdir()
    with pytest.raises(AccountFileError):
        await account.read()


@as_user
async def test_a_file_that_may_not_be_read(account: AccountFile) -> None:
    account.path.write_text("{}")
    account.path.chmod(0)
    with pytest.raises(AccountFileError, match="permission denied"):
        await account.read()


async def test_a_file_that_is_being_written_in_place_is_read_when_it_is_whole(account: AccountFile) -> None:
    whole = json.dumps(chatgpt_fields())
    account.path.write_text(whole[:40])
    reading = asyncio.get_running_loop().create_task(account.read(), name="reading")
    await asyncio.sleep(0.06)
    account.path.write_text(whole)
    assert (await reading).kind == "chatgpt"


# -- locks


@posix
async def test_the_locks_are_those_of_the_cli(account: AccountFile) -> None:
    async with account.locked(1):
        folder = account.path.parent
        assert sorted(os.listdir(folder)) == ["auth.json.lock", "auth.lock"]
        assert (mode(folder / "auth.lock"), mode(folder / "auth.json.lock")) == (0o644, 0o600)


@posix
async def test_while_the_cli_holds_its_locks_nothing_blocks_and_patience_ends(account: AccountFile) -> None:
    with locks_held_elsewhere(account):
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.get_running_loop().create_task(tick(), name="ticking")
        with pytest.raises(TryAgainLater, match=r"another process holds .*auth\.lock"):
            async with account.locked(0.3):
                pass
        ticking.cancel()
    assert ticks > 10


@posix
async def test_a_holder_that_is_killed_leaves_no_lock_behind(account: AccountFile) -> None:
    with locks_held_elsewhere(account) as holder:
        holder.kill()
        holder.wait()
        async with account.locked(1):
            pass


async def test_one_at_a_time_in_one_process_too(account: AccountFile) -> None:
    inside: list[str] = []

    async def enter(name: str) -> None:
        async with AccountFile(account.path).locked(5):
            inside.append(name)
            await asyncio.sleep(0.05)
            inside.append(name)

    await asyncio.gather(enter("a"), enter("b"), enter("c"))
    assert inside[0::2] == inside[1::2]


@posix
async def test_a_lock_file_that_was_deleted_keeps_nobody_out(account: AccountFile) -> None:
    with locks_held_elsewhere(account) as holder:
        entering = asyncio.get_running_loop().create_task(enter(account), name="enter")
        await asyncio.sleep(0.1)
        account.path.with_name("auth.lock").unlink()
        account.path.with_name("auth.json.lock").unlink()
        await entering  # it locks the new files, as whoever comes next will
        assert holder.poll() is None


async def enter(account: AccountFile) -> None:
    async with account.locked(5):
        pass


async def test_the_lock_is_free_after_a_failure(account: AccountFile) -> None:
    with pytest.raises(ZeroDivisionError):
        async with account.locked(1):
            raise ZeroDivisionError
    async with account.locked(0):
        pass


async def test_what_killed_processes_left_behind_is_swept_under_the_lock(account: AccountFile) -> None:
    left = account.path.with_name(".auth-Ab12Cd")
    left.touch()
    os.utime(left, (0, 0))
    async with account.locked(1):
        assert not left.exists()


async def test_files_with_other_names_have_locks_and_sidecars_of_their_own(tmp_path: Path) -> None:
    home, work = AccountFile(tmp_path / "home.json"), AccountFile(tmp_path / "work.json")
    async with home.locked(0), work.locked(0):
        await home.remember(Memory(last_error="home"))
        await work.remember(Memory(last_error="work"))
    assert ((await home.recall()).last_error, (await work.recall()).last_error) == ("home", "work")
    assert (home.name, work.name) == ("home", "work")


# -- sidecar


@posix
async def test_the_sidecar_is_a_private_page(account: AccountFile) -> None:
    assert await account.remember(Memory(last_error="x"))
    sidecar = account.path.with_name("codex-mitm.json")
    assert (mode(sidecar), sidecar.stat().st_size) == (0o600, 4096)
    assert await account.recall() == Memory(last_error="x")


async def test_a_sidecar_that_is_no_file_is_an_empty_memory(account: AccountFile) -> None:
    account.path.with_name("codex-mitm.json").mkdir()
    assert not await account.remember(Memory(last_error="x"))
    assert await account.recall() == Memory()


# -- writing that fails


async def test_a_folder_that_is_gone(account: AccountFile) -> None:
    account.path.parent.rmdir()
    assert await account.probe_writable() == "no such file or directory"
    with pytest.raises(SaveFailed, match="no such file or directory"):
        await account.save(document(chatgpt_fields()))


async def test_a_folder_that_can_be_written(account: AccountFile) -> None:
    assert await account.probe_writable() is None
    assert os.listdir(account.path.parent) == []


# -- finding accounts


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    return path


def found(configured: list[str | Path], env: dict[str, str]) -> list[tuple[str, str]]:
    return [(account.name, account.where) for account in find_accounts(configured, env)]


def test_nobody_has_signed_in_anywhere(home: Path) -> None:
    assert found([], {"HOME": str(home)}) == []


def test_the_file_of_the_cli_is_used_in_place(home: Path) -> None:
    path = put(home / ".codex/auth.json")
    assert found([], {"HOME": str(home)}) == [("codex-cli", str(path))]


def test_codex_home_is_where_the_cli_looks(home: Path) -> None:
    put(home / ".codex/auth.json")
    path = put(home / "elsewhere/auth.json")
    env = {"HOME": str(home), "CODEX_HOME": str(home / "elsewhere")}
    assert found([], env) == [("codex-cli", str(path))]


def test_own_accounts_come_before_the_file_of_the_cli_and_default_before_the_others(home: Path) -> None:
    put(home / ".codex/auth.json")
    paths = {name: str(put(home / f".codex-mitm/accounts/{name}/auth.json")) for name in ("work", "default", "alice")}
    assert found([], {"HOME": str(home)}) == [(name, paths[name]) for name in ("default", "alice", "work")]


def test_the_own_folder_can_be_elsewhere(home: Path) -> None:
    put(home / ".codex-mitm/accounts/default/auth.json")
    path = put(home / "data/accounts/work/auth.json")
    assert found([], {"HOME": str(home), "CODEX_MITM_HOME": str(home / "data")}) == [("work", str(path))]


def test_configured_files_and_folders_in_their_order(home: Path) -> None:
    one = put(home / "one/auth.json")
    two = put(home / "secrets/two.json")
    three = put(home / "many/b/auth.json")
    four = put(home / "many/a/auth.json")
    cli = put(home / ".codex/auth.json")
    configured: list[str | Path] = [home / "one", two, str(home / "many"), "~/.codex"]
    assert found(configured, {"HOME": str(home)}) == [
        ("one", str(one)),
        ("two", str(two)),
        ("a", str(four)),
        ("b", str(three)),
        ("codex-cli", str(cli)),
    ]


def test_names_are_made_unique(home: Path) -> None:
    paths = [put(home / f"{n}/team/auth.json") for n in (1, 2, 3)]
    assert [name for name, _ in found(list(paths), {})] == ["team", "team-2", "team-3"]


def test_no_account_steps_in_for_a_configured_one_that_is_missing(home: Path) -> None:
    put(home / ".codex/auth.json")
    with pytest.raises(AccountFileError, match="it does not exist"):
        find_accounts([home / "gone"], {"HOME": str(home)})


def test_a_configured_folder_without_accounts_has_none(home: Path) -> None:
    put(home / ".codex/auth.json")
    (home / "empty").mkdir()
    assert found([home / "empty"], {"HOME": str(home)}) == []


@posix
def test_the_folder_of_an_own_account_is_made_private(home: Path) -> None:
    account = own_account("work", {"HOME": str(home)})
    assert account.name == "work"
    assert [mode(folder) for folder in account.path.parents[:3]] == [0o700, 0o700, 0o700]
