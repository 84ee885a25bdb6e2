"""The ledger of test reads: what is counted, by several processes and after damage."""

import json
import multiprocessing
import threading
from dataclasses import asdict

import pytest
from filelock import FileLock

from snakesteer.records.ledger import Read, append_reads, count_reads, ledger_file, read_ledger

PROBLEMS = [("t-1", "1+1?", "2"), ("t-2", "1+2?", "3")]


def read(configuration, purpose="final"):
    return Read(configuration, "words", "2026-01-02T03:04:05+00:00", purpose, 8, 1, "results")


def counts(path):
    found = count_reads(path)
    final, controls = found["final"], found["controls"]
    return (*final.values(), *controls.values(), found["unreadable"])


def test_reads_and_configurations_are_counted(tmp_path):
    path = tmp_path / "new" / "ledger.jsonl"
    assert counts(path) == (0, 0, 0, 0, 0)
    first = append_reads(path, [read("a")])
    assert first == {
        "ledger": path.as_posix(),
        "final": {"reads": 1, "configurations": 1},
        "controls": {"reads": 0, "configurations": 0},
        "unreadable": 0,
    }
    append_reads(path, [read(name, "controls") for name in "xyz"])
    append_reads(path, [read("a")])  # the same again
    append_reads(path, [read("b")])
    assert append_reads(path, [read("x", "controls")]) == count_reads(path)
    assert counts(path) == (3, 2, 4, 3, 0)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0]) == asdict(read("a"))
    assert read_ledger(path)[0][0] == read("a")


def test_a_split_is_known_by_its_problems_in_order(tmp_path):
    path = ledger_file(tmp_path, PROBLEMS)
    assert path.parent == tmp_path
    assert len(path.stem) == 64
    assert ledger_file(tmp_path, iter(PROBLEMS)) == path
    others = [PROBLEMS[::-1], PROBLEMS[:1], [*PROBLEMS, PROBLEMS[0]]]
    others += [[PROBLEMS[0], change] for change in (("t-3", "1+2?", "3"), ("t-2", "1+2?", "4"))]
    others += [[PROBLEMS[0], ("t-2", "2+1?", "3")]]
    assert len({path, *(ledger_file(tmp_path, other) for other in others)}) == 7


@pytest.mark.parametrize("damage", [b'{"configuration": "c", "descr', b"\xff\xfe", b"[1]", b"{}"])
def test_half_a_line_is_kept_and_told(tmp_path, caplog, damage):
    path = tmp_path / "ledger.jsonl"
    append_reads(path, [read("a")])
    whole = path.read_bytes()
    path.write_bytes(whole + damage)
    assert counts(path) == (1, 1, 0, 0, 1)
    assert f"{path}, line 2 is no read of the test split" in caplog.text
    append_reads(path, [read("b")])
    assert path.read_bytes().startswith(whole + damage + b"\n")
    assert counts(path) == (2, 2, 0, 0, 1)


def test_a_whole_line_whose_end_is_missing_counts(tmp_path):
    path = tmp_path / "ledger.jsonl"
    append_reads(path, [read("a")])
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert counts(path) == (1, 1, 0, 0, 0)
    append_reads(path, [read("b")])
    assert counts(path) == (2, 2, 0, 0, 0)


def test_an_unknown_purpose_is_not_taken_for_a_known_one(tmp_path):
    path = tmp_path / "ledger.jsonl"
    append_reads(path, [read("a", "curiosity")])
    assert counts(path) == (0, 0, 0, 0, 1)


def _append(path, name, times, barrier, seen):
    barrier.wait()
    for _ in range(times):
        counted = append_reads(path, [read(name), read(name, "controls")])
        seen.put(counted["final"]["reads"])


def test_processes_do_not_lose_each_others_reads(tmp_path):
    path, workers, times = tmp_path / "ledger.jsonl", 4, 25
    spawn = multiprocessing.get_context("spawn")
    barrier, seen = spawn.Barrier(workers), spawn.Queue()
    processes = [
        spawn.Process(target=_append, args=(path, f"c{number}", times, barrier, seen))
        for number in range(workers)
    ]
    for process in processes:
        process.start()
    # Nobody counted between another one's line and its count.
    assert sorted(seen.get(timeout=120) for _ in range(100)) == [*range(1, 101)]
    for process in processes:
        process.join()
    assert counts(path) == (100, 4, 100, 4, 0)


def test_a_read_waits_for_another_one(tmp_path):
    path = tmp_path / "ledger.jsonl"
    with FileLock(f"{path}.lock"):
        waiting = threading.Thread(target=append_reads, args=(path, [read("a")]))
        waiting.start()
        waiting.join(timeout=0.5)
        assert waiting.is_alive()
        assert not path.exists()
    waiting.join()
    assert counts(path) == (1, 1, 0, 0, 0)
