import os
import sqlite3
import stat
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from addons.traffic import queries
from addons.traffic.errors import BadDatabase, NewerSchema, NoDatabase, NotOurs
from addons.traffic.place import default_place
from addons.traffic.schema import MIGRATIONS, open_to_read, open_to_write
from tests.addons.traffic.calls import call, record

type Opening = Callable[..., sqlite3.Connection]

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs modes")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "folders" / "traffic.db"


@posix
def test_nobody_else_can_read_it_whatever_the_umask_says(path: Path) -> None:
    before = os.umask(0)
    try:
        with closing(open_to_write(path)) as db:
            db.execute("INSERT INTO gaps VALUES (1, 2, 3, 'why')")
            modes = {
                file.name: stat.S_IMODE(file.stat().st_mode) for file in [*path.parent.iterdir(), path.parent, path.parent.parent]
            }
    finally:
        os.umask(before)
    files = dict.fromkeys(["traffic.db", "traffic.db-wal", "traffic.db-shm"], 0o600)
    assert modes == files | {"folders": 0o700, "new": 0o700}


@posix
def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    path = record(tmp_path / "traffic.db", call())
    path.chmod(0o644)
    record(path, call(2))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["with blank.db", "what?.db", "50%.db", "#1.db", "a%3fb.db"])
def test_a_name_that_means_something_in_a_uri(tmp_path: Path, name: str) -> None:
    record(tmp_path / name, call())
    assert [file.name for file in tmp_path.iterdir()] == [name]
    with closing(open_to_read(tmp_path / name)) as db:
        assert len(queries.latest(db, 9)) == 1


def test_there_is_none(path: Path) -> None:
    with pytest.raises(NoDatabase, match="nothing is recorded yet"):
        open_to_read(path)
    assert not path.parent.exists()


def test_an_empty_file_is_none_yet(tmp_path: Path) -> None:
    (tmp_path / "traffic.db").touch()
    with pytest.raises(NoDatabase):
        open_to_read(tmp_path / "traffic.db")
    record(tmp_path / "traffic.db", call())


@pytest.mark.parametrize("opening", [open_to_read, open_to_write])
def test_one_from_the_future_is_refused_and_stays_as_it_is(tmp_path: Path, opening: Opening) -> None:
    path = tmp_path / "traffic.db"
    open_to_write(path, [*MIGRATIONS, "CREATE TABLE hover_boards (a)"]).close()
    before = path.read_bytes()
    with pytest.raises(NewerSchema, match=f"it has version {len(MIGRATIONS) + 1} and this codex-mitm knows {len(MIGRATIONS)}"):
        opening(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("opening", [open_to_read, open_to_write])
def test_another_programs_database_is_refused(tmp_path: Path, opening: Opening) -> None:
    path = tmp_path / "cookies.sqlite"
    with closing(sqlite3.connect(path)) as theirs:
        theirs.execute("CREATE TABLE cookies (a)")
    before = path.read_bytes()
    with pytest.raises(NotOurs):
        opening(path)
    assert path.read_bytes() == before


def test_what_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "traffic.db").write_text("Dear diary," * 500)
    with pytest.raises(BadDatabase, match="file is not a database"):
        open_to_read(tmp_path / "traffic.db")


@pytest.mark.parametrize("opening", [open_to_read, open_to_write])
def test_an_old_one_is_brought_up_to_date_and_keeps_what_is_in_it(tmp_path: Path, opening: Opening) -> None:
    path = record(tmp_path / "traffic.db", call())
    newer = [*MIGRATIONS, "ALTER TABLE calls ADD COLUMN mood TEXT NOT NULL DEFAULT 'fine'; CREATE INDEX moods ON calls (mood)"]
    with closing(opening(path, newer)) as db:
        assert [tuple(row) for row in db.execute("SELECT id, mood FROM calls")] == [(call().id, "fine")]
        assert db.execute("PRAGMA user_version").fetchone()[0] == len(newer)


def test_a_step_that_fails_leaves_the_version_before_it(tmp_path: Path) -> None:
    path = record(tmp_path / "traffic.db", call())
    with pytest.raises(sqlite3.OperationalError):
        open_to_write(path, [*MIGRATIONS, "CREATE TABLE half (a); CREATE TABLE calls (a)"])
    with closing(open_to_read(path)) as db:
        assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'half'").fetchone()[0] == 0


def test_several_proxies_begin_at_the_same_moment(tmp_path: Path) -> None:
    ready, problems = threading.Barrier(6), []

    def begin() -> None:
        ready.wait()
        for _ in range(20):  # a proxy tries again as well
            try:
                return open_to_write(tmp_path / "traffic.db").close()
            except sqlite3.OperationalError as e:
                last = e
        problems.append(last)

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    open_to_read(tmp_path / "traffic.db").close()


@pytest.mark.parametrize(
    ("env", "place"),
    [
        ({"HOME": "/home/ada"}, "/home/ada/.codex-mitm/traffic.db"),
        ({"HOME": "/home/ada", "CODEX_MITM_HOME": "/data"}, "/data/traffic.db"),
        ({"HOME": "/home/ada", "CODEX_MITM_HOME": ""}, "/home/ada/.codex-mitm/traffic.db"),
        ({"USERPROFILE": "/users/ada"}, "/users/ada/.codex-mitm/traffic.db"),
    ],
)
def test_where_it_is(env: dict[str, str], place: str) -> None:
    assert default_place(env).as_posix() == place
