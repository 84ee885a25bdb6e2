"""A whole run with vLLM as its engine, where it is installed."""

import shutil
from pathlib import Path

import pytest

from snakesteer.records.files import read_json
from tests.vllm_models import needs_vllm, save_vllm_model
from tests.workflow.project import Project

pytestmark = pytest.mark.workflow

OVERLAY = {
    "engine": {"name": "vllm"},
    "steering": {"methods": ["caa"], "operators": ["add", "norm_preserving"]},
}


@needs_vllm
@pytest.mark.timeout(1800)
def test_a_run_from_problems_to_report(fresh: Project, tmp_path: Path):
    project = Project(fresh.copy(tmp_path / "run").folder, warm=False)  # vLLM is none for forks
    shutil.rmtree(project.folder / "tiny model")
    save_vllm_model(project.folder / "tiny model", "llama")
    run = project.snakemake("--cores", "2", "--resources", "gpu=0", overlay=OVERLAY)
    assert run.code == 0, run.text
    baseline = read_json(project.results / "baseline" / "val.json")
    assert baseline["engine"] == "vllm"
    assert baseline["slots"] == 8  # no more than validation problems
    assert not baseline["batch_invariant"]
    assert baseline["noise_floor"]["setting"] == "4 slots instead of 8"
    gate = read_json(project.results / "checks" / "zero_steering.json")
    assert gate["engine"] == "vllm"
    for kind in gate["kinds"].values():
        assert kind["max_logits_error"] <= kind["tolerance"]
        assert kind["tokens_equal_share"] == 1.0
    assert gate["kinds"]["caa"]["places_steered"] > 0
    page = (project.results / "report.html").read_text(encoding="utf-8")
    assert "vllm" in page
    assert "promises no bits" in page
