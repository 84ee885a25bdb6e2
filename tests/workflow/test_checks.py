"""The gate before the search, and the direct model test."""

import json

import pytest

from tests.workflow.conftest import Finished
from tests.workflow.project import Project

pytestmark = pytest.mark.workflow

RIGHT = "torch.addcmul(block_output(output), self._delta, where)"
IN_PLACE = "block_output(output).addcmul_(self._delta, where)"


def test_the_gate_was_passed_before_the_search(finished: Finished):
    assert finished.search.jobs["zero_steering"] == 1
    text = finished.search.text
    assert text.index("rule zero_steering:") < text.index("rule search:")
    path = finished.project.results / "checks" / "zero_steering.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["passed"] is True
    assert (record["engine"], record["prompts"], record["prompts_asked_for"]) == ("slots", 8, 32)
    assert set(record["kinds"]) == {"no steering", "caa", "dac"}
    for kind in record["kinds"].values():
        assert kind["tokens_equal"] is True
        assert kind["max_logit_difference"] == 0.0
        assert 0.0 < kind["plain_model"]["error"] <= kind["plain_model"]["bound"]
        assert kind.get("max_error_in_roundings", 0.0) <= 1.0


def test_another_gate_must_be_passed_before_the_study_counts(finished: Finished):
    run = finished.project.snakemake("-n", "study", overlay={"checks": {"prompts": 5}})
    assert run.code == 0, run.text
    assert run.jobs == {"zero_steering": 1, "search": 1, "trials": 1, "best_config": 1}
    alone = finished.project.snakemake("-n", "zero_steering", "--forcerun", "zero_steering")
    assert alone.jobs == {"zero_steering": 1}


def test_a_broken_hook_stops_the_run_before_the_search(fresh_copy: Project):
    """An edit in place gives right answers in this model, so that nothing but the gate sees it."""
    code = fresh_copy.folder / "snakesteer" / "engine" / "slots" / "rows.py"
    text = code.read_text(encoding="utf-8")
    assert text.count(RIGHT) == 1
    code.write_text(text.replace(RIGHT, IN_PLACE), encoding="utf-8")
    run = fresh_copy.snakemake("study")
    assert run.code != 0
    assert "error: The zero-steering gate is closed" in run.text
    assert "the output of block 1 is edited in place" in run.text
    assert "Traceback" not in run.text
    assert (fresh_copy.results / "baseline" / "val.jsonl").exists()
    assert not (fresh_copy.results / "checks" / "zero_steering.json").exists()
    assert not (fresh_copy.results / "study").exists()
    log = fresh_copy.results / "logs" / "zero_steering.log"
    assert "edited in place" in log.read_text(encoding="utf-8")
    code.write_text(text, encoding="utf-8")
    run = fresh_copy.snakemake("study")
    assert run.code == 0, run.text
    assert run.jobs["search"] == 1
    assert (fresh_copy.results / "best_config.json").exists()


def test_the_direct_model_test(fresh_copy: Project):
    run = fresh_copy.snakemake("model_check", overlay={"prompt": {"template": "{question} A: "}})
    assert run.code == 0, run.text
    assert run.jobs == {
        "official_data": 1,
        "train_split": 1,
        "val_split": 1,
        "model_info": 1,
        "model_check": 1,
    }
    path = fresh_copy.results / "checks" / "model_check.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    log = (fresh_copy.results / "logs" / "model_check.log").read_text(encoding="utf-8")
    for said in (run.text, log):
        assert "Model    tiny model: 4 layers, float32 on cpu, context 256, engine slots" in said
        assert record["prompt"] in said
        assert "HINT     The prompt ends with a blank" in said
    assert len(record["answers"]) == 8
