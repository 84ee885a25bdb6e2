"""The workflow on a real SLURM with profiles/slurm, as a user of a cluster would run it."""

import csv
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.storages.journal import JournalFileBackend

from snakesteer.models.memory import FLOOR_MB
from snakesteer.records.files import read_json
from tests.slurm.cluster import Cluster, Job, NoCluster, running_cluster
from tests.workflow.project import CHECKOUT, Project, Run, make_project

pytestmark = pytest.mark.slurm

PROFILE = CHECKOUT / "profiles" / "slurm"
SETTINGS = yaml.safe_load((PROFILE / "config.yaml").read_text(encoding="utf-8"))
# Looking early saves most of the time that these tests take.
ON_SLURM = ("--workflow-profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks=1")
FEW_VECTORS = {"steering": {"directions": ["caa"]}}
# A search that goes on for long enough to be stopped in the middle.
TRIALS = 50
LONG_SEARCH = {**FEW_VECTORS, "search": {"n_trials": TRIALS}}
ENDED = ("COMPLETE", "PRUNED")
WAIT_SECONDS = 180

# SLURM jobs of a run. The group `layers` holds the rules `probe` and `vector`.
GPU_JOBS = {
    "activations": 2,
    "baseline": 1,
    "zero_steering": 1,
    "search": 1,
    "test_evaluation": 1,
    "controls": 1,
    "off_target": 1,
}
GROUP_JOBS = {"layers_probe_vector": 1}


def partitions() -> list[str]:
    """All that the profile names, the default first."""
    named = [rule.get("slurm_partition") for rule in SETTINGS["set-resources"].values()]
    default = SETTINGS["default-resources"]["slurm_partition"]
    return list(dict.fromkeys([default, *filter(None, named)]))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("snakemake-executor-plugin-slurm is not installed")
    try:
        with running_cluster(partitions()) as cluster:
            yield cluster
    except NoCluster as reason:
        pytest.skip(f"no SLURM: {reason}")


@dataclass(frozen=True)
class Finished:
    """A run to the end on the cluster, and the same one without."""

    project: Project
    run: Run
    jobs: list[Job]
    local: Project


