"""The workflow as a Python object, with the names of wisent-guard's GSM8K pipeline.

config = OptimizationConfig(model_name="Qwen/Qwen2.5-0.5B", n_trials=20)
results = GSM8KOptimizationPipeline(config).run_optimization()
results["best_trial_params"]["steering_alpha"], results["accuracy_improvement"]
"""

import os
import re
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from snakesteer.config import EMBEDDED_MODEL, Config, Device, Section
from snakesteer.config.load import load_config, overlaid
from snakesteer.errors import UserError
from snakesteer.records.files import read_json, write_text
from snakesteer.records.paths import expanded
from snakesteer.study.table import read_table

if TYPE_CHECKING:
    import pandas as pd

SNAKEFILE = Path(__file__).parents[1] / "Snakefile"

_KEPT_LINES = 1000
_TOLD_LINES = 25
# What Snakemake prints of a failed job: its rule, then indented what belongs to it.
_FAILED_JOB = re.compile(r"^Error in rule (\w+)[^\n]*:\n((?: {4}[^\n]*\n)*)", re.M)
_NOISE = re.compile(r" {4}(?:message|jobid|input|output|benchmark|resources|threads|reason): ")
_LOG = re.compile(r"^ {4}log: (.*?)(?: \(check log file.*)?$", re.M)

# Optuna's class names, which the pipeline takes besides the names of the config.
PRUNER_CLASSES = {
    "MedianPruner": "median",
    "SuccessiveHalvingPruner": "successive_halving",
    "HyperbandPruner": "hyperband",
    "WilcoxonPruner": "wilcoxon",
    "NopPruner": "none",
}

# Keys of a config that a run of a study leaves to the study.
_SAME_FOR_ALL = {"results", "runs", "replicates"}

T = TypeVar("T")

# Fields of that pipeline that are not here, and what to do instead.
NOT_HERE = {
    "train_dataset": "Set overrides={'data': {'source': …}}.",
    "val_dataset": "Set overrides={'data': {'source': …}}.",
    "test_dataset": "Set overrides={'data': {'source': …}}.",
    "probe_types": "Leave it out: the probe is a logistic regression.",
    "probe_type": "Leave it out: the probe is a logistic regression.",
    "study_name": "Leave it out: every output_dir has one study, in study/study.db.",
    "db_url": "Leave it out: every output_dir has one study, in study/study.db.",
    "cache_dir": "Leave it out: the files in output_dir are the cache.",
    "max_length": "Leave it out: prompts are never cut; one that does not fit is an error.",
    "max_layers_to_search": "Choose layer_search_range; all its layers are searched.",
    "early_stopping_patience": "Choose n_trials; a search that was stopped can go on.",
}


def _with_remedies(cls: type[T]) -> type[T]:
    """Let a class say what to do about a field that Python would only call unexpected."""
    init = cls.__init__

    @wraps(init)  # so that its signature still names the fields
    def checked(self: T, *fields: Any, **given: Any) -> None:
        for name in given.keys() & NOT_HERE.keys():
            raise UserError(f"{cls.__name__} has no {name}", NOT_HERE[name])
        init(self, *fields, **given)

    setattr(cls, "__init__", checked)  # noqa: B010 - assigning it is an error to mypy
    return cls


