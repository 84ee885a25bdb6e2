"""How libraries fail, and what to do about it: the table of `snakesteer.records.library_errors`.

Classes go by their names, so that no library is imported to know them. Words are those of the
libraries' messages, in the versions that requirements.txt pins.
"""

import errno
import struct
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Cause:
    """A way to fail; any of the three signs tells it.

    Attributes:
        what: What has happened, as a sentence.
        remedy: What the user should do.
        classes: Names of exception classes, or of their bases.
        words: Parts of messages, in small letters.
        numbers: Of the system (`errno`).
        private: Whether the library's words are not repeated, because they advise the contrary.
    """

    what: str
    remedy: str
    classes: frozenset[str] = frozenset()
    words: tuple[str, ...] = ()
    numbers: frozenset[int] = frozenset()
    private: bool = False


@dataclass(frozen=True)
class Stage:
    """Where in a run libraries are called.

    Attributes:
        fails: What is said of the subject where the cause is known.
        causes: Those of this stage; the first that fits counts.
        remedy: For all else that a library raises.
        content: What lines of ours in such a block raise where a file holds something else.
        private: Whether a library's words may hold a password, so that they are not repeated.
    """

    fails: str
    causes: tuple[Cause, ...]
    remedy: str
    content: tuple[type[Exception], ...] = ()
    private: bool = False


# Causes that can strike anywhere.
NO_MEMORY = Cause(
    "Out of memory",
    "Use fewer engine.slots (or a smaller engine.batch_size for the reference engine), a smaller "
    "dtype (model.dtype: bfloat16) or a smaller model, or ask for more memory.",
    classes=frozenset({"MemoryError", "OutOfMemoryError"}),
    words=("out of memory", "can't allocate memory", "cannot allocate memory"),
    numbers=frozenset({errno.ENOMEM}),
)
DISK_FULL = Cause(
    "The disk is full, or a quota or limit on files is reached",
    "Make room (or set results to another disk; temporary files are in TMPDIR, downloads in "
    "HF_HOME) and run snakemake again; what is finished is kept.",
    words=("no space left on device", "disk is full", "disk quota exceeded", "file too large"),
    numbers=frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG}),
)
READ_ONLY = Cause(
    "The file system can only be read",
    "Set results to a folder on another disk, or have this one mounted for writing; TMPDIR and "
    "HF_HOME are written to as well.",
    words=("read-only file system", "readonly database"),
    numbers=frozenset({errno.EROFS}),
)
LOCKED = Cause(
    "It is locked: another program has it open, or its file system has no locks",
    "Keep the file: a lock says nothing against it. Close what else has it open (another run, a "
    "viewer, optuna-dashboard) and run snakemake again. On a network file system without locks set "
    "the environment variable HDF5_USE_FILE_LOCKING=FALSE, for HDF5; a database in SQLite belongs "
    "on a local disk.",
    words=("unable to lock file", "database is locked", "table is locked", "locking protocol"),
)
NO_LOCKS = Cause(
    "The file system has no locks, which keep two processes from writing the same file",
    "Set results (and TMPDIR) to a folder on a local disk, or on a network file system with locks "
    "(NFS version 4, Lustre mounted with flock).",
    words=("does not appear to support flock", "no locks available"),
    numbers=frozenset({errno.ENOLCK}),
)
NOT_PERMITTED = Cause(
    "The system does not permit it",
    "Let your user read and write there (ls -l shows who may), or name another folder.",
    words=("permission denied",),
    numbers=frozenset({errno.EACCES, errno.EPERM}),
)
DISK_FAILS = Cause(
    "The disk, or the network between it and this machine, fails",
    "What was read or written may still be whole: wait until the disk is back, and run snakemake "
    "again.",
    words=("input/output error", "stale file handle", "disk i/o error"),
    numbers=frozenset({errno.EIO, errno.ESTALE, errno.ENOTCONN}),
)
TOO_MANY_FILES = Cause(
    "This process may not open more files",
    "Raise the limit (`ulimit -n 4096`) and run snakemake again, or name fewer steering.layers.",
    words=("too many open files",),
    numbers=frozenset({errno.EMFILE, errno.ENFILE}),
)
NO_THREADS = Cause(
    "The system starts no more threads or processes",
    "Raise the limit (`ulimit -u`), or run fewer jobs (--cores) at the same time.",
    words=("can't start new thread", "unable to start thread"),
)
GPU_TAKEN = Cause(
    "The GPU is taken, or the driver does not give it out",
    "See `nvidia-smi`: end what else runs there, take another GPU (CUDA_VISIBLE_DEVICES), or set "
    "model.device: cpu.",
    words=("busy or unavailable", "cuda-capable device is detected", "device not ready"),
)
GPU_UNFIT = Cause(
    "This build of torch does not run on this GPU or its driver",
    "Install the torch build for them (pytorch.org/get-started), or set model.device: cpu.",
    words=("no kernel image is available", "driver version is insufficient", "driver on your sys"),
)
GPU_FAILS = Cause(
    "The GPU or its driver has failed",
    "See `nvidia-smi` and the machine's log for the device; start snakemake again, on another GPU "
    "if it comes again. What is finished is kept.",
    words=("uncorrectable ecc", "unspecified launch failure", "gpu is lost", "fallen off the bus"),
)
NO_MPS_KERNEL = Cause(
    "Apple's GPU lacks an operation of this model",
    "Set the environment variable PYTORCH_ENABLE_MPS_FALLBACK=1, or model.device: cpu.",
    words=("not currently implemented for the mps device",),
)
NO_COMPILER = Cause(
    "torch.compile finds no C compiler",
    "Install gcc, or set engine.compile: never.",
    words=("failed to find c compiler", "no working c++ compiler"),
    classes=frozenset({"InvalidCxxCompiler"}),
)
ANYWHERE = (
    NO_MEMORY,
    DISK_FULL,
    READ_ONLY,
    LOCKED,
    NO_LOCKS,
    NOT_PERMITTED,
    DISK_FAILS,
    TOO_MANY_FILES,
    NO_THREADS,
    GPU_TAKEN,
    GPU_UNFIT,
    GPU_FAILS,
    NO_MPS_KERNEL,
    NO_COMPILER,
)
# Where a study's database fails that was open already.
DATABASE_FAILS = Cause(
    "The database of the search does not answer, or refuses",
    "Check that its server runs and has room, then run snakemake again; finished trials are kept.",
    classes=frozenset({"OperationalError", "InterfaceError", "StorageInternalError"}),
)

