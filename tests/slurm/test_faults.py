"""What befalls jobs on a cluster: requeueing, preemption, a lost node, a dead Snakemake."""

import re
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec

import pytest

from tests.slurm.cluster import Cluster, Job, NoCluster, running_cluster
from tests.slurm.test_slurm import (
    ON_SLURM,
    complete_trials,
    output,
    partitions,
    started,
    wait_for,
)
from tests.workflow.project import Project, Run

pytestmark = pytest.mark.slurm

GPUS = WORKERS = 2
TRIALS = 150
END_SECONDS = 400


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("snakemake-executor-plugin-slurm is not installed")
    try:
        with running_cluster(partitions(), GPUS) as cluster:
            yield cluster
    except NoCluster as reason:
        pytest.skip(f"no SLURM: {reason}")


def running(cluster: Cluster, rule: str, restarts: int = 0) -> list[Job]:
    """Jobs of a rule that run, after at least so many restarts."""
    jobs = [job for job in cluster.jobs() if job.rule.endswith(rule) and job.state == "RUNNING"]
    return [job for job in jobs if job.restarts >= restarts]


def test_two_workers_are_requeued_preempted_and_lose_their_node(
    cluster: Cluster, finished_copy: Project
):
    for path in (
        *finished_copy.results.glob("study/*"),
        finished_copy.results / "best_config.json",
    ):
        path.unlink()
    search = {"search": {"workers": WORKERS, "n_trials": TRIALS, "seed": 1}}
    with started(finished_copy, *ON_SLURM, "study", overlay=search) as process:

        def both(restarts: int) -> list[Job]:
            """The workers, where both run and have done something."""
            assert process.poll() is None, output(finished_copy)
            jobs = running(cluster, "search", restarts)
            more = len(complete_trials(finished_copy)) > len(kept)
            return jobs if len(jobs) == WORKERS and more else []

        kept = {}
        first, _ = wait_for("two workers", lambda: both(0))
        kept = complete_trials(finished_copy)
        cluster.requeue(first)
        cluster.preempt(GPUS)
        wait_for("two workers again", lambda: both(1))
        then = complete_trials(finished_copy)
        assert {number: then[number] for number in kept} == kept
        kept = then
        cluster.lose_node()
        assert process.wait(timeout=END_SECONDS) == 0, output(finished_copy)
    after = complete_trials(finished_copy)
    assert {number: after[number] for number in kept} == kept
    jobs = [job for job in cluster.jobs() if job.rule == "search"]
    assert [job.state for job in jobs] == ["COMPLETED"] * WORKERS  # Snakemake saw no failure
    assert all(job.restarts >= 2 for job in jobs)
    rows = (finished_copy.results / "study" / "trials.csv").read_text().splitlines()[1:]
    assert len(rows) == TRIALS  # none was given up
    assert Counter(row.split(",")[1] for row in rows).keys() <= {"COMPLETE", "PRUNED"}


def done_in(text: str) -> Counter[str]:
    """Jobs that were finished in a run, by rule."""
    return Counter(re.findall(r"^Finished jobid: \d+ \(Rule: (\w+)\)", text, re.M))


def test_a_study_whose_snakemake_is_killed_goes_on(cluster: Cluster, fresh_copy: Project):
    (fresh_copy.folder / "runs.tsv").write_text("name\tsearch.seed\none\t1\ntwo\t2\n")
    study = {
        "runs": "runs.tsv",
        "steering": {"methods": ["caa"], "directions": ["caa"]},
    }
    wanted = [f"results/runs/{name}/best_config.json" for name in ("one", "two")]
    with started(fresh_copy, *wanted, *ON_SLURM, overlay=study) as process:

        def gate() -> list[Job]:
            assert process.poll() is None, output(fresh_copy)
            return running(cluster, "zero_steering")

        wait_for("job in the middle", gate, END_SECONDS)
        process.send_signal(signal.SIGKILL)
        process.wait()
    run = replace(fresh_copy, warm=False).snakemake(*wanted, *ON_SLURM, overlay=study)
    assert run.code == 0, run.text
    for name in wanted:
        assert (fresh_copy.folder / name).exists()
    # What was finished is not done again, and nothing that both have in common is done twice.
    done = [done_in(text) for text in (output(fresh_copy), run.text)]
    assert all(done)
    planned = Run(0, output(fresh_copy)).jobs
    assert not (done[0] + done[1]) - planned
    # Jobs that outlived their Snakemake count: the next one waited for them.
    assert {rule.partition("__")[2] for rule in planned - done[0] - done[1]} <= {"zero_steering"}
    assert not {"two__activations", "two__baseline"} & (done[0] + done[1]).keys()
    assert fresh_copy.snakemake("-n", *wanted, overlay=study).idle
