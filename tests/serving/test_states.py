"""Where events are kept: the same promises by SQLite and by Redis."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hpgr.core.errors import ConfigError, DataError
from hpgr.serving.events import Event, Mark, StateError
from hpgr.serving.redis_states import RedisStates
from hpgr.serving.sqlite_states import SqliteStates
from hpgr.serving.states import open_states

DAY = 86_400_000


def event(user: str, time_ms: int, event_id: str = "", item: int | str = 1) -> Event:
    return Event(user=user, item=item, time_ms=time_ms, event_id=event_id)


@pytest.fixture(params=["sqlite", "redis"])
def states(request, tmp_path):
    if request.param == "sqlite":
        made = open_states(f"sqlite:{tmp_path / 'state.sqlite'}")
    else:
        server = request.getfixturevalue("redis_server")
        made = open_states(server.url)
        made._redis.flushall()
    yield made
    made.close()


def kept(states, user):
    return [(row.item, row.time_ms) for row in states.read([(user, None)])[0].rows]


def test_an_event_told_twice_is_kept_once(states):
    told = [event("a", 10, "x"), event("a", 11, "x"), event("b", 10, "x"), event("a", 12), event("a", 12)]
    assert [p.status for p in states.append(told, DAY)] == [
        "accepted",
        "duplicate",
        "accepted",
        "accepted",
        "duplicate",
    ]
    assert [p.status for p in states.append(told[:1], DAY)] == ["duplicate"]
    assert kept(states, "a") == [(1, 10), (1, 12)]
    assert kept(states, "b") == [(1, 10)]


def test_an_item_by_number_or_by_text_is_one_event(states):
    told = [event("a", 10, item=7), event("a", 10, item="7"), event("a", 10, item="07")]
    assert [p.status for p in states.append(told, DAY)] == ["accepted", "duplicate", "accepted"]


def test_late_events_are_kept_inside_the_window_only(states):
    told = [
        event("a", 5 * DAY),
        event("a", 4 * DAY),
        event("a", 4 * DAY - 1),
        event("a", 6 * DAY),
        event("a", 5 * DAY - 1),
    ]
    assert [p.status for p in states.append(told, DAY)] == ["accepted", "accepted", "too_late", "accepted", "too_late"]


def test_a_mark_reads_on_and_a_forgotten_user_begins_anew(states):
    states.append([event("a", 10), event("a", 11)], DAY)
    log = states.read([("a", None)])[0]
    states.append([event("a", 12)], DAY)
    newer = states.read([("a", log.mark)])[0]
    assert not newer.whole
    assert [row.time_ms for row in newer.rows] == [12]
    assert newer.mark == Mark(log.mark.epoch, 3)
    assert states.forget("a") == 3
    assert states.read([("a", newer.mark)])[0].rows == []
    states.append([event("a", 20), event("a", 21), event("a", 22), event("a", 23)], DAY)
    again = states.read([("a", newer.mark)])[0]
    assert again.whole
    assert [row.time_ms for row in again.rows] == [20, 21, 22, 23]


def test_ids_keep_their_type_and_any_text(states):
    told = [event("ü\x00{}'\"", 10, "é", item="ж\n"), event("ü\x00{}'\"", 11, item=2**62)]
    states.append(told, DAY)
    assert kept(states, "ü\x00{}'\"") == [("ж\n", 10), (2**62, 11)]


def test_many_writers_lose_nothing(states):
    def tell(writer: int) -> int:
        outcomes = [
            states.append([event("a", 1000 + i, f"{writer}-{i}"), event("a", i, "same")], DAY) for i in range(20)
        ]
        return sum(p.status == "accepted" for placed in outcomes for p in placed)

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(tell, range(4))) == 4 * 20 + 1
    log = states.read([("a", None)])[0]
    assert sorted(row.seq for row in log.rows) == list(range(1, 82))


def test_states_of_other_ids_are_refused_and_another_bundle_is_told(states):
    assert states.claim("one", "integer") is None
    states.append([event("a", 1)], DAY)
    assert states.claim("two", "integer") == "one"
    with pytest.raises(
        DataError,
        match=r"must be of items whose ids are strings, as the bundle's are, and holds integers; give another",
    ):
        states.claim("three", "string")


def test_words_that_are_no_state_are_refused():
    with pytest.raises(ConfigError, match=r"state \(postgres:x\) must be sqlite:PATH or redis://HOST:PORT/DB"):
        open_states("postgres:x")
    with pytest.raises(DataError, match="must be a Redis that answers"):
        RedisStates("redis://127.0.0.1:1/0")


def test_a_file_of_another_kind_or_version_is_refused(tmp_path):
    (tmp_path / "text").write_text("no database" * 100)
    with pytest.raises(DataError, match="must be a file that hpgr serve wrote"):
        SqliteStates(tmp_path / "text")
    with sqlite3.connect(tmp_path / "new") as connection:
        connection.execute("CREATE TABLE other (x)")
    with pytest.raises(DataError, match="has schema 0 and this hpgr reads 1; give another path"):
        SqliteStates(tmp_path / "new")


def test_a_file_belongs_to_one_store_at_a_time(tmp_path):
    path = tmp_path / "state"
    (tmp_path / "link").symlink_to(path)
    states = SqliteStates(path)
    for name in (path, tmp_path / "link"):
        with pytest.raises(
            DataError,
            match=r"must belong to one process, and another has it; stop that one, or give redis://HOST:PORT/DB",
        ):
            SqliteStates(name)
    states.close()
    states.close()
    SqliteStates(path).close()
    with pytest.raises(DataError, match=r"must be a file in a folder that can be written to \(No such file"):
        SqliteStates(tmp_path / "nowhere" / "state")


def test_a_file_that_is_refused_is_let_go(tmp_path):
    (tmp_path / "state").write_text("no database" * 100)
    with pytest.raises(DataError, match="must be a file that hpgr serve wrote") as kept_alive:
        SqliteStates(tmp_path / "state")
    (tmp_path / "state").unlink()
    SqliteStates(tmp_path / "state").close()
    assert kept_alive.value is not None


def test_a_user_is_forgotten_whole_or_not_at_all(tmp_path):
    states = SqliteStates(tmp_path / "state")
    states.append([event("a", 1), event("a", 2)], DAY)
    states._writer.execute("CREATE TEMP TRIGGER no BEFORE DELETE ON users BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(StateError, match=r"could not be written \(no\)"):
        states.forget("a")
    assert len(kept(states, "a")) == 2
    states._writer.execute("DROP TRIGGER no")
    assert states.forget("a") == 2
    states.close()


def test_a_damaged_row_is_left_out_and_no_other_user_is_touched(tmp_path):
    states = SqliteStates(tmp_path / "state")
    states.append([event("a", 10), event("a", 11), event("a", 12), event("a", 13), event("b", 10)], DAY)
    states._writer.execute("UPDATE events SET item = 999 WHERE user = 'a' AND seq = 2")
    states._writer.execute("UPDATE events SET time_ms = x'ff00' WHERE user = 'a' AND seq = 3")
    damaged, sound = states.read([("a", None), ("b", None)])
    assert ([row.seq for row in damaged.rows], damaged.damaged) == ([1, 4], 2)
    assert (len(sound.rows), sound.damaged) == (1, 0)
    assert [p.status for p in states.append([event("a", 14)], DAY)] == ["accepted"]
    states.close()


def test_a_damaged_redis_row_is_left_out(redis_server):
    states = RedisStates(redis_server.url)
    states._redis.flushall()
    states.append([event("a", 10), event("a", 11)], DAY)
    states._redis.lset("hpgr:1:{a}:log", 0, "[1, 2")
    log = states.read([("a", None)])[0]
    assert ([row.time_ms for row in log.rows], log.damaged) == ([11], 1)
    states.close()


def test_a_forgotten_user_is_on_no_page_of_the_disk(tmp_path):
    states = SqliteStates(tmp_path / "state")
    secret = "nobody-may-find-me-again"
    states.append([event(secret, i, f"event-{secret}", item=f"item-{secret}-{i}") for i in range(300)], DAY)
    states.append([event("b", i) for i in range(300)], DAY)
    assert any(secret.encode() in path.read_bytes() for path in tmp_path.iterdir())
    states.forget(secret)
    assert not any(secret.encode() in path.read_bytes() for path in tmp_path.iterdir())
    assert len(kept(states, "b")) == 300
    states.close()
    assert not any(secret.encode() in path.read_bytes() for path in tmp_path.iterdir())


def test_a_full_disk_refuses_and_keeps_what_was_acknowledged(tmp_path):
    states = SqliteStates(tmp_path / "state")
    states.append([event("a", 1)], DAY)
    pages = states._writer.execute("PRAGMA page_count").fetchone()[0]
    states._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(
        StateError, match=r"could not be written \(database or disk is full\); nothing was acknowledged"
    ):
        states.append([event("a", i, item="x" * 200) for i in range(2, 500)], DAY)
    assert kept(states, "a") == [(1, 1)]
    states._writer.execute("PRAGMA max_page_count = 100000")
    assert [p.status for p in states.append([event("a", 2)], DAY)] == ["accepted"]
    states.close()


_WRITER = """
import sys
from hpgr.serving.events import Event
from hpgr.serving.sqlite_states import SqliteStates
states, i = SqliteStates(sys.argv[1]), 0
while True:
    states.append([Event(user=str(i % 3), item=i, time_ms=i, event_id=str(i)), Event(user="x", item=i, time_ms=i)], 10**15)
    print(i, flush=True)
    i += 1