# Causes of the hub, for models, tokenizers and data sets.
_LOG_IN = "log in with `hf auth login` or the environment variable HF_TOKEN"
HUB = (
    Cause(
        "It is gated: its owner lets in those who have asked",
        f"Ask for access on its page (huggingface.co), then {_LOG_IN}.",
        classes=frozenset({"GatedRepoError"}),
        words=("gated repo", "gated dataset"),
    ),
    Cause(
        "The hub cannot be reached, and the cache does not hold all of it",
        "Connect to the network, or fill the cache (HF_HOME) on a machine that has one; or name a "
        "local folder (model.name; data.source: folder with data.folder).",
        classes=frozenset(
            {"OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectionError", "ConnectError"}
            | {"TransportError", "RevisionResolutionError"}
        ),
        words=("couldn't connect", "couldn't reach", "offline mode", "specific connection error"),
    ),
    Cause(
        "The repository has no such revision",
        "Check model.revision (data.hub_revision): a commit, a tag or a branch of it.",
        classes=frozenset({"RevisionNotFoundError"}),
        words=("is not a valid git identifier",),
    ),
    Cause(
        "There is no folder of this name here, and no public repository on the hub",
        f"Check model.name (data.hub_id); for a private repository, {_LOG_IN}.",
        classes=frozenset({"RepositoryNotFoundError", "HFValidationError", "DatasetNotFoundError"}),
        words=("is not a valid model identifier", "repo id must"),
    ),
    Cause(
        "The system does not permit it",
        "Let your user read the folder and its files; for a hub id, set HF_HOME to a cache that "
        "you may write to.",
        words=("permission denied", "permissionerror at"),
        numbers=frozenset({errno.EACCES, errno.EPERM, errno.EROFS}),
    ),
)
_NEW_ENOUGH = "pip install --upgrade transformers"
_TOKENIZER_FILES = (
    "A model needs its own tokenizer files beside the weights: download them again. Those of "
    "other kinds than tokenizer.json need `pip install sentencepiece tiktoken protobuf`."
)
_OWN_CODE = Cause(
    "It comes with Python code of its own",
    "If you trust its author, set model.trust_remote_code: true; the code can do all that you can.",
    words=("trust_remote_code",),
)
_NO_PACKAGE = Cause(
    "It needs a package that is not installed",
    "Install what is named, with pip and into this environment.",
    classes=frozenset({"ImportError"}),
)
_UNKNOWN_KIND = Cause(
    "The installed transformers does not know its architecture",
    f"A newer one may ({_NEW_ENOUGH}). Check `model_type` in its config.json; a model with code of "
    "its own needs model.trust_remote_code: true.",
    words=("does not recognize this architecture",),
)

