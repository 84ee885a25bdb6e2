"""Bad configs, data, models and files: a clear paragraph, a failed run, and no half-made file."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.hard_knocks import test_configs
from tests.workflow.conftest import Finished
from tests.workflow.project import CHECKOUT, Project, Run, problem_rows

pytestmark = pytest.mark.workflow


def check_refusal(run: Run, *words: str) -> None:
    """The run failed, and one paragraph names what is wrong and what to do."""
    assert run.code != 0, run.text
    text = re.sub(r"\s+", " ", run.text)
    assert [word for word in words if word not in text] == [], run.text
    assert "Traceback (most recent call last)" not in text, run.text


# Overlay → what is said, of what the Snakefile checks itself.
BAD_CONFIGS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "folder not there": (
        {"data": {"folder": "nowhere"}},
        ("nowhere/train.jsonl is not a file", "correct data.folder"),
    ),
    "vectors not there": (
        {"steering": {"directions": ["file"], "vector_file": "none/{layer}.gguf"}},
        ("none/1.gguf is not a file", "Correct the path"),
    ),
    "second task not there": (
        {"off_target": {"task_file": "facts.jsonl"}},
        ("off_target.task_file is 'facts.jsonl', which is not a file", "Correct the path"),
    ),
}
# Some of what the library checks: tests/unit/hard_knocks/test_configs.py has them all.
CHECKED = ("unknown key", "layer beyond the model", "model not there")


@pytest.mark.parametrize("name", [*BAD_CONFIGS, *CHECKED])
def test_bad_configs_stop_before_anything_is_done(fresh: Project, name: str):
    overlay, words = (BAD_CONFIGS | test_configs.BAD_CONFIGS)[name]
    check_refusal(fresh.snakemake("-n", overlay=overlay), *words)
    assert not fresh.results.exists()


@pytest.mark.parametrize("option", ["--configfile", "--config"])
def test_a_target_behind_a_config_is_said_as_in_the_page(fresh: Project, option: str):
    page = (CHECKOUT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    given = "config/config.yaml" if option == "--configfile" else "results=there"
    run = fresh.snakemake("-n", option, given, "model_check")
    said = run.text.strip().splitlines()[-1]
    assert run.code != 0
    assert "model_check" in said
    assert f"`{said.removeprefix('ValueError: Invalid config definition: ')}`" in page


def test_another_folder_that_is_not_there_is_refused_where_all_is_finished(finished: Finished):
    run = finished.project.snakemake("-n", overlay={"data": {"folder": "nowhere"}})
    check_refusal(run, "nowhere/train.jsonl is not a file", "correct data.folder")


def rows_with(index: int, row: dict[str, str]) -> str:
    """A data file whose row of that index is another one."""
    lines = [json.dumps(row) for row in problem_rows()[:40]]
    lines[index] = json.dumps(row)
    return "\n".join(lines) + "\n"


QUESTION = {"question": "How many?"}
BAD_DATA: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "no answer": (
        rows_with(2, QUESTION).encode(),
        ("problems/train.jsonl, line 3: 'answer' is missing", "remove the row"),
    ),
    "not UTF-8": (
        rows_with(0, QUESTION | {"answer": "ü"}).encode() + b'{"question": "\xfc"}\n',
        ("not UTF-8", "Save the file as UTF-8"),
    ),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_rows_are_named(fresh_copy: Project, name: str):
    content, words = BAD_DATA[name]
    (fresh_copy.folder / "problems" / "train.jsonl").write_bytes(content)
    check_refusal(fresh_copy.snakemake("results/splits/train.jsonl"), *words)
    check_nothing_half_made(fresh_copy, "splits")


def test_a_bad_second_task_stops_before_anything_is_done(fresh_copy: Project):
    path = fresh_copy.folder / "facts.jsonl"
    path.write_text('{"question": "Is ice cold?", "choices": ["yes", "no"], "answer": 2}\n')
    run = fresh_copy.snakemake(overlay={"off_target": {"task_file": "facts.jsonl"}})
    check_refusal(run, "facts.jsonl, row 1: 'answer' is '2'", "from 0 to 1")
    check_nothing_half_made(fresh_copy, ".")


def test_more_problems_than_there_are(fresh_copy: Project):
    run = fresh_copy.snakemake("results/splits/train.jsonl", overlay={"data": {"train": 33}})
    check_refusal(
        run, "data.train + data.val is 33 + 8 = 41", "has 40 problems", "Lower data.train"
    )
    check_nothing_half_made(fresh_copy, "splits")


def test_a_larger_test_split_than_there_is(fresh_copy: Project):
    run = fresh_copy.snakemake("splits", overlay={"data": {"test": 25}})
    check_refusal(run, "data.test is 25", "has 24 problems", "Lower data.test")
    assert not (fresh_copy.results / "splits" / "test.jsonl").exists()


def test_validation_and_test_that_do_not_fit_are_refused_before_the_search(fresh_copy: Project):
    overlay = {"data": {"validation_from": "test", "test": 17}}
    run = fresh_copy.snakemake("results/splits/val.jsonl", overlay=overlay)
    check_refusal(
        run, "data.val + data.test is 8 + 17 = 25", "has 24 problems", "Lower data.val or data.test"
    )
    assert not (fresh_copy.results / "splits" / "val.jsonl").exists()


def check_nothing_half_made(project: Project, *folders: str) -> None:
    """Some results folders hold no file, and no temporary file is left anywhere."""
    results = project.results
    for folder in folders:
        assert not [path for path in (results / folder).rglob("*") if path.is_file()]
    assert not [path for path in results.rglob(".*") if ".part" in path.name]


# What is done to the model's folder → config, target, and what is said.
Harm = Callable[[Path], object]
NOT_LOADED = "The model 'tiny model' cannot be loaded"
BAD_MODELS: dict[str, tuple[Harm, str, tuple[str, ...]]] = {
    "unknown architecture": (
        lambda model: (model / "config.json").write_text('{"model_type": "abacus"}'),
        "model/info.json",
        (NOT_LOADED, "abacus", "pip install --upgrade transformers"),
    ),
    "truncated weights": (
        lambda model: truncate(model / "model.safetensors"),
        "baseline/val.jsonl",
        (NOT_LOADED, "SafetensorError", "complete weight files"),
    ),
}


def truncate(path: Path) -> None:
    """Cut a file in half."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("name", BAD_MODELS)