@_with_remedies
@dataclass(frozen=True)
class OptimizationConfig:
    """What to optimise; every field is one or several keys of config/config.yaml.

    Attributes:
        model_name: Hub id, folder, or ``embedded``.
        device: ``auto``, ``cuda``, ``mps`` or ``cpu``.
        train_limit: Problems for vectors and probes, from GSM8K's train part.
        val_limit: Problems for the search, also from the train part, unless ``overrides`` says
            ``{"data": {"validation_from": "test"}}``.
        test_limit: Problems for the final evaluation, from the test part.
        layer_search_range: First and last 0-based block, both included; None for two within
            the depth.
        steering_methods: What the search may use.
        n_trials: Trials, the unsteered one included.
        n_startup_trials: Random trials before the sampler models.
        sampler: ``TPE``, ``Random``, ``CmaEs``, …: `search.sampler` in any case of letters.
        pruner: Optuna's class name, or a value of `search.pruner`.
        batch_size: Of the reference engine; the slots engine takes what fits.
        max_new_tokens: Limit per answer.
        seed: All seeds of the config.
        temperature: 0 is greedy.
        do_sample: Sample instead of taking the likeliest token.
        output_dir: The results folder.
        overrides: Keys of config/config.yaml in their sections, as in
            ``{"data": {"source": "folder", "folder": "problems"}}``; they win.

    Raises:
        UserError: A field of the original that has no place here.
    """

    model_name: str = EMBEDDED_MODEL
    device: Device = "auto"
    train_limit: int = 500
    val_limit: int = 200
    test_limit: int = 300
    layer_search_range: tuple[int, int] | None = None
    steering_methods: Sequence[str] = ("dac", "caa")
    n_trials: int = 50
    n_startup_trials: int = 10
    sampler: str = "TPE"
    pruner: str = "MedianPruner"
    batch_size: int = 8
    max_new_tokens: int = 256
    seed: int = 42
    temperature: float = 0.0
    do_sample: bool = False
    output_dir: str = "results/gsm8k"
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def workflow_config(self) -> Config:
        """The config of the workflow.

        Raises:
            UserError: Values that it refuses; names every one.
        """
        values: dict[str, dict[str, Any]] = {
            "model": {"name": self.model_name, "device": self.device},
            "data": {
                "source": "hub",
                "train": self.train_limit,
                "val": self.val_limit,
                "test": self.test_limit,
            },
            "generation": {
                "max_new_tokens": self.max_new_tokens,
                "temperature": self.temperature,
                "do_sample": self.do_sample,
            },
            "engine": {"batch_size": self.batch_size},
            "steering": {"methods": list(self.steering_methods)},
            "search": {
                "n_trials": self.n_trials,
                "n_startup_trials": self.n_startup_trials,
                "sampler": self.sampler.lower(),
                "pruner": PRUNER_CLASSES.get(self.pruner, self.pruner),
            },
        }
        if self.layer_search_range is not None:
            first, last = self.layer_search_range
            values["steering"]["layers"] = f"{first}-{last}"
        for name, section in Config():
            if isinstance(section, Section):
                seeds = [key for key in type(section).model_fields if key.endswith("seed")]
                values.setdefault(name, {}).update(dict.fromkeys(seeds, self.seed))
        return load_config(overlaid({"results": self.output_dir, **values}, self.overrides))


class GSM8KOptimizationPipeline:
    """From a config to the result, through the workflow.

    Args:
        config: What to optimise.
        folder: Where to run, see `run_workflow`; relative paths in the config start there.
        cores: See `run_workflow`.

    Raises:
        UserError: A config that the workflow refuses.
    """

    def __init__(
        self, config: OptimizationConfig, folder: str | Path = ".", cores: int | None = None
    ) -> None:
        self.config = config.workflow_config()
        self.folder = Path(folder)
        self.cores = cores

    def run_optimization(self) -> dict[str, Any]:
        """Run what is not done yet: data, vectors, search and final test.

        Calling it again, also in another process or after a kill, goes on where it ended.

        Returns:
            The content of test_final.json, and as ``output_dir`` the folder that it lies in.

        Raises:
            UserError: The workflow failed.
        """
        results = run_workflow(self.config, folder=self.folder, cores=self.cores)
        return {**read_json(results / "test_final.json"), "output_dir": str(results)}