MODEL = Stage(
    "cannot be loaded",
    (
        *HUB,
        _OWN_CODE,
        _NO_PACKAGE,
        _UNKNOWN_KIND,
        Cause(
            "It is no causal language model",
            "Name a model that continues texts (decoder only), such as Llama, Qwen or GPT-2.",
            words=("unrecognized configuration class",),
        ),
        Cause(
            "A .bin file of weights holds more than numbers, and is not opened: it could run code",
            "Take a copy with safetensors.",
            words=("weights only load failed",),
            private=True,
        ),
        Cause(
            "A weight file is damaged or incomplete",
            "Download it again: a model needs complete weight files. One of a few hundred bytes is "
            "a pointer that `git lfs pull` replaces.",
            classes=frozenset({"SafetensorError"}),
            words=("pytorchstreamreader", "invalid magic number", "pickle data was truncated"),
        ),
        Cause(
            "Its config.json and its weights do not fit together",
            "Download both again, from one place and one revision.",
            words=("ignore_mismatched_sizes", "size mismatch"),
        ),
        Cause(
            "Files are missing",
            "Download it again: a local folder needs config.json, the tokenizer and complete "
            "weight files, all parts of them.",
            classes=frozenset({"FileNotFoundError"}),
            words=("no file named", "appear to have a file named", "appear to have files named"),
        ),
    ),
    "Check model.name and model.revision; a local folder needs config.json, the tokenizer and "
    "complete weight files; a model that is newer than the installed transformers needs "
    f"`{_NEW_ENOUGH}`.",
)
TOKENIZER = Stage(
    "cannot be loaded", (*HUB, _OWN_CODE, _NO_PACKAGE, _UNKNOWN_KIND), _TOKENIZER_FILES
)
DATA = Stage(
    "cannot be loaded",
    (
        Cause(
            "It is made by a script, which is not run",
            "Set data.hub_revision to the hub's own conversion, 'refs/convert/parquet' (or its "
            "commit, which is pinned), if the set has that branch; or name a copy of the set "
            "without a script; or download its files and set data.source: folder.",
            words=("dataset scripts are no longer supported",),
        ),
        Cause(
            "It has no part of that name",
            "Set data.train_part and data.test_part to parts that the set has. Where it has only "
            "one, name it in both: all splits are then drawn from it, and share no problem.",
            words=("should be one of", "available splits"),
        ),
        *HUB[:1],
        _NO_PACKAGE,
    ),
    "Check data.hub_id, data.hub_config, data.hub_revision and the network, and that the cache "
    "(HF_HOME) can be written. Without a network set data.source: folder and data.folder to a "
    "folder with train.jsonl and test.jsonl, or data.source: embedded.",
)

# Files: what can be wrong with one that is there, and those that are not.
_CONTENT = (ValueError, LookupError, TypeError, RecursionError, struct.error)
_MISSING = Cause(
    "It does not exist",
    "Check the path; a result is made by running snakemake again.",
    classes=frozenset({"FileNotFoundError"}),
)
_LOCKED_FILE = replace(LOCKED, classes=frozenset({"BlockingIOError"}))
RESULT = Stage(
    "cannot be read",
    (_LOCKED_FILE, _MISSING),
    "Delete it and run snakemake again; it will be made anew.",
    _CONTENT,
)
USER_FILE = replace(RESULT, remedy="Check the path, and that the file is whole.")
STUDY = replace(
    RESULT,
    remedy="Delete it and run snakemake again; finished trials are in the journal.",
)
JOURNAL = replace(
    RESULT,
    remedy="Delete it; the search starts anew.",
    content=(*_CONTENT, AttributeError, AssertionError),
)
DATABASE = Stage(
    "cannot be opened",
    (
        Cause(
            "The driver that its URL names is not installed",
            "Install it with pip into this environment: psycopg2-binary for postgresql://, "
            "pymysql for mysql+pymysql://.",
            classes=frozenset({"ImportError", "NoSuchModuleError"}),
        ),
    ),
    "Check the URL, that the server answers, and that its driver is installed; or unset the "
    "variable to use a file.",
    private=True,
)
