"""Result files that are damaged, or something else than their names say."""

import fcntl
import pickle
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import optuna
import pytest
import torch
from safetensors.torch import save_file

from snakesteer.config import DataConfig
from snakesteer.data.problem import read_problems, write_problems
from snakesteer.data.sources import load_official
from snakesteer.evaluation.answers import read_answers, write_answers
from snakesteer.records.files import read_json, write_json
from snakesteer.records.tensors import read_tensors, write_tensors
from snakesteer.search.database import read_db
from snakesteer.vectors.activations import read_activations
from snakesteer.vectors.pairs import gold_vs_corrupted, read_pairs, write_pairs
from tests.unit.hard_knocks.harm import Harm, Job, Payload, check_knock, truncated, written
from tests.unit.search.fakes import answers_of


# The file, a good one, and how it is read.
def _arrays(folder: Path) -> None:
    with h5py.File(folder / "file", "w") as file:
        file["id"] = [b"a"]
        for name in ("positive", "negative", "residual_norm", "residual_mean", "tokens"):
            file[name] = np.ones((1, 2), np.float32)


def _database(folder: Path) -> None:
    optuna.create_study(storage=f"sqlite:///{folder / 'file'}", study_name="snakesteer")


def _other_database(folder: Path) -> None:
    (folder / "file").unlink()
    connection = sqlite3.connect(folder / "file")
    connection.execute("create table t (x)")
    connection.close()


def _other_hdf5(folder: Path) -> None:
    with h5py.File(folder / "file", "w") as file:
        file["x"] = 1


_held: list[Any] = []  # locks, as another process would hold them


@pytest.fixture(autouse=True)
def _released() -> Iterator[None]:
    yield
    for one in _held:
        one.close()
    _held.clear()


def _locked_hdf5(folder: Path) -> None:
    _held.append((folder / "file").open())
    fcntl.flock(_held[-1], fcntl.LOCK_EX)


def _locked_database(folder: Path) -> None:
    _held.append(sqlite3.connect(folder / "file"))
    _held[-1].execute("begin exclusive")


def _as_folder(folder: Path) -> None:
    (folder / "file").unlink()
    (folder / "file").mkdir()


GOOD: dict[str, tuple[Job, Job]] = {
    "HDF5": (_arrays, lambda folder: read_activations(folder / "file")),
    "tensors": (
        lambda folder: write_tensors(folder / "file", {"raw": np.ones(3, np.float32)}, {"a": 1}),
        lambda folder: read_tensors(folder / "file", "raw"),
    ),
    "JSON": (
        lambda folder: write_json(folder / "file", {"a": 1}),
        lambda folder: read_json(folder / "file")["a"],
    ),
    "split": (
        lambda folder: write_problems(folder / "file", load_official(DataConfig(), "test")[:4]),
        lambda folder: read_problems(folder / "file"),
    ),
    "pairs": (
        lambda folder: write_pairs(
            folder / "file", gold_vs_corrupted(load_official(DataConfig(), "train")[:4], seed=0)
        ),
        lambda folder: read_pairs(folder / "file"),
    ),
    "answers": (
        lambda folder: write_answers(folder / "file", answers_of([1, 0])),
        lambda folder: read_answers(folder / "file"),
    ),
    "study": (_database, lambda folder: read_db(folder / "file")),
}
ANEW = ("snakemake again",)
LOCKED = ("is locked", "Keep the file", "Close what else has it open")
BAD_FILES: dict[str, tuple[str, Harm, tuple[str, ...]]] = {
    "HDF5, truncated": ("HDF5", truncated("file"), ("not a readable activation file", *ANEW)),
    "HDF5, text": ("HDF5", written("file", "hello"), ("not a readable activation file", *ANEW)),
    "HDF5, locked by another process": ("HDF5", _locked_hdf5, LOCKED),
    "HDF5, gone": ("HDF5", lambda folder: (folder / "file").unlink(), ("does not exist", *ANEW)),
    "HDF5, a folder": ("HDF5", _as_folder, ("not a readable activation file",)),
    "HDF5, something else": ("HDF5", _other_hdf5, ("not a readable activation file", *ANEW)),
    "tensors, truncated": ("tensors", truncated("file"), ("not a readable file of raw", *ANEW)),
    "tensors, pickled code": (
        "tensors",
        lambda folder: (folder / "file").write_bytes(pickle.dumps(Payload(folder / "ran"))),
        ("not a readable file of raw", *ANEW),
    ),
    "tensors, not finite": (
        "tensors",
        lambda folder: write_tensors(folder / "file", {"raw": np.full(3, np.nan)}, {}),
        ("holds numbers in raw that are not finite", *ANEW),
    ),
    "tensors, without header": (
        "tensors",
        lambda folder: save_file({"raw": torch.ones(3)}, folder / "file"),
        ("not a readable file of raw", *ANEW),
    ),
    "JSON, truncated": ("JSON", truncated("file"), ("is not a JSON file", *ANEW)),
    "JSON, brackets without end": ("JSON", written("file", "[" * 10**5), ("is not a JSON file",)),
    "JSON, Latin-1": (
        "JSON",
        lambda folder: (folder / "file").write_bytes(b'"\xfc"'),
        ("is not a JSON file", *ANEW),
    ),
    "JSON, a list": ("JSON", written("file", "[1]"), ("holds no JSON object", *ANEW)),
    "JSON, without a key": ("JSON", written("file", '{"b": 1}'), ("file lacks 'a'", *ANEW)),
    "split, half a row": ("split", truncated("file", 0.9), ("line 4: not JSON",)),
    "split, none": ("split", written("file", "\n"), ("holds no problem", *ANEW)),
    "split, other fields": ("split", written("file", '{"id": "x"}'), ("row 1", *ANEW)),
    "split, one problem twice": (
        "split",
        lambda folder: (folder / "file").write_text((folder / "file").read_text() * 2),
        ("embedded-test-00000 is there more than once", *ANEW),
    ),
    "pairs, other fields": (
        "pairs",
        written("file", '{"id": "x", "question": "?"}\n'),
        ("line 1: not a contrast pair", "Delete the file"),
    ),
    "answers, none": ("answers", written("file", ""), ("holds no answer", *ANEW)),
    "answers, other fields": (
        "answers",
        written("file", '{"id": "x"}\n'),
        ("is not a file of graded answers", *ANEW),
    ),
    "study, text": ("study", written("file", "hello" * 999), ("not a readable study", "journal")),
    "study, truncated": ("study", truncated("file"), ("not a readable study", "journal")),
    "study, locked by another process": ("study", _locked_database, LOCKED),
    "study, another database": ("study", _other_database, ("not a readable study", "journal")),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str):
    kind, harm, said = BAD_FILES[name]
    write, read = GOOD[kind]
    folder = tmp_path / "results ü"
    folder.mkdir()
    write(folder)

    def job(folder: Path) -> None:
        read(folder)
        write_json(folder / "out", {})

    message = check_knock(folder, job, harm, said, capsys)
    assert said != LOCKED or "elete" not in message
    assert not (folder / "ran").exists()