class GSM8KStudy:
    """Several configurations in one graph: what they have in common is made once.

    Args:
        configs: What to run; their output folders do not matter here.
        names: Of the runs; ``run-1``, ``run-2``, … by default.
        output_dir: Folder of the study.
        replicates: The key ``replicates`` of the config, such as ``{"seeds": 5}``.
        folder: Where to run, see `run_workflow`.
        cores: See `run_workflow`.

    Raises:
        UserError: A config that the workflow refuses, or names that do not fit.
    """

    def __init__(
        self,
        configs: Sequence[OptimizationConfig | Config],
        names: Sequence[str] | None = None,
        output_dir: str = "results/study",
        replicates: Mapping[str, Any] | None = None,
        folder: str | Path = ".",
        cores: int | None = None,
    ) -> None:
        whole = [c if isinstance(c, Config) else c.workflow_config() for c in configs]
        names = names or [f"run-{number}" for number in range(1, len(whole) + 1)]
        if len(names) != len(whole):
            raise UserError(
                f"{len(whole)} configs have {len(names)} names", "Name each of them, or none."
            )
        runs = [
            {"name": name, **config.model_dump(mode="json", exclude=_SAME_FOR_ALL)}
            for name, config in zip(names, whole, strict=True)
        ]
        read_table(runs)  # names that do not fit show before anything runs
        values = {"results": output_dir, "runs": runs, "replicates": dict(replicates or {})}
        self.config = load_config(values)
        self.folder = Path(folder)
        self.cores = cores

    def run(self) -> "pd.DataFrame":
        """Run what is not done yet, and put the runs side by side.

        Returns:
            The content of runs.csv, one run a row.

        Raises:
            UserError: The workflow failed. What was finished stays, with a table of its own.
        """
        import pandas as pd  # takes a second, and nothing else here needs it

        results = run_workflow(self.config, folder=self.folder, cores=self.cores)
        return pd.read_csv(results / "runs.csv")


def run_workflow(
    config: Config,
    *targets: str,
    folder: str | Path = ".",
    cores: int | None = None,
    gpus: int | None = None,
) -> Path:
    """Run the workflow and wait for its end; what is done already is not done again.

    Snakemake's messages go to standard output as they come. The config is kept as ``config.yaml``
    in the results folder, so that ``snakemake --configfile`` can go on where this ended.

    Args:
        config: The whole config; paths in it are relative to `folder`.
        targets: Rules or files; all results by default.
        folder: Where to run; Snakemake keeps its records there.
        cores: Cores to use; None for what the workflow's default profile says.
        gpus: GPUs to use; 0 stays on the CPU, None for what the profile says.

    Returns:
        The results folder.

    Raises:
        UserError: The workflow failed, or is not there. Names the failed rules and their logs.
    """
    if not SNAKEFILE.is_file():
        raise UserError(
            f"snakesteer was installed without its workflow ({SNAKEFILE} is missing)",
            "Clone the repository and install it from there (`pip install --editable .`), or run "
            "Python in the clone.",
        )
    folder = Path(expanded(str(folder), "folder")).resolve()
    results = folder / config.results
    path = results / "config.yaml"
    values = config.model_dump(mode="json")
    try:
        write_text(path, yaml.safe_dump(values, allow_unicode=True, sort_keys=False))
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror})", "Choose another folder, or free this."
        ) from error
    command = [sys.executable, "-m", "snakemake", *targets]
    command += ["--snakefile", str(SNAKEFILE), "--configfile", str(path)]
    if cores is not None:
        command += ["--cores", str(cores)]
    if gpus is not None:
        command += ["--resources", f"gpu={gpus}"]
    code, said = _stream(command, folder)
    if code != 0:
        raise _failure(code, said)
    return results


def _stream(command: Sequence[str], folder: Path) -> tuple[int, str]:
    """Run a command, pass on what it prints, and return its exit status and last lines."""
    kept: deque[str] = deque(maxlen=_KEPT_LINES)
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONUTF8": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        process_group=0,
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                kept.append(line)
                print(line, end="", flush=True)
        except BaseException:
            # Snakemake and its jobs are a group of their own, so that they hear of it once,
            # whether it comes from a terminal, a notebook or another process.
            os.killpg(process.pid, signal.SIGINT)
            process.wait()
            raise
    return process.returncode, "".join(kept)


def _failure(code: int, said: str) -> UserError:
    jobs = _FAILED_JOB.findall(said)
    rules = ", ".join(dict.fromkeys(rule for rule, _ in jobs))
    logs = ", ".join(dict.fromkeys(log for _, block in jobs for log in _LOG.findall(block)))
    lines = [line for line in said.splitlines(keepends=True) if not _NOISE.match(line)]
    last = "".join(lines[-_TOLD_LINES:])
    return UserError(
        f"The workflow failed (exit status {code}{f', rule {rules}' if rules else ''}). It said:\n"
        f"{last}",
        "Put right what it says and start again: what was finished stays."
        + (f" Logs: {logs}" if logs else ""),
    )
