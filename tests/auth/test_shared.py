"""The connection that proxies share, with a real Redis; and the seal on what is put there."""

import asyncio
import base64
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from auth import sealing
from auth.errors import BadSetting, RedisAway, SaveFailed
from auth.sealing import BadSeal, new_key_file, read_key_file
from auth.shared import Shared
from tests.auth.minting import ROOT
from tests.needs import need_root
from tests.redisserver import RedisServer, redis_server

SECRET = b"rt_SENTINEL"


# -- the seal


def key_file(folder: Path, *keys: bytes) -> Path:
    path = folder / "keys"
    path.write_bytes(b"# of the deployment\n" + b"".join(base64.b64encode(key) + b"\n" for key in keys))
    path.chmod(0o600)
    return path


OLD, NEW = b"o" * 32, b"n" * 32


def test_what_was_sealed_opens_under_its_own_name_only(tmp_path: Path) -> None:
    seal = read_key_file(key_file(tmp_path, OLD))
    sealed = seal.seal("a", SECRET)
    assert seal.open("a", sealed) == SECRET
    assert SECRET not in sealed and seal.seal("a", SECRET) != sealed
    with pytest.raises(BadSeal, match="moved it there from elsewhere"):
        seal.open("b", sealed)


def test_who_has_the_same_file_derives_the_same_also_while_a_new_key_is_brought_in(tmp_path: Path) -> None:
    before, during, after = (read_key_file(key_file(tmp_path, *keys)).derive("a") for keys in ([OLD], [NEW, OLD], [NEW]))
    assert before == during != after and len(before) == 32 and OLD not in before
    assert before != read_key_file(key_file(tmp_path, OLD)).derive("b")


@pytest.mark.parametrize("at", [20, -1], ids=["ciphertext", "tag"])
def test_what_was_changed_does_not_open(tmp_path: Path, at: int) -> None:
    seal = read_key_file(key_file(tmp_path, OLD))
    sealed = bytearray(seal.seal("a", SECRET))
    sealed[at] ^= 1
    with pytest.raises(BadSeal, match="has changed it"):
        seal.open("a", bytes(sealed))


@pytest.mark.parametrize("length", [0, 1, 5, 17, 30])
def test_what_was_cut_does_not_open(tmp_path: Path, length: int) -> None:
    seal = read_key_file(key_file(tmp_path, OLD))
    with pytest.raises(BadSeal):
        seal.open("a", seal.seal("a", SECRET)[:length])


def test_a_key_is_changed_by_putting_another_before_it(tmp_path: Path) -> None:
    sealed_before = read_key_file(key_file(tmp_path, OLD)).seal("a", SECRET)
    both = read_key_file(key_file(tmp_path, NEW, OLD))
    sealed_after = both.seal("a", SECRET)
    assert both.open("a", sealed_before) == SECRET
    only_new = read_key_file(key_file(tmp_path, NEW))
    assert only_new.open("a", sealed_after) == SECRET
    with pytest.raises(BadSeal, match="a key that is not in the file of CODEX_MITM_REDIS_KEY_FILE"):
        only_new.open("a", sealed_before)


def test_a_new_key_is_private_and_takes_no_other_ones_place(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "key"
    new_key_file(path)
    content = path.read_bytes()
    assert read_key_file(path).seal("a", b"")
    if sys.platform != "win32":
        assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    with pytest.raises(SaveFailed, match="there is a file already"):
        new_key_file(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(b"", "holds no key", id="empty"),
        pytest.param(b"# no more\n", "holds no key", id="comment"),
        pytest.param(b"c2hvcnQ=\n", "32 bytes in base64", id="short"),
        pytest.param(b"SENTINEL %%\n", "32 bytes in base64", id="not-base64"),
    ],
)
def test_a_file_that_holds_no_key_is_named(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "keys").write_bytes(content)
    (tmp_path / "keys").chmod(0o600)
    with pytest.raises(BadSetting, match=why) as bad:
        read_key_file(tmp_path / "keys")
    assert str(tmp_path / "keys") in str(bad.value) and "SENTINEL" not in str(bad.value)


@pytest.mark.skipif(sys.platform == "win32", reason="modes")
def test_a_key_that_others_can_read_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = key_file(tmp_path, OLD)
    path.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        read_key_file(path)
    assert "can be read by others" in caplog.text


