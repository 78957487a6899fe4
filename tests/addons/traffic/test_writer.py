"""The recorder while the disk does as it should, and while it does not. test_full_disk.py has the disks that are full."""

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from addons.traffic import queries
from addons.traffic.exchange import Bodies, Body
from addons.traffic.recorded import load
from addons.traffic.schema import MIGRATIONS, open_to_read, open_to_write
from addons.traffic.writer import FAULT, OVERRUN, Recorder
from tests.addons.traffic.calls import NOON, WAIT, call, record, with_bodies
from tests.auth.program import wait_until

type Start = Callable[..., Recorder]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "traffic.db"


@pytest.fixture
def start(path: Path) -> Iterator[Start]:
    started: list[Recorder] = []

    def start(**how: Any) -> Recorder:
        settings: dict[str, Any] = {"clock": lambda: NOON, "retry_every": 0.05}
        started.append(Recorder(path, **(settings | how)))
        started[-1].start()
        return started[-1]

    yield start
    for recorder in started:
        recorder.close(WAIT)


def ids(path: Path) -> list[str]:
    with closing(open_to_read(path)) as db:
        return [call.id for call in queries.latest(db, 100_000)]


def gaps(path: Path) -> list[tuple[int, str]]:
    with closing(open_to_read(path)) as db:
        return [(gap.calls, gap.why) for gap in queries.gaps(db, 0)]


def in_trouble(recorder: Recorder, why: str) -> None:
    wait_until(lambda: recorder.health().trouble != "")
    assert why in recorder.health().trouble


def test_what_is_put_is_there_with_its_bodies(path: Path, start: Start) -> None:
    recorder = start()
    assert recorder.put(with_bodies(1)) and recorder.put(call(2))
    assert recorder.flush(WAIT)
    with closing(open_to_read(path)) as db:
        assert load(db, call(1).id).bodies == with_bodies(1).bodies
        assert load(db, "last").bodies == Bodies()
    assert recorder.health() == (0, 0, "")


def test_nothing_is_made_before_the_first_call(path: Path, start: Start) -> None:
    recorder = start()
    recorder.close(WAIT)
    assert not path.exists()


def test_what_still_waits_at_the_end_is_written(path: Path, start: Start) -> None:
    recorder = start()
    for number in range(1500):
        recorder.put(call(number))
    recorder.close(WAIT)
    assert os.listdir(path.parent) == ["traffic.db"], "nothing is left beside it"
    assert len(ids(path)) == 1500


def test_after_the_end_nothing_is_taken(start: Start) -> None:
    recorder = start()
    recorder.close(WAIT)
    assert not recorder.put(call())


def test_one_that_was_never_started_can_be_closed(path: Path) -> None:
    Recorder(path).close()


