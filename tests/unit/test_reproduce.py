"""Comparing two runs: what is told, and what is refused."""

from pathlib import Path

import pytest
import torch

from snakesteer import reproduce as module
from snakesteer.errors import UserError
from snakesteer.records.files import write_json
from snakesteer.records.machine import machine
from snakesteer.records.versions import git_state, versions
from snakesteer.reproduce import changed_surroundings, changes, read_record, reproduce, table


@pytest.fixture
def record():
    """A record of this code on this machine."""
    return {
        "config": {"results": "results/", "search": {"n_trials": 3}},
        "git": git_state(Path(module.__file__).parents[1]),
        "versions": versions(),
        "machine": machine(torch.device("cpu")),
        "model": {"name": "embedded"},
        "run": {"device": "cpu", "device_name": "a CPU", "dtype": "float32", "threads": 4},
        "content_sha256": {"splits/val.jsonl": "a" * 64, "test_final.json": "b" * 64},
    }


@pytest.fixture
def runs(monkeypatch):
    """Stand in for the workflow: it writes a record."""
    made = []

    def instead(written):
        def run(config, target, **options):
            made.append((config, options))
            write_json(target, {**written, "config": config.model_dump(mode="json")})

        monkeypatch.setattr(module, "run_workflow", run)
        return made

    return instead


def told_by(tmp_path, monkeypatch, record, **options):
    monkeypatch.chdir(tmp_path)
    write_json("record.json", record)
    given = {"into": None, "cores": None, "anyway": False} | options
    return reproduce("record.json", **given)


def test_the_same_again(record, runs, tmp_path, monkeypatch, capsys):
    [] = made = runs(record)
    assert told_by(tmp_path, monkeypatch, record, cores=2)
    [(config, options)] = made
    assert config.results == "results-reproduced"
    assert config.search.n_trials == 3
    assert options == {"cores": 2, "gpus": 0}  # a run on the CPU stays there
    assert "The results are the same." in capsys.readouterr().out


def test_another_content_and_another_dtype(record, runs, tmp_path, monkeypatch, capsys):
    content = record["content_sha256"] | {"test_final.json": "c" * 64}
    runs(record | {"content_sha256": content, "run": record["run"] | {"dtype": "bfloat16"}})
    assert not told_by(tmp_path, monkeypatch, record, into="other")
    said = capsys.readouterr().out
    assert "test_final.json   bbbbbbbb cccccccc  DIFFERENT" in said
    assert "dtype: float32 then, bfloat16 now" in said


def test_other_threads_are_told_and_other_cores_are_let_pass(
    record, runs, tmp_path, monkeypatch, capsys
):
    runs(record | {"run": record["run"] | {"threads": 2}})
    more = record["machine"] | {"cores": record["machine"]["cores"] + 1}
    assert told_by(tmp_path, monkeypatch, record | {"machine": more})
    assert "Not as it was:\n  threads: 4 then, 2 now" in capsys.readouterr().out


def test_surroundings_are_compared_before_anything_runs(
    record, runs, tmp_path, monkeypatch, capsys
):
    assert changed_surroundings(record) == []
    made = runs(record)
    record["versions"] = record["versions"] | {"torch": "1.0"}
    record["git"] = record["git"] | {"diff_sha256": "d"}
    with pytest.raises(UserError, match=r"torch: 1\.0 then") as refused:
        told_by(tmp_path, monkeypatch, record)
    assert "local changes: d then" in refused.value.problem
    assert made == []
    assert told_by(tmp_path, monkeypatch, record, anyway=True)
    assert "torch: 1.0 then" in capsys.readouterr().out


def test_a_gpu_is_compared_by_name_driver_and_cuda(record, monkeypatch):
    gpu = {"name": "A", "driver": "1", "cuda": "12", "memory_bytes": 1}
    record["run"] = {"device": "cuda", "device_name": "A"}
    record["machine"] = {"gpu": gpu}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no CUDA device here"):
        changed_surroundings(record)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    here = {"gpu": gpu | {"name": "B", "memory_bytes": 2}}
    monkeypatch.setattr(module, "machine", lambda device: here)
    assert [str(change) for change in changed_surroundings(record)] == ["gpu name: A then, B now"]


def test_missing_things_are_changes():
    assert changes({"a": 1, "b": 2}, {"b": 2}) == changes({"a": 1}, {})
    assert str(changes({}, {"a": 1})[0]) == "a: none then, 1 now"


def test_the_table_is_short_where_all_is_the_same():
    then = {"vectors/a": "1" * 64, "vectors/b": "2" * 64, "z.json": "3" * 64}
    assert [line.split() for line in table(then, then).splitlines()] == [
        ["vectors/", "2", "files", "same"],
        ["z.json", "33333333", "same"],
    ]
    now = {"vectors/a": "1" * 64, "vectors/b": "4" * 64}
    assert [line.split() for line in table(then, now).splitlines()] == [
        ["vectors/a", "11111111", "same"],
        ["vectors/b", "22222222", "44444444", "DIFFERENT"],
        ["z.json", "33333333", "none", "DIFFERENT"],
    ]


@pytest.mark.parametrize("content", [[], {}, {"config": {}}])
def test_what_is_no_record(tmp_path, content):
    write_json(tmp_path / "a.json", content)
    with pytest.raises(UserError, match="not the record"):
        read_record(tmp_path / "a.json")


def test_a_finished_folder_is_not_taken(record, runs, tmp_path, monkeypatch):
    runs(record)
    write_json(tmp_path / "here" / "provenance.json", record)
    with pytest.raises(UserError, match="here holds a finished run"):
        told_by(tmp_path, monkeypatch, record, into="here")
