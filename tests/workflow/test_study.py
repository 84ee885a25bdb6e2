"""Many runs in one graph: nothing is made twice, and each run is what it would be by itself."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from snakesteer.records.content import content_sha256
from tests.workflow.conftest import Finished
from tests.workflow.project import Project, hear_interrupts

pytestmark = pytest.mark.workflow

RUN = ("--cores", "4", "--resources", "gpu=1")
# The first run is the one that `finished` holds. The second shares all but search and test with it.
TABLE = "name\tsteering.methods\tdata.seed\tdata.train\nboth\t[caa, dac]\t0\t\ncaa\t[caa]\t0\t\n"
OTHER = "other\t[caa]\t1\t\n"  # has other problems
ILL = "ill\t[caa]\t0\t99\n"  # asks for more than there are
SHARED = ("official_data", "train_split", "activations", "baseline", "probe", "vector")
WAIT_SECONDS = 600


def make_study(project: Project, table: str = TABLE) -> tuple[str, ...]:
    """Write a table and a config that names it; the arguments for Snakemake."""
    (project.folder / "runs.tsv").write_text(table)
    (project.folder / "study.yaml").write_text(yaml.safe_dump({"runs": "runs.tsv"}))
    return ("--configfile", "study.yaml")


def rows(project: Project) -> dict[str, dict[str, str]]:
    with (project.results / "runs.csv").open(encoding="utf-8", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_a_study_is_planned_in_one_graph(fresh_copy: Project):
    study = make_study(fresh_copy, TABLE + OTHER)
    run = fresh_copy.snakemake("-n", *study)
    assert run.code == 0, run.text
    for rule in SHARED:  # made for two runs by the first
        assert run.jobs[f"both__{rule}"] > 0
        assert f"caa__{rule}" not in run.jobs
    assert run.jobs["other__activations"] == 2
    assert "other__model_info" not in run.jobs
    for name in ("both", "caa", "other"):
        assert run.jobs[f"{name}__search"] == run.jobs[f"{name}__report"] == 1
    assert run.jobs["study_summary"] == 1
    # One run of it, by name of file.
    one = fresh_copy.snakemake("results/runs/caa/test_final.json", "-n", *study)
    assert one.jobs["caa__test_evaluation"] == one.jobs["both__baseline"] == 1
    assert "both__search" not in one.jobs
    # Runs may differ in what holds braces, as prompts do.
    (fresh_copy.folder / "runs.csv").write_text("name,prompt.template\nq,Q: {question}\n")
    said = fresh_copy.snakemake("-n", overlay={"runs": "runs.csv"})
    assert said.jobs["q__search"] == said.jobs["study_summary"] == 1, said.text
    # What a profile says of a rule is said of every run's.
    told = fresh_copy.snakemake("-n", *study, "--set-resources", "search:mem_mb=4321")
    assert len(re.findall(r"^    resources:.* mem_mb=4321", told.text, re.M)) == 3


def test_a_bad_table_stops_before_anything_runs(fresh_copy: Project):
    study = make_study(fresh_copy, "name\tdata.sed\na\t1\n")
    run = fresh_copy.snakemake(*RUN, *study)
    assert run.code == 1
    assert "runs.tsv, line 1, column 2: 'data.sed' is no key" in run.text
    assert "Did you mean 'data.seed'?" in run.text
    assert "Traceback" not in run.text
    assert not fresh_copy.results.exists()


def test_what_a_run_cannot_do_elsewhere_stops_a_study_before_anything_runs(fresh_copy: Project):
    facts = fresh_copy.folder / "facts.jsonl"
    facts.write_text('{"question": "Is ice hot?", "choices": ["no", "yes"], "answer": 2}\n')
    table = "name\toff_target.task_file\nplain\t\nwrong\tfacts.jsonl\n"
    run = fresh_copy.snakemake(*RUN, *make_study(fresh_copy, table))
    assert run.code == 1
    assert "Run 'wrong': off_target.task_file: facts.jsonl, row 1: 'answer' is '2'" in run.text
    assert "Traceback" not in run.text
    assert not list(fresh_copy.results.rglob("*.json"))


def test_a_killed_study_goes_on_and_its_runs_are_those_of_single_ones(
    finished: Finished, fresh_copy: Project
):
    study = make_study(fresh_copy)
    results = fresh_copy.results
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", *RUN, *study],
        cwd=fresh_copy.folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
        preexec_fn=hear_interrupts,
    )
    wait_for(results / "runs" / "both" / "best_config.json", process)
    os.killpg(process.pid, signal.SIGINT)
    process.wait(WAIT_SECONDS)
    ends = {f"{name}__test_evaluation": f"{name}/test_evaluation.json" for name in ("both", "caa")}
    left = {rule for rule, path in ends.items() if not (results / "runs" / path).exists()}
    assert left  # the runs take turns

    # A run that cannot be finished, leaves the others alone.
    (fresh_copy.folder / "runs.tsv").write_text(TABLE + ILL)
    run = fresh_copy.snakemake(*RUN, *study, "--keep-going")
    assert run.code == 1
    table = rows(fresh_copy)
    assert [row["status"] for row in table.values()] == ["finished", "finished", "failed"]
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "data.train + data.val is 99 + 8" in page  # its last words
    # What was finished is not done again.
    assert not {f"both__{rule}" for rule in (*SHARED, "search", "zero_steering")} & {*run.jobs}
    assert [run.jobs[rule] for rule in ends] == [rule in left for rule in ends]
    (fresh_copy.folder / "runs.tsv").write_text(TABLE)
    run = fresh_copy.snakemake(*RUN, *study)
    assert run.code == 0, run.text
    assert run.jobs == {"study_summary": 1}
    assert fresh_copy.snakemake(*RUN, *study).idle

    # The first run is the single run; its folder looks like one.
    single, one = finished.project.results, results / "runs" / "both"
    records = [json.loads((folder / "provenance.json").read_text()) for folder in (single, one)]
    contents = [record["content_sha256"] for record in records]
    assert contents[0].keys() == contents[1].keys()
    different = {name for name in contents[0] if contents[0][name] != contents[1][name]}
    assert different <= {"test_evaluation.json", "test_final.json"}  # which tell their folder
    for name in ("splits/test.jsonl", "baseline/val.jsonl", "vectors/caa/layer_1.safetensors"):
        assert content_sha256(single / name) == content_sha256(one / name), name

    table = rows(fresh_copy)
    assert [*table] == ["both", "caa"]
    assert all(row["status"] == "finished" for row in table.values())
    text = (results / "report.html").read_text(encoding="utf-8")
    assert 'href="runs/both/report.html"' in text
    assert "Report: results/report.html" in run.text  # beside those of the runs
    assert re.search(r"^Of 2 groups, steering ", run.text, re.M)

    # Another run beside them makes its own files only.
    (fresh_copy.folder / "runs.tsv").write_text(TABLE + "later\t[dac]\t0\t\n")
    more = fresh_copy.snakemake("-n", *study)
    assert {job.split("__")[0] for job in more.jobs} == {"later", "study_summary"}


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + WAIT_SECONDS
    while not path.exists():
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < ends
        time.sleep(0.1)
