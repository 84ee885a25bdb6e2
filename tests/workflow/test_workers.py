"""Two jobs that share one study."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.fake_search import FINISHED, read_trials
from tests.workflow.conftest import Finished
from tests.workflow.project import Project

pytestmark = pytest.mark.workflow

N_TRIALS = 60
OVERLAY = {"search": {"workers": 2, "n_trials": N_TRIALS, "seed": 1}}


def shape(value: Any) -> Any:
    """The keys of a document, all the way down; parameters of a method and counts are free."""
    free = ("best_trial_params", "trials", "runners_up", "versions", "git")
    if isinstance(value, Mapping):
        return {key: None if key in free else shape(item) for key, item in value.items()}
    return type(value).__name__


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_two_workers_share_one_study(finished: Finished, finished_copy: Project):
    arguments = ("study", "--cores", "8", "--resources", "gpu=2")
    run = finished_copy.snakemake(*arguments, overlay=OVERLAY)
    assert run.code == 0, run.text
    assert run.jobs == {"search": 2, "trials": 1, "best_config": 1}
    study = finished_copy.results / "study"
    trials = read_trials(study / "journal.log")
    assert [trial.number for trial in trials] == list(range(N_TRIALS))
    assert {trial.state for trial in trials} <= set(FINISHED)
    assert {trial.user_attrs["worker"] for trial in trials} == {0, 1}
    unsteered = [t.number for t in trials if t.user_attrs["steering_alpha"] == 0.0]
    assert unsteered == [0]
    assert len({str(sorted(trial.params.items())) for trial in trials}) == N_TRIALS
    # They ran at the same time, and what each says of its work adds up.
    spans = {
        worker: [
            (t.datetime_start, t.datetime_complete)
            for t in trials
            if t.user_attrs["worker"] == worker
        ]
        for worker in (0, 1)
    }
    first, second = (
        (min(start for start, _ in spans[w]), max(end for _, end in spans[w])) for w in (0, 1)
    )
    assert max(first[0], second[0]) < min(first[1], second[1])
    said = [load(study / f"worker_{worker}.json") for worker in (0, 1)]
    assert said[0]["fingerprint"] == said[1]["fingerprint"]
    table = pd.read_csv(study / "trials.csv")
    assert list(table.number) == list(range(N_TRIALS))
    assert list(table.worker) == [trial.user_attrs["worker"] for trial in trials]
    steered = table[table.number > 0]
    # Some were answered early, for trials that were pruned.
    assert sum(worker["new_tokens"] for worker in said) >= steered.new_tokens.sum()
    best = load(finished_copy.results / "best_config.json")
    one = load(finished.project.results / "best_config.json")
    for configuration in (best, one):
        configuration.pop("mean_alpha_t", None)  # one may be dynamic, the other not
    assert shape(best) == shape(one)
    assert sum(best["trials"].values()) == N_TRIALS
    assert finished_copy.snakemake(*arguments, overlay=OVERLAY).idle
