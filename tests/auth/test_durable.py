import os
import stat
import sys
from pathlib import Path

import pytest

from auth import durable

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_replace_makes_a_file_and_returns_its_stamp(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    assert durable.stamp(path) is None
    assert durable.replace(path, b"one") == durable.stamp(path)
    assert path.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["auth.json"]


@posix
def test_replace_leaves_a_private_file_whatever_there_was(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    path.write_bytes(b"old")
    path.chmod(0o644)
    durable.replace(path, b"new")
    assert mode(path) == 0o600


def test_the_stamp_tells_equal_content_apart(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    assert durable.replace(path, b"one") != durable.replace(path, b"one")


def test_a_reader_that_has_the_old_file_open_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        durable.replace(path, b"new, and longer")
        assert reader.read() == b"old"


@posix
def test_a_symlink_stays_one(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "auth.json"
    real.mkdir()
    (real / "kept.json").write_bytes(b"old")
    link.symlink_to(real / "kept.json")
    durable.replace(link, b"new")
    assert link.is_symlink()
    assert (real / "kept.json").read_bytes() == b"new"


def test_replace_cleans_up_when_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    path.mkdir()
    with pytest.raises(OSError):
        durable.replace(path, b"new")
    assert os.listdir(tmp_path) == ["auth.json"]


@posix
@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("exists", [True, False], ids=["its-owner", "the-owner-of-its-folder"])
def test_root_leaves_the_file_to(tmp_path: Path, exists: bool) -> None:
    path = tmp_path / "auth.json"
    if exists:
        path.write_bytes(b"old")
    os.chown(path if exists else tmp_path, 12345, 12346)
    durable.replace(path, b"new")
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346)


def test_overwrite_keeps_the_inode(tmp_path: Path) -> None:
    path = tmp_path / "sidecar"
    durable.overwrite(path, b"one")
    inode = path.stat().st_ino
    durable.overwrite(path, b"two")
    assert (path.read_bytes(), path.stat().st_ino) == (b"two", inode)


def test_probe_leaves_nothing(tmp_path: Path) -> None:
    durable.probe(tmp_path / "auth.json")
    assert os.listdir(tmp_path) == []


def test_probe_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        durable.probe(tmp_path / "gone" / "auth.json")


@pytest.mark.parametrize(("age", "left"), [(0, True), (50, True), (70, False)])
def test_sweep_takes_what_is_older_than_a_minute(tmp_path: Path, age: float, left: bool) -> None:
    temp, other = tmp_path / ".auth-Ab12Cd", tmp_path / "auth.json"
    for path in (temp, other):
        path.touch()
        os.utime(path, (temp.stat().st_atime, temp.stat().st_mtime - age))
    durable.sweep(tmp_path)
    assert temp.exists() is left
    assert other.exists()


def test_a_read_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"x" * 100)
    assert len(durable.read_bounded(path, 10)) == 11


@posix
def test_new_folders_are_private_and_old_ones_stay_as_they_are(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    durable.make_private_folders(tmp_path / "a" / "b")
    assert [mode(p) for p in (tmp_path, tmp_path / "a", tmp_path / "a" / "b")] == [0o755, 0o700, 0o700]
