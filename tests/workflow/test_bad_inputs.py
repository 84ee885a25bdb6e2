"""Bad configs, data, models and files: a clear paragraph, a failed run, and no half-made file."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.conftest import Finished
from tests.workflow.project import Project, Run, problem_rows

pytestmark = pytest.mark.workflow


def check_refusal(run: Run, *words: str) -> None:
    """The run failed, and one paragraph names what is wrong and what to do."""
    assert run.code != 0, run.text
    text = re.sub(r"\s+", " ", run.text)
    assert [word for word in words if word not in text] == [], run.text
    assert "Traceback (most recent call last)" not in text, run.text


# Overlay → what is said: key or value, and remedy.
BAD_CONFIGS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "unknown section": ({"serch": {}}, ("serch is not a known key", "Did you mean 'search'?")),
    "unknown key": ({"search": {"ntrials": 3}}, ("search.ntrials", "Did you mean 'n_trials'?")),
    "section as a text": ({"model": "gpt2"}, ('model = "gpt2"', "must hold keys of its own")),
    "wrong type": ({"search": {"n_trials": "many"}}, ('search.n_trials = "many"', "Default: 8")),
    "fraction of a trial": ({"search": {"n_trials": 2.5}}, ("search.n_trials = 2.5", "Default: 8")),
    "out of range": (
        {"generation": {"temperature": 3}},
        ("generation.temperature = 3", "less than or equal to 2"),
    ),
    "not finite": ({"steering": {"strength": [0, float("inf")]}}, ("steering.strength", "finite")),
    "no methods": ({"steering": {"methods": []}}, ("steering.methods = []", "at least 1 item")),
    "unknown method": (
        {"steering": {"methods": ["cca"]}},
        ("steering.methods names 'cca'", "actadd, caa, dac"),
    ),
    "method twice": (
        {"steering": {"methods": ["caa", "caa"]}},
        ("names a value twice", "Name each once"),
    ),
    "no layers": ({"steering": {"layers": []}}, ("steering.layers is empty", "Write [8, 10]")),
    "layer beyond the model": (
        {"steering": {"layers": [1, 4]}},
        ("layer 4, but the model has 4 layers (0 to 3)", "Use layers up to 3"),
    ),
    "fractions of nothing known": (
        {"model": {"name": "some/model"}, "steering": {"layers": [0.5]}},
        ("steering.layers holds fractions", "Set model.num_layers"),
    ),
    "sampling at 0": (
        {"generation": {"do_sample": True}},
        ("do_sample is true but generation.temperature is 0", "Set a temperature above 0"),
    ),
    "ignored temperature": (
        {"generation": {"temperature": 0.7}},
        ("generation.do_sample is false", "Set do_sample: true"),
    ),
    "0 left out": (
        {"steering": {"strength": [0.1, 0.3]}},
        ("leaves out 0", "Let the range include 0"),
    ),
    "range turned": (
        {"steering": {"dac_ptop": [0.8, 0.2]}},
        ("steering.dac_ptop is [0.8, 0.2]", "Write it as [low, high]"),
    ),
    "first_k without k": (
        {"steering": {"scope": "first_k"}},
        ("first_k goes with scope", "Set both or neither"),
    ),
    "no placeholder": (
        {"prompt": {"template": "Solve this:"}},
        ("prompt.template is 'Solve this:'", "Write for example"),
    ),
    "no folder named": (
        {"data": {"folder": None}},
        ("data.folder is missing", "Set data.folder to a folder"),
    ),
    "folder not there": (
        {"data": {"folder": "nowhere"}},
        ("nowhere/train.jsonl is not a file", "correct data.folder"),
    ),
    "second task not there": (
        {"off_target": {"task_file": "facts.jsonl"}},
        ("off_target.task_file is 'facts.jsonl', which is not a file", "Correct the path"),
    ),
    "ledger of test reads inside the results": (
        {"evaluation": {"ledger": "results/test_ledger"}},
        ("evaluation.ledger is 'results/test_ledger'", "Name a folder outside"),
    ),
    "fewer problems than shots and pairs": (
        {"data": {"train": 4}},
        ("data.train is 4", "Raise data.train"),
    ),
}


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_bad_configs_stop_before_anything_is_done(fresh: Project, name: str):
    overlay, words = BAD_CONFIGS[name]
    check_refusal(fresh.snakemake("-n", overlay=overlay), *words)
    assert not fresh.results.exists()


def test_another_folder_that_is_not_there_is_refused_where_all_is_finished(finished: Finished):
    run = finished.project.snakemake("-n", overlay={"data": {"folder": "nowhere"}})
    check_refusal(run, "nowhere/train.jsonl is not a file", "correct data.folder")


def rows_with(index: int, row: Any) -> str:
    """A data file whose row of that index is another one."""
    lines = [json.dumps(row) for row in problem_rows()[:40]]
    lines[index] = row if isinstance(row, str) else json.dumps(row)
    return "\n".join(lines) + "\n"


QUESTION = {"question": "How many?"}
BAD_DATA: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "no answer": (
        rows_with(2, QUESTION).encode(),
        ("problems/train.jsonl, line 3: 'answer' is missing", "remove the row"),
    ),
    "no final mark": (
        rows_with(3, QUESTION | {"answer": "It is 7."}).encode(),
        ("line 4: no #### in the answer", "End the answer with a line '#### '"),
    ),
    "no number": (
        rows_with(4, QUESTION | {"answer": "#### seven"}).encode(),
        ("line 5: no number after ####", "one number"),
    ),
    "not JSON": (
        rows_with(5, "{'question': 1}").encode(),
        ("line 6: not JSON", "Every line must be one JSON object"),
    ),
    "not an object": (
        rows_with(6, [1]).encode(),
        ("line 7: a JSON list", "Every line must be one JSON object"),
    ),
    "not UTF-8": (
        rows_with(0, QUESTION | {"answer": "ü"}).encode() + b'{"question": "\xfc"}\n',
        ("not UTF-8", "Save the file as UTF-8"),
    ),
    "empty": (b"", ("part has 0 problems", "use a larger source")),
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
    "config is no JSON": (
        lambda model: (model / "config.json").write_text("{"),
        "model/info.json",
        ("tiny model/config.json is not a JSON file",),
    ),
    "unknown architecture": (
        lambda model: (model / "config.json").write_text('{"model_type": "abacus"}'),
        "model/info.json",
        (NOT_LOADED, "abacus", "Check model.name"),
    ),
    "no folder content": (
        lambda model: [path.unlink() for path in model.iterdir()],
        "model/info.json",
        (NOT_LOADED, "a local folder needs config.json"),
    ),
    "truncated weights": (
        lambda model: truncate(model / "model.safetensors"),
        "baseline/val.jsonl",
        (NOT_LOADED, "SafetensorError", "complete weight files"),
    ),
    "no weights": (
        lambda model: (model / "model.safetensors").unlink(),
        "baseline/val.jsonl",
        (NOT_LOADED, "complete weight files"),
    ),
    "no tokenizer": (
        lambda model: [path.unlink() for path in model.glob("tokenizer*")],
        "baseline/val.jsonl",
        (NOT_LOADED, "the tokenizer"),
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


def test_a_model_that_is_not_there(fresh_copy: Project):
    overlay = {"model": {"name": "./no model"}}
    run = fresh_copy.snakemake("results/model/info.json", overlay=overlay)
    check_refusal(run, "'./no model', but there is no such folder", "Name a folder")
    check_nothing_half_made(fresh_copy, "model")


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
    "pairs": (
        "pairs/val.jsonl",
        b'{"id": "x", "question": "?"}\n',
        "activations/val/layer_1.h5",
        ("pairs/val.jsonl, line 1: not a contrast pair", "Delete the file"),
    ),
    "HDF5": (
        "activations/val/layer_1.h5",
        None,
        "probes/layer_1.json",
        ("activations/val/layer_1.h5 is not a readable activation file", *MADE_ANEW),
    ),
    "HDF5 without data": (
        "activations/train/layer_1.h5",
        b"",
        "probes/layer_1.json",
        ("activations/train/layer_1.h5 is not a readable activation file", *MADE_ANEW),
    ),
    "probe": (
        "probes/layer_1.safetensors",
        None,
        "vectors/probe/layer_1.safetensors",
        ("probes/layer_1.safetensors is not a readable file of weight and bias", *MADE_ANEW),
    ),
    "probe metrics": (
        "probes/layer_1.json",
        None,
        "best_config.json",
        ("probes/layer_1.json is not a JSON file", *MADE_ANEW),
    ),
    "vector": (
        "vectors/caa/layer_2.safetensors",
        None,
        "study/worker_0.json",
        ("vectors/caa/layer_2.safetensors is not a readable file of raw and unit", *MADE_ANEW),
    ),
    "answers": (
        "baseline/val.jsonl",
        b'{"id": "x"}\n',
        "best_config.json",
        ("baseline/val.jsonl is not a file of graded answers", *MADE_ANEW),
    ),
    "study": (
        "study/study.db",
        b"not a database",
        "best_config.json",
        ("study/study.db", "snakemake again"),
    ),
    "best config": (
        "best_config.json",
        None,
        "test_final.json",
        ("best_config.json is not a JSON file", *MADE_ANEW),
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