@pytest.mark.parametrize(("mode", "warns"), [(0o440, False), (0o444, True)])
def test_a_key_of_somebody_else_comes_by_its_group(
    mode: int, warns: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    need_root()
    path = key_file(tmp_path, OLD)
    path.chmod(mode)
    os.chown(path, os.geteuid() + 1, -1)
    read_key_file(path)
    assert ("can be read by others" in caplog.text) is warns


# -- the settings


def test_nothing_is_shared_unless_it_is_set() -> None:
    assert Shared.from_env({}) is None
    assert Shared.from_env({"CODEX_MITM_REDIS_URL": ""}) is None


def test_without_the_setting_redis_is_not_even_imported() -> None:
    code = "import sys, auth.__main__, auth.shared; auth.shared.Shared.from_env({}); print('redis' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


def test_without_the_package_it_is_said_what_to_install() -> None:
    code = (
        "import sys; sys.modules['redis'] = None; sys.modules['redis.asyncio'] = None\n"
        "from auth.shared import Shared\n"
        "try: Shared.from_env({'CODEX_MITM_REDIS_URL': 'redis://127.0.0.1:1'})\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("BadSetting CODEX_MITM_REDIS_URL") and "codex-mitm[replicas]" in ran.stdout


@pytest.mark.parametrize(
    "url", ["http://:SENTINEL@h", "redis://:SENTINEL@h:port/0", "SENTINEL", "redis://h?socket_timeout=SENTINEL"]
)
def test_a_url_that_cannot_be_used_is_not_repeated(url: str) -> None:
    with pytest.raises(BadSetting, match="CODEX_MITM_REDIS_URL cannot be used") as bad:
        Shared.from_env({"CODEX_MITM_REDIS_URL": url, "CODEX_MITM_REDIS_KEY_FILE": "x"})
    assert "SENTINEL" not in str(bad.value)


def test_the_key_is_needed_and_what_makes_one_is_said(tmp_path: Path) -> None:
    for more in ({}, {sealing.SETTING: str(tmp_path / "gone")}):
        with pytest.raises(BadSetting, match=r"python -m auth migrate --new-key FILE"):
            Shared.from_env({"CODEX_MITM_REDIS_URL": "redis://127.0.0.1:1", **more})


# -- the connection


async def test_commands_and_scripts_are_answered(shared: Shared) -> None:
    with shared.asking():
        await shared.redis.set(shared.key("a", "b"), b"\xff")
        assert await shared.redis.get("{codex-mitm}:a:b") == b"\xff"
        assert await shared.redis.eval("return redis.call('GET', KEYS[1])", 1, shared.key("a", "b")) == b"\xff"


async def test_a_restart_is_noticed_by_whoever_asks_meanwhile_only(server: RedisServer, shared: Shared) -> None:
    with shared.asking():
        await shared.redis.set(shared.key("kept"), 1)
    await asyncio.to_thread(server.restart)
    with shared.asking():
        assert await shared.redis.get(shared.key("kept")) == b"1"


async def test_a_redis_that_is_gone_is_away_and_is_not_asked_again_at_once(server: RedisServer, shared: Shared) -> None:
    server.kill()
    with pytest.raises(RedisAway, match=rf"^Redis at 127\.0\.0\.1:{server.port} is away \(ConnectionError\): try again in 2 s$"):
        with shared.asking():
            await shared.redis.get("a")
    server.start()
    asked = []
    with pytest.raises(RedisAway):
        with shared.asking():
            asked.append(True)
    assert not asked


async def test_a_password_is_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with redis_server(tmp_path / "redis", requirepass="right") as server:
        url = f"redis://:SENTINEL@127.0.0.1:{server.port}/3"
        shared = Shared.from_env(server.env | {"CODEX_MITM_REDIS_URL": url})
        assert shared and shared.where == f"Redis at 127.0.0.1:{server.port}, database 3"
        with pytest.raises(RedisAway, match="AuthenticationError") as away:
            with shared.asking():
                await shared.redis.get("a")
        await shared.aclose()
    assert "SENTINEL" not in f"{away.value} {caplog.text} {shared.redis!r}"
