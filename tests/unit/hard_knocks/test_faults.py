"""Faults of the machine: full disks, limits, no memory. A job says so; repaired, it goes on."""

import multiprocessing
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.records.files import atomic_path, write_jsonl, write_text
from snakesteer.records.logs import script_log
from snakesteer.records.tensors import write_tensors
from snakesteer.search.tables import collect
from tests.fake_search import check_finished, finished, make_inputs, read_trials, start
from tests.loaded_models import loaded_model

SMALL, LARGE = "32k", "64m"


class Disk:
    """A disk of its own, in memory.

    Attributes:
        folder: Where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._mount("-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs")

    def grow(self) -> None:
        """Make room."""
        self._mount("-o", f"remount,size={LARGE}")

    def _mount(self, *arguments: str) -> None:
        done = subprocess.run(["mount", *arguments, self.folder], capture_output=True, check=False)
        if done.returncode != 0:
            pytest.skip("no disk can be mounted here")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "small disk"
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", folder], capture_output=True, check=False)


def write_hdf5(path: Path) -> None:
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file["x"] = np.random.default_rng(0).random(100_000)


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: write_text(path, "x" * 100_000),
    "rows": lambda path: write_jsonl(path, [{"a": "x" * 100}] * 1000),
    "tensors": lambda path: write_tensors(path, {"a": np.ones(100_000, np.float32)}, {}),
    "HDF5": write_hdf5,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk(disk: Disk, capsys: pytest.CaptureFixture[str], name: str):
    """The log is on it too."""
    path, log = disk.folder / "file", disk.folder / "logs" / "rule.log"
    path.write_text("old")
    with pytest.raises(SystemExit) as ended, script_log(log):
        WRITERS[name](path)
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("error: The disk is full")
    assert "Make room" in said
    assert "Traceback" not in said
    assert path.read_text() == "old"
    assert sorted(file.name for file in disk.folder.iterdir()) == ["file", "logs"]
    disk.grow()
    with script_log(log):
        WRITERS[name](path)
    assert path.stat().st_size >= 100_000


def test_a_search_on_a_full_disk_goes_on_where_it_stopped(disk: Disk, tmp_path: Path):
    n_trials = 60
    inputs = make_inputs(tmp_path, n_trials=n_trials)
    journal = disk.folder / "study" / "journal.log"
    process = start(inputs, journal, pause=0.0)
    process.join(60)
    assert process.exitcode == 1
    kept = finished(journal)
    assert 1 < len(kept) < n_trials
    assert not (journal.parent / "worker_0.json").exists()
    disk.grow()
    process = start(inputs, journal, pause=0.0)
    process.join(60)
    assert process.exitcode == 0
    after = finished(journal)
    assert {number: after[number] for number in kept} == kept
    check_finished(read_trials(journal), n_trials)


def test_the_studys_tables_on_a_full_disk(
    disk: Disk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    inputs = make_inputs(tmp_path, n_trials=12)
    journal = tmp_path / "study" / "journal.log"
    process = start(inputs, journal, pause=0.0)
    process.join(60)
    worker = str(journal.parent / "worker_0.json")
    db, trials = disk.folder / "study.db", disk.folder / "trials.csv"
    with pytest.raises(SystemExit), script_log(tmp_path / "rule.log"):
        collect(journal, [worker], 12, db, trials)
    assert "The disk is full" in capsys.readouterr().err
    assert not db.exists()
    disk.grow()
    collect(journal, [worker], 12, db, trials)
    assert db.exists()


@pytest.mark.parametrize("seconds", [0, 4_102_444_800])
def test_a_journal_from_another_time(tmp_path: Path, seconds: int):
    """1970 and 2100, as where a clock was set: what counts is in the file, not beside it."""
    inputs = make_inputs(tmp_path, n_trials=6)
    journal = tmp_path / "study" / "journal.log"
    for n_trials in (6, 9):
        inputs = make_inputs(tmp_path, n_trials=n_trials)
        process = start(inputs, journal, pause=0.0)
        process.join(60)
        assert process.exitcode == 0
        for path in (journal, tmp_path / "val.jsonl"):
            os.utime(path, (seconds, seconds))
    check_finished(read_trials(journal), 9)


def limited(job: Callable[[], object], kind: int, limit: Callable[[], int], log: Path) -> int:
    """Run a job in a process with a limit, as `ulimit` sets it; the exit status."""

    def work() -> None:
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (limit(), hard))
        with script_log(log):
            job()

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(120)
    return process.exitcode


def used_memory() -> int:
    """Bytes of address space that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_a_real_limit_on_memory(tmp_path: Path):
    out, log = tmp_path / "out", tmp_path / "rule.log"
    # Single tensors of over 32 MiB: glibc never takes those from what earlier tests have freed.
    requests = [Request((5,) * 200, 2)] * 2048

    def job() -> None:
        engine = ReferenceEngine(loaded_model("llama"), Decoding(), len(requests))
        answers = engine.generate(requests)
        write_jsonl(out, [{"text": answer.text} for answer in answers])

    loaded_model("llama")
    megabytes_50 = 50 * 2**20
    assert limited(job, resource.RLIMIT_AS, lambda: used_memory() + megabytes_50, log) == 1
    assert "Out of memory" in (said := log.read_text(encoding="utf-8"))
    assert "engine.batch_size" in said
    assert not out.exists()
    assert limited(job, resource.RLIMIT_AS, lambda: resource.RLIM_INFINITY, log) == 0
    assert out.exists()


def test_a_real_limit_on_file_sizes(tmp_path: Path):
    out, log = tmp_path / "out", tmp_path / "rule.log"

    def job() -> None:
        write_text(out, "x" * 100_000)

    assert limited(job, resource.RLIMIT_FSIZE, lambda: 50_000, log) == 1
    assert "limit on files" in log.read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rule.log", "rule.traceback"]
    assert limited(job, resource.RLIMIT_FSIZE, lambda: resource.RLIM_INFINITY, log) == 0
    assert out.exists()