"""


def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path):
    for round_ in range(2):
        path = tmp_path / f"state-{round_}"
        words = [sys.executable, "-c", _WRITER, str(path)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as writer:
            killer = threading.Timer(20, writer.kill)
            killer.start()
            told = [int(writer.stdout.readline()) for _ in range(40 + 17 * round_)]
            writer.send_signal(signal.SIGKILL)
            told += [int(line) for line in writer.stdout.read().splitlines()[:-1]]
            killer.cancel()
        states = SqliteStates(path)
        logs = states.read([(user, None) for user in ("0", "1", "2", "x")])
        assert all(log.damaged == 0 for log in logs)
        assert set(told) <= {row.item for log in logs[:3] for row in log.rows}
        assert set(told) <= {row.item for row in logs[3].rows}
        states.close()


def test_redis_goes_on_after_a_restart(redis_server):
    states = RedisStates(redis_server.url)
    states._redis.flushall()
    states.append([event("a", 1)], DAY)
    redis_server.stop()
    with pytest.raises(StateError, match="could not be written"):
        states.append([event("a", 2)], DAY)
    redis_server.start()
    assert [p.status for p in states.append([event("a", 3)], DAY)] == ["accepted"]
    assert kept(states, "a") == [(1, 1), (1, 3)]
    states.close()


def test_users_are_found_by_how_their_ids_begin(states):
    users = ["a", "ab", "abc", "b", "a*", "a?x", "[a]", "\\a", "ä", "ab\u4e2d", "A"]
    states.append([event(user, 1000) for user in users], DAY)
    for beginning in ("", "a", "ab", "a*", "a?", "[", "\\", "ä", "A", "none"):
        assert sorted(states.find(beginning, 20)) == sorted(user for user in users if user.startswith(beginning))
    assert len(states.find("a", 2)) == 2
    states.forget("abc")
    assert "abc" not in states.find("ab", 20)