def test_several_threads_put_at_once(path: Path, start: Start) -> None:
    recorder = start()
    threads = [threading.Thread(target=lambda n=n: [recorder.put(call(n * 1000 + i)) for i in range(100)]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert recorder.flush(WAIT)
    assert len(set(ids(path))) == 800


def test_an_exchange_that_nobody_can_understand_costs_itself_and_is_told(
    path: Path, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = start()
    for exchange in (call(1), call(2, edits=None), call(3, account=None, model_used=None)):
        assert recorder.put(exchange)
    assert recorder.flush(WAIT)
    assert ids(path) == [call(1).id, call(3).id] and gaps(path) == [(1, FAULT)]
    assert "a call could not be recorded" in caplog.text
    assert recorder.health().not_recorded == 1


def test_a_batch_that_the_database_does_not_take_holds_nothing_up(
    path: Path, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    record(path, call(1))
    with closing(sqlite3.connect(path)) as other:  # as a fault of ours would look like
        other.execute("CREATE TRIGGER no BEFORE INSERT ON calls WHEN NEW.id LIKE '%00000002%' BEGIN SELECT raise(ABORT, 'no'); END")
    recorder = start()
    recorder.put(call(2))
    assert recorder.flush(WAIT) and recorder.put(call(3)) and recorder.flush(WAIT)
    recorder.close(WAIT)
    assert ids(path) == [call(1).id, call(3).id] and gaps(path) == [(1, FAULT)]
    assert "1 calls could not be recorded" in caplog.text


def test_two_recorders_write_into_one_file(path: Path, start: Start) -> None:
    first, second = start(), start()
    for number in range(200):
        assert (first if number % 2 else second).put(call(number))
    assert first.flush(WAIT) and second.flush(WAIT)
    assert len(set(ids(path))) == 200


def test_readers_and_the_writer_do_not_wait_for_each_other(path: Path, start: Start) -> None:
    recorder = start()
    recorder.put(call(0))
    recorder.flush(WAIT)
    seen, done = [], threading.Event()

    def read() -> None:
        with closing(open_to_read(path)) as db:
            while not done.is_set():
                seen.append(len(queries.latest(db, 10_000)))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 600):
        assert recorder.put(call(number))
    assert recorder.flush(WAIT)
    wait_until(lambda: bool(seen) and seen[-1] == 600)
    done.set()
    reader.join()
    assert seen == sorted(seen) and recorder.health() == (0, 0, "")


# -- trouble


def test_while_it_is_locked_calls_wait_and_what_does_not_fit_is_counted(
    path: Path, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    record(path, call(0))
    recorder = start(queue_calls=3)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert recorder.put(call(1))
        in_trouble(recorder, "another program held the database")
        assert [recorder.put(call(n)) for n in range(2, 6)] == [True, True, False, False]
        other.execute("ROLLBACK")
    assert recorder.flush(WAIT)
    recorder.close(WAIT)
    assert ids(path) == [call(n).id for n in range(4)]
    assert gaps(path) == [(2, "another program held the database")]
    assert caplog.text.count("cannot be recorded") == 1 and "calls are recorded again" in caplog.text
    assert "2 were not, since the start" in caplog.text


def test_what_the_queue_holds_is_bounded_in_bytes_too(path: Path) -> None:
    recorder = Recorder(path, queue_bytes=1_000_000, clock=lambda: NOON)  # not started: nobody takes anything out
    large = Bodies(client_request=Body.whole(bytes(400_000)))
    assert [recorder.put(call(n, bodies=large)) for n in range(4)] == [True, True, False, False]
    recorder.start()
    assert recorder.flush(WAIT)
    assert recorder.put(call(9, bodies=large)), "there is room again"
    recorder.close(WAIT)
    assert gaps(path) == [(2, OVERRUN)] and len(ids(path)) == 3


def test_one_body_of_more_than_a_batch_is_taken_all_the_same(path: Path, start: Start) -> None:
    recorder = start()
    assert recorder.put(call(1, bodies=Bodies(client_request=Body.whole(bytes(20 << 20)))))
    assert recorder.flush(WAIT)
    assert ids(path) == [call(1).id]


def test_a_place_where_no_database_can_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    recorder = Recorder(tmp_path / "file" / "traffic.db", retry_every=0.05)
    recorder.start()
    recorder.put(call())
    in_trouble(recorder, "not a directory")
    (tmp_path / "file").unlink()
    assert recorder.flush(WAIT), "as soon as there can be one, there is"
    recorder.close(WAIT)
    assert caplog.text.count("cannot be recorded") == 1


def test_the_file_is_removed_while_it_is_open(path: Path, start: Start) -> None:
    recorder = start()
    recorder.put(call(1))
    recorder.flush(WAIT)
    for file in list(path.parent.iterdir()):
        file.unlink()
    recorder.put(call(2))
    assert recorder.flush(WAIT)
    assert ids(path) == [call(2).id]


def test_the_whole_folder_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "traffic.db"
    recorder = Recorder(path, retry_every=0.05)
    recorder.start()
    recorder.put(call(1))
    recorder.flush(WAIT)
    for file in list(path.parent.iterdir()):
        file.unlink()
    path.parent.rmdir()
    recorder.put(call(2))
    assert recorder.flush(WAIT)
    recorder.close(WAIT)
    assert ids(path) == [call(2).id]


def test_a_database_from_the_future_is_left_alone_until_it_is_moved_away(
    path: Path, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    open_to_write(path, [*MIGRATIONS, "CREATE TABLE more (a)"]).close()
    recorder = start()
    recorder.put(call())
    in_trouble(recorder, "it has version 2 and this codex-mitm knows 1")
    path.rename(path.with_name("newer.db"))
    assert recorder.flush(WAIT)
    assert "use the codex-mitm that wrote it" in caplog.text  # by now; it is in trouble a moment before it says so
    assert ids(path) == [call().id]


def test_what_is_no_database_is_not_overwritten(path: Path, start: Start) -> None:
    path.write_text("Dear diary," * 500)
    recorder = start()
    recorder.put(call())
    in_trouble(recorder, "file is not a database")
    assert path.read_text() == "Dear diary," * 500


def test_the_end_does_not_wait_for_a_disk_that_does_not_answer(path: Path, start: Start, caplog: pytest.LogCaptureFixture) -> None:
    record(path, call(0))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        recorder = start()
        recorder.put(call(1))
        recorder.close(0.01)
        assert "1 calls were not recorded" in caplog.text
        with suppress(sqlite3.Error):
            other.execute("ROLLBACK")
