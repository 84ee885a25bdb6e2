"""A run done again from its record: the same bits, or told what is different."""

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from snakesteer.records.content import LEFT_OUT
from tests.workflow.project import Project, Run

pytestmark = pytest.mark.workflow

TOLD_APART = ("test_final.json", "best_config.json")


def reproduce(project: Project, *arguments: str) -> Run:
    return project.run(sys.executable, "-m", "snakesteer.reproduce", *arguments)


def tamper(project: Project, change: Callable[[dict[str, Any]], None]) -> None:
    path = project.results / "provenance.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    change(record)
    path.write_text(json.dumps(record), encoding="utf-8")


def test_a_run_gives_the_same_again_and_a_tampered_one_does_not(finished_copy: Project):
    results, again = finished_copy.results, finished_copy.folder / "results-reproduced"
    run = reproduce(finished_copy, "results/provenance.json", "--cores", "2")
    assert run.code == 0, run.text
    assert run.text.rstrip().endswith("The results are the same.")
    assert "DIFFERENT" not in run.text
    for name in ("vectors/", "splits/", "study/trials.csv", "test_final.json"):
        assert f"\n{name} " in run.text
    # Byte by byte where there are no times.
    same = [*results.glob("vectors/*/*"), *results.glob("splits/*"), *results.glob("pairs/*")]
    same += [results / "test_generations.jsonl", results / "baseline" / "val.jsonl"]
    assert len(same) >= 10
    for path in same:
        assert path.read_bytes() == (again / path.relative_to(results)).read_bytes(), path
    for name in TOLD_APART:
        first, second = (json.loads((folder / name).read_text()) for folder in (results, again))
        assert {k: v for k, v in first.items() if k not in LEFT_OUT} == {
            k: v for k, v in second.items() if k not in LEFT_OUT
        }

    run = reproduce(finished_copy, "results/provenance.json")
    assert run.code == 1
    assert "results-reproduced holds a finished run" in run.text

    # Another seed than the recorded results were made with; what it leaves alone is not redone.
    (again / "provenance.json").unlink()
    tamper(finished_copy, lambda record: record["config"]["evaluation"].update(seed=1))
    run = reproduce(finished_copy, "results/provenance.json")
    assert run.code == 1
    assert run.jobs["test_evaluation"] == 1
    assert "search" not in run.jobs
    assert run.text.rstrip().endswith("The results are DIFFERENT.")
    lines = [line.split() for line in run.text.splitlines() if line.endswith("DIFFERENT")]
    names = {line[0] for line in lines}
    assert "test_final.json" in names
    # It draws the bootstrap and the random directions of the controls.
    assert names <= {
        *("test_evaluation.json", "off_target.json", "test_final.json"),
        *("controls.json", "control_generations.jsonl"),
    }


def test_other_surroundings_are_named_and_nothing_runs(finished_copy: Project):
    def change(record: dict[str, Any]) -> None:
        record["git"]["commit"] = "f00d"
        record["versions"]["torch"] = "1.0"
        record["machine"]["processor"] = "abacus"

    tamper(finished_copy, change)
    run = reproduce(finished_copy, "results/provenance.json")
    assert run.code == 1
    for told in ("commit: f00d then, none now", "torch: 1.0 then, ", "processor: abacus then, "):
        assert told in run.text
    assert "--anyway" in run.text
    assert "Traceback" not in run.text
    assert not (finished_copy.folder / "results-reproduced").exists()
