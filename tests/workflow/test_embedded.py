"""The embedded model end to end, on small splits: generated problems, and GSM8K where it is."""

import json
import shutil
from pathlib import Path

import pytest

from tests.workflow.project import CHECKOUT, Project, read_rows

pytestmark = [pytest.mark.workflow, pytest.mark.embedded]

GSM8K = CHECKOUT.parent / "shared" / "gsm8k"


@pytest.fixture
def project(fresh_copy: Project, embedded_model_folder: Path) -> Project:
    """A project with the default config, and with the embedded model in its place."""
    shutil.copy2(CHECKOUT / "config" / "config.yaml", fresh_copy.folder / "config")
    resources = fresh_copy.folder / "resources"
    resources.mkdir()
    (resources / "smollm2-135m-instruct").symlink_to(embedded_model_folder)
    return fresh_copy


def test_the_default_config_with_small_sizes(project: Project):
    data = "data={train: 8, val: 12, test: 4, validation_from: test}"
    sizes = (data, "search={n_trials: 2, chunk_size: 12}")
    run = project.snakemake("--config", *sizes, "steering={methods: [caa], layers: 9-9}")
    assert run.code == 0, run.text
    assert not {"embedded_model", "embedded_model_wheel"} & set(run.jobs)
    baseline = json.loads((project.results / "baseline" / "val.json").read_text(encoding="utf-8"))
    assert 0.1 <= baseline["accuracy"] <= 0.9  # measured on 500 problems: about one half
    for row in read_rows(project.results / "baseline" / "val.jsonl"):
        assert "####" in row["text"] or row["finish"] == "length"
    assert (project.results / "provenance.json").is_file()
    splits = project.results / "splits"
    ids = [row["id"] for name in ("val", "test") for row in read_rows(splits / f"{name}.jsonl")]
    assert len(set(ids)) == 16
    assert all(name.startswith("embedded-test-") for name in ids)
    final = json.loads((project.results / "test_final.json").read_text(encoding="utf-8"))
    assert (final["origins"]["validation"]["from"], final["origins"]["validation"]["n"]) == (
        "test",
        12,
    )
    assert final["origins"]["p_value"] is None


@pytest.mark.skipif(
    not (GSM8K / "train.jsonl").is_file(), reason="GSM8K is not beside the checkout"
)
def test_gsm8k_through_an_overlay_and_single_values(project: Project):
    run = project.snakemake(
        "--configfile",
        "config/gsm8k-debug.yaml",
        "--config",
        "results=results/gsm8k",
        "model={name: embedded, num_layers: 30}",
        f"data={{source: folder, folder: {GSM8K}, train: 8, val: 6, test: 6}}",
        "generation={max_new_tokens: 16}",
        "steering={layers: 9-9, methods: [caa], directions: [caa]}",
        "evaluation={random_controls: 1, shuffled_controls: 1}",
        "search={n_trials: 2}",
    )
    assert run.code == 0, run.text
    results = project.folder / "results" / "gsm8k"
    final = json.loads((results / "test_final.json").read_text(encoding="utf-8"))
    assert final["num_test_samples"] == 6
    assert final["config"]["prompt"]["template"].startswith("[MATH_TASK]")
    rows = read_rows(results / "test_generations.jsonl")
    assert all(row["id"].startswith("gsm8k-test-") for row in rows)
    manifest = json.loads((results / "splits" / "manifest.json").read_text(encoding="utf-8"))
    assert all(shared == {"exact": 0, "near": 0} for shared in manifest["overlaps"].values())
