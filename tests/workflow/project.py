"""A small project of its own: a copy of the workflow, a tiny model, short problems, a config.

Every path in its config is relative, so that a copy of a finished project is a finished project.
"""

import itertools
import json
import os
import re
import shutil
import signal
import string
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from tests import warm
from tests.tiny_models import save_tiny_model

CHECKOUT = Path(__file__).parents[2]
PARTS = ("Snakefile", "config", "envs", "profiles", "snakesteer", "workflow")
NAMES = ("Ann", "Bob", "Cem", "Dee", "Eve", "Flo", "Gus", "Hal")
THINGS = ("pens", "cups", "eggs", "hats", "keys", "nuts", "pies", "toys")
TRAIN_ROWS, TEST_ROWS = 40, 24

CONFIG: dict[str, Any] = {
    "model": {"name": "tiny model", "dtype": "float32", "device": "cpu"},
    "data": {
        **{"source": "folder", "folder": "problems", "train": 12, "val": 8, "test": 8},
        "near_duplicates": "numbers",  # the problems are one sentence with other names and things
    },
    # The model has random weights: it says a capital letter sooner than "Question:".
    "prompt": {"shots": 1, "stop": [*string.ascii_uppercase]},
    "generation": {"max_new_tokens": 6},
    "engine": {"name": "slots", "batch_size": 8},
    # With the long vectors that this gives, the search chooses a steering: there is more to test.
    "pairs": {"read": "first_difference"},
    "steering": {
        "strength": [-0.5, 0.5],
        "layers": [1, 2],
        "methods": ["caa", "dac"],
        "directions": ["caa", "probe"],
    },
    "search": {"n_trials": 5, "chunk_size": 4, "n_startup_trials": 2, "one_standard_error": False},
    "evaluation": {"bootstrap_resamples": 200},
}
TARGETS = ("all", "splits", "vectors", "study", "export")  # rules that make nothing
LAYERS, DIRECTIONS = (1, 2), ("caa", "probe")


@dataclass(frozen=True)
class Run:
    """What a Snakemake process said and how it ended."""

    code: int
    text: str

    @property
    def jobs(self) -> Counter[str]:
        """Jobs per rule, from the last table of job counts; empty where nothing is to be done."""
        tables = re.findall(r"^job +count\n-+ +-+\n(.*?)^total +\d+$", self.text, re.M | re.S)
        rows = (line.split() for line in tables[-1].splitlines()) if tables else ()
        return Counter({rule: int(count) for rule, count in rows if rule not in TARGETS})

    @property
    def idle(self) -> bool:
        """Whether nothing was to be done."""
        return self.code == 0 and "Nothing to be done" in self.text


@dataclass(frozen=True)
class Project:
    """A folder with a workflow that can be run.

    Attributes:
        folder: Where.
        warm: Let its processes start warm; see `tests.warm`.
    """

    folder: Path
    warm: bool = True

    @property
    def results(self) -> Path:
        """The default results folder."""
        return self.folder / "results"

    def snakemake(self, *arguments: str, overlay: Mapping[str, Any] | None = None) -> Run:
        """Run Snakemake here.

        Args:
            arguments: Command line.
            overlay: Config values that win over those of the project.
        """
        command = [sys.executable, "-m", "snakemake", *arguments]
        if overlay is None:
            return self.run(*command)
        with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
            yaml.safe_dump(dict(overlay), file, allow_unicode=True, sort_keys=False)
            file.flush()
            return self.run(*command, "--configfile", file.name)

    def run(self, *command: str) -> Run:
        """Run a command here; its output and messages in one text."""
        started = warm.environment() if self.warm else {}
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, **started, "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        return Run(done.returncode, done.stdout)

    def copy(self, folder: Path) -> "Project":
        """A copy; times of files are kept, so that what is finished stays finished."""
        shutil.copytree(self.folder, folder)
        return replace(self, folder=folder)


def make_project(folder: Path) -> Project:
    """Copy the workflow into a folder and write model, problems and config there."""
    folder.mkdir(parents=True)
    for part in PARTS:
        source = CHECKOUT / part
        if source.is_dir():
            shutil.copytree(source, folder / part)  # what was compiled, too
        else:
            shutil.copy2(source, folder / part)
    save_tiny_model(folder / "tiny model", "llama")
    rows = problem_rows()
    write_rows(folder / "problems" / "train.jsonl", rows[:TRAIN_ROWS])
    write_rows(folder / "problems" / "test.jsonl", rows[TRAIN_ROWS:])
    text = yaml.safe_dump(CONFIG, allow_unicode=True, sort_keys=False)
    (folder / "config" / "config.yaml").write_text(text, encoding="utf-8")
    return Project(folder)


def problem_rows() -> list[dict[str, str]]:
    """Problems in GSM8K's format, no two of them alike up to their numbers; answers of a digit."""
    rows = []
    for index, (name, thing) in enumerate(itertools.product(NAMES, THINGS)):
        have, more = index % 4 + 1, index // 4 % 5 + 1
        rows.append(
            {
                "question": f"{name} has {have} {thing} and gets {more}. How many {thing} now?",
                "answer": f"{have}+{more} = <<{have}+{more}={have + more}>>{have + more}\n"
                f"#### {have + more}",
            }
        )
    return rows


def write_rows(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Write JSONL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read JSONL."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def hear_interrupts() -> None:
    """For ``preexec_fn``: background jobs of a shell have SIGINT ignored, and hand that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