@pytest.fixture(scope="module")
def finished(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("slurm ü")
    local = replace(make_project(folder / "local project"), warm=False)
    project = local.copy(folder / "cluster project")
    # At the same time, as much of the time on the cluster is waiting.
    with started(local, "--cores", "4", "--resources", "gpu=1", overlay=FEW_VECTORS) as process:
        run = project.snakemake(*ON_SLURM, overlay=FEW_VECTORS)
        assert process.wait(timeout=WAIT_SECONDS) == 0, output(local)
    return Finished(project, run, cluster.jobs(), local)


def test_the_run_succeeds_and_every_job_completed(finished):
    assert finished.run.code == 0, finished.run.text
    assert {job.state for job in finished.jobs} == {"COMPLETED"}


def test_gpu_rules_are_submitted_tiny_jobs_in_one_and_nothing_else(finished):
    assert Counter(job.rule for job in finished.jobs) == GPU_JOBS | GROUP_JOBS
    assert finished.run.jobs["probe"] == finished.run.jobs["vector"] == 2  # layers


def test_gpu_rules_hold_the_one_gpu_one_after_the_other(finished):
    jobs = [job for job in finished.jobs if job.gpus > 0]
    assert Counter(job.rule for job in jobs) == GPU_JOBS
    assert {job.gpus for job in jobs} == {1}
    for job in jobs:
        assert job.partition == SETTINGS["set-resources"][job.rule]["slurm_partition"]
    for earlier, later in pairwise(sorted(jobs, key=lambda job: job.start)):
        assert earlier.end <= later.start


def test_results_are_those_of_a_local_run(finished):
    here, there = finished.local.results, finished.project.results
    assert trials(here) == trials(there)
    for name in ("best_config.json", "test_final.json"):
        made_here, made_there = read_json(here / name), read_json(there / name)
        made_here.pop("created", None), made_there.pop("created", None)
        assert made_here == made_there, name
    names = ["test_generations.jsonl", "baseline/val.jsonl", "splits/manifest.json"]
    names += [str(path.relative_to(here)) for path in sorted(here.glob("vectors/*/*"))]
    for name in names:
        assert (here / name).read_bytes() == (there / name).read_bytes(), name


def test_a_cancelled_search_fails_the_run_and_goes_on_in_the_next(cluster, finished, tmp_path):
    project = finished.project.copy(tmp_path / "cancelled")
    for path in (project.results / "best_config.json", *project.results.glob("study/*")):
        path.unlink()
    seen = {job.id for job in cluster.jobs()}
    with started(project, *ON_SLURM, "study", overlay=LONG_SEARCH) as process:
        for _ in range(SETTINGS["retries"]):  # at once; Snakemake submits it again
            seen.add(cancel_search(cluster, seen, lambda: None))
        cancel_search(cluster, seen, lambda: wait_for_trials(project))
        code, text = process.wait(timeout=WAIT_SECONDS), output(project)
    kept = complete_trials(project)
    assert code != 0, text
    assert text.count("SLURM status is: 'CANCELLED'") == 1 + SETTINGS["retries"], text
    assert f"mem_mb={2 * FLOOR_MB}" in text, text  # the second time
    assert not (project.results / "best_config.json").exists()
    assert not (project.results / "study" / "study.db").exists()

    run = project.snakemake(*ON_SLURM, "study", overlay=LONG_SEARCH)
    assert run.code == 0, run.text
    assert run.jobs == {"search": 1, "trials": 1, "best_config": 1}
    study = optuna.load_study(
        study_name=None, storage=f"sqlite:///{project.results}/study/study.db"
    )
    ended = {trial.number: trial for trial in study.trials if trial.state.name in ENDED}
    assert len(ended) == TRIALS > len(kept) > 0
    assert {number: (ended[number].params, ended[number].value) for number in kept} == kept


def trials(results: Path) -> list[dict[str, str]]:
    """trials.csv without times."""
    with (results / "study" / "trials.csv").open(newline="", encoding="utf-8") as file:
        return [
            {name: value for name, value in row.items() if "second" not in name}
            for row in csv.DictReader(file)
        ]


@contextmanager
def started(project: Project, *arguments: str, overlay: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Snakemake in the background; interrupted where the block ends too soon."""
    config = project.folder.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(overlay), encoding="utf-8")
    with project.folder.with_suffix(".out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", *arguments, "--configfile", str(config)],
            cwd=project.folder,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=60)


def output(project: Project) -> str:
    """What Snakemake said in the background."""
    return project.folder.with_suffix(".out").read_text(encoding="utf-8")


def cancel_search(cluster: Cluster, seen: set[int], ready: Callable[[], None]) -> int:
    """Cancel the next search job once it runs and is ready; its number."""
    job = wait_for("search job", lambda: running_search(cluster, seen))
    ready()
    cluster.cancel(job)
    return job.id


def running_search(cluster: Cluster, seen: set[int]) -> Job | None:
    jobs = (job for job in cluster.jobs() if job.id not in seen and job.state == "RUNNING")
    return next((job for job in jobs if job.rule == "search"), None)


def wait_for_trials(project: Project) -> None:
    wait_for("complete trial", lambda: complete_trials(project))


def wait_for(what: str, find: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
    """Ask again and again until something is found."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := find():
            return found
        time.sleep(0.2)
    raise AssertionError(f"no {what} after {seconds} s")


def complete_trials(project: Project) -> dict[int, Any]:
    """Parameters and value of the complete trials in the journal, by number."""
    journal = project.results / "study" / "journal.log"
    if not journal.exists():
        return {}
    try:
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(journal)))
        study = optuna.load_study(study_name=None, storage=storage)
    except KeyError:  # the study is not in it yet
        return {}
    complete = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    return {trial.number: (trial.params, trial.value) for trial in complete}
