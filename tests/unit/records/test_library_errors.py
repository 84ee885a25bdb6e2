"""What libraries raise becomes a paragraph; what our own code raises stays a bug."""

import errno
import fcntl
import json
import sqlite3

import h5py
import httpx2
import numpy as np
import optuna
import pytest
import sqlalchemy.exc
import torch
from huggingface_hub import errors as hub
from safetensors import SafetensorError

from snakesteer.errors import UserError
from snakesteer.records import library_causes
from snakesteer.records.library_causes import ANYWHERE, Cause, Stage
from snakesteer.records.library_errors import anywhere, raised_by, told, what_it_says
from snakesteer.records.logs import script_log

STAGES = {name: one for name, one in vars(library_causes).items() if isinstance(one, Stage)}


def raised(code, module="snakesteer.engine.step", **names):
    """What a line raises in a module of that name."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        exec(compile(code, f"{module}.py", "exec"), {"__name__": module, **names})
    return caught.value


def said(stage, error):
    """What a stage makes of an exception: a `UserError`, or the exception itself."""
    with (
        pytest.raises(type(error) if stage is None else Exception) as caught,
        told(STAGES[stage], "The thing", "is broken"),
    ):
        raise error
    return caught.value


def response(status):
    return httpx2.Response(status, request=httpx2.Request("GET", "https://huggingface.co/a/b"))


class TestWhoRaisedIt:
    def test_a_shape_bug_in_a_line_of_ours_is_ours(self):
        error = raised("torch.ones(2) @ torch.ones(3)", torch=torch)
        assert isinstance(error, RuntimeError)
        assert raised_by(error) is None

    def test_the_same_inside_a_library(self):
        layer = torch.nn.Linear(2, 2)
        error = raised("layer(torch.ones(3))", layer=layer, torch=torch)
        assert raised_by(error) == "torch"

    def test_the_standard_library_is_no_library_of_its_own(self):
        assert raised_by(raised("json.loads('{')", json=json)) is None
        assert raised_by(raised("json.loads('{')", "transformers.hub", json=json)) == "transformers"

    def test_compiled_code_shows_by_its_class(self, tmp_path):
        path = tmp_path / "x.safetensors"
        path.write_bytes(b"x" * 20)
        error = raised(
            f"safe_open({str(path)!r}, 'numpy')", safe_open=__import__("safetensors").safe_open
        )
        assert isinstance(error, SafetensorError)
        assert raised_by(error).startswith("safetensors")

    def test_hdf5(self, tmp_path):
        with h5py.File(tmp_path / "x.h5", "w") as file:
            assert raised_by(raised("file['none']", file=file)) == "h5py"

    def test_in_words(self):
        error = raised("raise ValueError('no\\n such  thing ' + 'x' * 999)", "transformers.a")
        assert what_it_says(error).startswith("in transformers: ValueError: no such thing")
        assert len(what_it_says(error)) < 500
        assert what_it_says(raised("raise KeyError")) == "KeyError"


class TestStages:
    @pytest.mark.parametrize("stage", sorted({"MODEL", "TOKENIZER", "DATA", "DATABASE"}))
    @pytest.mark.parametrize(
        "code", ["{}['weight']", "None.shape", "[][3]", "1 / 0", "torch.ones(2) @ torch.ones(3)"]
    )
    def test_a_bug_of_ours_stays_what_it_is(self, stage, code):
        error = raised(code, torch=torch)
        assert said(stage, error) is error

    @pytest.mark.parametrize("stage", STAGES)
    def test_what_a_library_raises_does_not(self, stage):
        for code in ("{}['weight']", "None.shape", "1 / 0", "raise Exception('bad')"):
            error = raised(code, "some_library.files")
            found = said(stage, error)
            assert isinstance(found, UserError)
            assert found.problem.startswith("The thing is broken (")
            assert found.remedy == STAGES[stage].remedy
            assert found.__cause__ is error
            assert ("in some_library: " in found.problem) != STAGES[stage].private

    @pytest.mark.parametrize("stage", ["RESULT", "USER_FILE", "STUDY", "JOURNAL"])
    def test_foreign_content_in_a_file(self, stage):
        for code in ("{}['header']", "int('x')", "[][0]"):
            assert isinstance(said(stage, raised(code)), UserError)
        for code in ("1 / 0", "assert 0 if stage else 0"):
            if stage != "JOURNAL":  # Optuna's own asserts are read there
                assert not isinstance(said(stage, raised(code, stage=stage)), UserError)

    def test_a_user_error_goes_on_as_it_is(self):
        error = UserError("This is wrong", "Mend it.")
        assert said("MODEL", error) is error

    def test_the_stop_of_a_run_goes_on(self):
        with pytest.raises(KeyboardInterrupt), told(STAGES["MODEL"], "The thing", "is broken"):
            raise KeyboardInterrupt


# What a library says → stage, words of the paragraph.
HUB = [
    (hub.GatedRepoError("403 Client Error", response=response(403)), "gated", "hf auth login"),
    (hub.RepositoryNotFoundError("401", response=response(401)), "no folder", "HF_TOKEN"),
    (hub.RevisionNotFoundError("404", response=response(404)), "no such revision", "revision"),
    (hub.HFValidationError("Repo id must be in the form"), "no folder", "model.name"),
    (hub.OfflineModeIsEnabled("offline mode is enabled"), "cannot be reached", "HF_HOME"),
    (hub.LocalEntryNotFoundError("not in the cache"), "cannot be reached", "local folder"),
    (httpx2.ConnectError("[Errno -2] Name or service not known"), "cannot be reached", "network"),
    (PermissionError(13, "Permission denied", "/cache"), "does not permit", "HF_HOME"),
    (OSError(errno.EROFS, "Read-only file system"), "does not permit", "HF_HOME"),
]
MODELS = [
    (ImportError("BloomTokenizer requires the protobuf library"), "package", "pip"),
    (
        raised("raise ValueError('Please pass `trust_remote_code=True`')", "transformers.auto"),
        "code of its own",
        "model.trust_remote_code: true",
    ),
    (
        raised(
            "raise ValueError('type `x` but Transformers does not recognize this architecture.')",
            "transformers.auto",
        ),
        "does not know its architecture",
        "pip install --upgrade transformers",
    ),
]
WEIGHTS = [
    (SafetensorError("header too large"), "damaged or incomplete", "git lfs pull"),
    (OSError("x does not appear to have a file named model-2.safetensors"), "missing", "all parts"),
    (FileNotFoundError(2, "No such file", "model-2.safetensors"), "missing", "all parts"),
    (RuntimeError("size mismatch for lm_head"), "do not fit together", "one revision"),
    (raised("raise ValueError('no weight')", "transformers.x"), "is broken", "Check model.name"),
]
FILES = [
    (
        BlockingIOError(11, "Unable to synchronously open file (unable to lock file, errno = 11)"),
        "locked",
        "HDF5_USE_FILE_LOCKING=FALSE",
    ),
    (BlockingIOError(11, "Resource temporarily unavailable"), "locked", "Close what else"),
    (
        sqlalchemy.exc.OperationalError("", {}, sqlite3.OperationalError("database is locked")),
        "locked",
        "optuna-dashboard",
    ),
    (FileNotFoundError(2, "No such file"), "does not exist", "snakemake again"),
    (PermissionError(13, "Permission denied"), "does not permit", "ls -l"),
    (OSError(errno.EIO, "Input/output error"), "the disk, or the network", "wait"),
    (OSError("Unable to read (file read failed, errno = 5, 'Input/output error')"), "disk", "wait"),
    (OSError(errno.ESTALE, "Stale file handle"), "the disk, or the network", "wait"),
]
SAID = [
    *((stage, *row) for row in HUB for stage in ("MODEL", "TOKENIZER")),
    *((stage, *row) for row in MODELS for stage in ("MODEL", "TOKENIZER")),
    *(("MODEL", *row) for row in WEIGHTS),
    *((stage, *row) for row in FILES for stage in ("RESULT", "USER_FILE", "STUDY", "JOURNAL")),
    ("DATA", HUB[0][0], "gated", "hf auth login"),
    ("DATA", ConnectionError("Couldn't reach 'a/b' on the Hub"), "is broken", "data.folder"),
    (
        "DATA",
        raised("raise RuntimeError('Dataset scripts are no longer supported')", "datasets.load"),
        "made by a script",
        "refs/convert/parquet",
    ),
    ("DATABASE", ImportError("Failed to import DB access module"), "driver", "psycopg2-binary"),
]


@pytest.mark.parametrize(("stage", "error", "problem", "remedy"), SAID)
def test_cause_and_remedy(stage, error, problem, remedy):
    found = said(stage, error)
    assert isinstance(found, UserError)
    assert problem in found.problem
    assert type(error).__name__ in found.problem
    assert remedy in found.remedy


@pytest.mark.parametrize(("error", "_problem", "_remedy"), FILES)
def test_a_file_that_may_be_whole_is_never_to_be_deleted(error, _problem, _remedy):
    for stage in ("RESULT", "STUDY", "JOURNAL"):
        assert "elete" not in str(said(stage, error))


def test_words_of_a_database_may_hold_a_password():
    error = raised("raise ValueError('postgresql://ada:secret@db')", "sqlalchemy.engine")
    assert "secret" not in str(said("DATABASE", error))
    error = sqlalchemy.exc.OperationalError("", {}, Exception("database is locked: secret"))
    assert "secret" not in str(said("DATABASE", error))
    assert "locked" in str(said("DATABASE", error))


def test_what_it_was_raised_from_counts():
    error = optuna.exceptions.StorageInternalError("An exception is raised during the commit.")
    error.__cause__ = sqlite3.OperationalError("database is locked")
    assert "is locked" in str(said("STUDY", error))
    # An exception that only came before says nothing of this one.
    bug = raised("try:\n  raise MemoryError\nexcept MemoryError:\n  {}['x']")
    assert anywhere(bug) is None


ANY = [
    (MemoryError("9 GiB"), "Out of memory", "engine.slots"),
    (torch.OutOfMemoryError("CUDA out of memory."), "Out of memory", "engine.slots"),
    (RuntimeError("CUDA error: out of memory"), "Out of memory", "model.dtype"),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), "Out of memory", "model.dtype"),
    (OSError(errno.ENOSPC, "No space left on device"), "The disk is full", "Make room"),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), "quota", "Make room"),
    (SafetensorError("I/O error: No space left on device"), "The disk is full", "TMPDIR"),
    (
        sqlalchemy.exc.OperationalError("", {}, Exception("database or disk is full")),
        "The disk is full",
        "Make room",
    ),
    (OSError(errno.EROFS, "Read-only file system"), "only be read", "Set results"),
    (
        sqlalchemy.exc.OperationalError("", {}, Exception("attempt to write a readonly database")),
        "only be read",
        "Set results",
    ),
    (PermissionError(13, "Permission denied", "results/x"), "does not permit", "results/x"),
    (OSError("unable to lock file, errno = 37"), "is locked", "HDF5_USE_FILE_LOCKING"),
    (NotImplementedError("FileSystem does not appear to support flock"), "no locks", "Lustre"),
    (OSError(errno.ENOLCK, "No locks available"), "no locks", "local disk"),
    (OSError(errno.EMFILE, "Too many open files"), "more files", "ulimit -n"),
    (RuntimeError("can't start new thread"), "no more threads", "ulimit -u"),
    (
        RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable"),
        "is taken",
        "nvidia-smi",
    ),
    (
        RuntimeError("CUDA error: no kernel image is available for execution on the device"),
        "This build of torch",
        "model.device: cpu",
    ),
    (RuntimeError("CUDA error: uncorrectable ECC error"), "GPU or its driver", "nvidia-smi"),
    (
        NotImplementedError("'aten::x' is not currently implemented for the MPS device"),
        "lacks an operation",
        "PYTORCH_ENABLE_MPS_FALLBACK=1",
    ),
    (
        RuntimeError("Failed to find C compiler. Please specify via CC"),
        "no C compiler",
        "engine.compile: never",
    ),
    (
        sqlalchemy.exc.OperationalError("", {}, Exception("server closed the connection")),
        "does not answer",
        "finished trials are kept",
    ),
]


@pytest.mark.parametrize(("error", "problem", "remedy"), ANY)
def test_what_can_strike_anywhere(error, problem, remedy, tmp_path, capsys):
    error = raised("raise error", error=error)
    found = anywhere(error)
    assert problem in found.problem
    assert remedy in str(found)
    with pytest.raises(SystemExit), script_log(tmp_path / "rule.log"):
        raise error
    assert capsys.readouterr().err == f"error: {found}\n"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        KeyError("out of memory"),
        ValueError("the answer is: permission denied"),
        FileNotFoundError(2, "No such file"),
        ZeroDivisionError(),
    ],
)
def test_a_bug_keeps_its_traceback(error, tmp_path):
    error = raised("raise error", error=error)
    assert anywhere(error) is None
    with pytest.raises(type(error)), script_log(tmp_path / "rule.log"):
        raise error
    assert "Traceback" in (tmp_path / "rule.log").read_text()


def test_a_real_lock_of_hdf5(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.ones(3)
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="unable to lock file") as caught:
            h5py.File(path)
    assert "is locked" in str(said("RESULT", caught.value))


def test_every_cause_has_words_and_a_remedy():
    causes = {*ANYWHERE, library_causes.DATABASE_FAILS}
    causes.update(cause for stage in STAGES.values() for cause in stage.causes)
    for cause in causes:
        assert isinstance(cause, Cause)
        assert cause.what[0].isupper() or cause.what.startswith("torch")
        assert not cause.what.endswith(".")
        assert cause.remedy.endswith(".")
        assert cause.classes or cause.words or cause.numbers
        assert all(word == word.lower() for word in cause.words)