def test_bad_models_are_explained(finished_copy: Project, name: str):
    harm, target, words = BAD_MODELS[name]
    harm(finished_copy.folder / "tiny model")
    folder = (finished_copy.results / target).parent
    shutil.rmtree(folder)
    check_refusal(finished_copy.snakemake(f"results/{target}"), *words)
    check_nothing_half_made(finished_copy, folder.name)


def test_a_hub_without_a_network(fresh_copy: Project):
    overlay = {"data": {"source": "hub", "hub_id": "nobody/nothing"}}
    run = fresh_copy.snakemake("results/data/train.jsonl", overlay=overlay)
    check_refusal(run, "'nobody/nothing'", "cannot be loaded", "Without a network")
    check_nothing_half_made(fresh_copy, "data")


MADE_ANEW = ("Delete it and run snakemake again",)
DAMAGE: dict[str, tuple[str, bytes | None, str, tuple[str, ...]]] = {
    "split": (
        "splits/val.jsonl",
        b'{"id": "x"}\n',
        "pairs/val.jsonl",
        ("splits/val.jsonl, row 1",),
    ),
    "HDF5": (
        "activations/val/layer_1.h5",
        None,
        "probes/layer_1.json",
        ("activations/val/layer_1.h5 is not a readable activation file", *MADE_ANEW),
    ),
    "study": (
        "study/study.db",
        b"not a database",
        "best_config.json",
        ("study/study.db", "snakemake again"),
    ),
    "best config without content": (
        "best_config.json",
        b"{}",
        "test_final.json",
        ("best_config.json", "snakemake again"),
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_results_are_named(finished_copy: Project, name: str):
    file, content, target, words = DAMAGE[name]
    path, wanted = finished_copy.results / file, finished_copy.results / target
    if content is None:
        truncate(path)
    else:
        path.write_bytes(content)
    wanted.unlink()
    run = finished_copy.snakemake(f"results/{target}")
    check_refusal(run, *words)
    assert not wanted.exists()
    check_nothing_half_made(finished_copy)
