"""The smallest and the largest: one item, one token, a chunk larger than its split, paths."""

import itertools
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from snakesteer.config import Config, EvaluationConfig, Section
from snakesteer.config.layers import resolve_layers
from snakesteer.config.load import load_config
from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.errors import UserError
from snakesteer.evaluation.answers import Answer
from snakesteer.evaluation.paired import compare_paired
from snakesteer.steering.residual import ResidualSteering
from tests.fake_search import PROBLEMS, check_finished, make_inputs, read_trials, start
from tests.loaded_models import direction, loaded_model, prompt_ids
from tests.tiny_models import CONTEXT

UNSET = "the environment variable 'GONE' is not set"
# What a config says → words of the refusal.
BAD_LIMITS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "answers of 0 tokens": (
        {"generation": {"max_new_tokens": 0}},
        ("generation.max_new_tokens = 0", "greater than or equal to 1"),
    ),
    "answers of a million tokens": (
        {"generation": {"max_new_tokens": 1_000_000}},
        ("generation.max_new_tokens", "less than or equal to 8192"),
    ),
    "no test problem": ({"data": {"test": 0}}, ("data.test = 0",)),
    "one validation problem": (
        {"data": {"val": 1}},
        ("data.val is 1, fewer than pairs.min_pairs", "Raise data.val"),
    ),
    "one train problem": ({"data": {"train": 1}}, ("data.train is 1", "Raise data.train")),
    "no trial": ({"search": {"n_trials": 0}}, ("search.n_trials = 0",)),
    "chunks of nothing": ({"search": {"chunk_size": 0}}, ("search.chunk_size = 0",)),
    "no worker": ({"search": {"workers": 0}}, ("search.workers = 0",)),
    "no slot": ({"engine": {"slots": 0}}, ("engine.slots = 0",)),
    "the answer among the question's fields": (
        {"data": {"question_fields": ["question", "answer"]}},
        ("data.question_fields names 'answer'", "Leave it out"),
    ),
    "no question field": ({"data": {"question_fields": []}}, ("data.question_fields = []",)),
    "a task with a slash": ({"data": {"task": "a/b"}}, ('data.task = "a/b"', "should match")),
    "an unknown quantisation": ({"model": {"quantization": "int3"}}, ("model.quantization",)),
    "braces in results": ({"results": "a{b}"}, ("results is 'a{b}'", "Rename the folder")),
    "braces in a model's path": ({"model": {"name": "./{m}"}}, ("model.name is './{m}'",)),
    "braces in the data's path": (
        {"data": {"source": "folder", "folder": "{d}"}},
        ("data.folder is '{d}'", "Rename the folder"),
    ),
    "an unset variable in results": ({"results": "$GONE/r"}, ("results is '$GONE/r'", UNSET)),
    "an unset variable in the model's path": (
        {"model": {"name": "${GONE}/m"}},
        ("model.name is '${GONE}/m'", UNSET),
    ),
    "an unset variable in the data's path": (
        {"data": {"source": "folder", "folder": "~/$GONE"}},
        ("data.folder is '~/$GONE'", UNSET),
    ),
    "an unset variable in a GGUF file's name": (
        {"model": {"name": "./m", "gguf_file": "$GONE.gguf"}},
        ("model.gguf_file is '$GONE.gguf'", UNSET),
    ),
    "an unset variable in the path of vectors": (
        {"steering": {"directions": ["file"], "vector_file": "$GONE/{layer}.gguf"}},
        ("steering.vector_file is '$GONE/{layer}.gguf'", UNSET),
    ),
    "an unset variable in the ledger's path": (
        {"evaluation": {"ledger": "$GONE/reads"}},
        ("evaluation.ledger is '$GONE/reads'", UNSET),
    ),
    "an unset variable in the folder of tasks": (
        {"off_target": {"harness_folder": "$GONE/tasks"}},
        ("off_target.harness_folder is '$GONE/tasks'", UNSET),
    ),
    "the home of nobody": (
        {"results": "~nobody-of-this-name/r"},
        ("results is '~nobody-of-this-name/r'", "no user of that name"),
    ),
    "results in a file": ({"results": f"{__file__}/x"}, ("is not a folder", "another folder")),
    "results that are a file": ({"results": __file__}, ("is not a folder", "another folder")),
}


@pytest.mark.parametrize("name", BAD_LIMITS)
def test_limits_of_the_config(name: str):
    values, said = BAD_LIMITS[name]
    with pytest.raises(UserError) as error:
        load_config(values)
    assert [word for word in said if word not in str(error.value)] == [], error.value


BAD_LAYERS = {
    "a layer behind the last": [0, 30],
    "a range behind the last": "28-30",
    "a negative layer": [-1],
    "a range turned round": "8-4",
    "a range of a million": "0-1000000",
    "a fraction above 1": [1.5],
}


@pytest.mark.parametrize("name", BAD_LAYERS)
def test_layers_out_of_range(name: str):
    with pytest.raises(UserError, match="layer") as error:
        resolve_layers(load_config({"steering": {"layers": BAD_LAYERS[name]}}).steering.layers, 30)
    assert error.value.remedy


def test_home_and_variables_are_written_out_in_every_path(monkeypatch, tmp_path):
    """So they are recorded: what a variable says elsewhere changes no record."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DATA", "/data sets")
    config = load_config(
        {
            "results": "~/runs/${DATA}",
            "model": {"name": "$HOME/m", "gguf_file": "$DATA.gguf"},
            "data": {"source": "folder", "folder": "$DATA/gsm8k"},
            "steering": {"directions": ["file"], "vector_file": "${DATA}/{layer}.gguf"},
            "evaluation": {"ledger": "~/reads"},
            "off_target": {
                "task_file": "$DATA/facts.jsonl",
                "harness_tasks": ["facts"],
                "harness_folder": "~/tasks",
            },
        }
    )
    assert config.results == f"{tmp_path}/runs//data sets"
    assert (config.model.name, config.model.gguf_file) == (f"{tmp_path}/m", "/data sets.gguf")
    assert config.data.folder == "/data sets/gsm8k"
    assert config.steering.vector_file == "/data sets/{layer}.gguf"
    assert config.evaluation.ledger == f"{tmp_path}/reads"
    assert config.off_target.task_file == "/data sets/facts.jsonl"
    assert config.off_target.harness_folder == f"{tmp_path}/tasks"
    assert load_config(config.model_dump()) == config


def test_every_path_key_is_among_them():
    """Descriptions of such keys begin with what they name."""
    written_out = {"results", "model.name", "model.gguf_file", "data.folder"}
    written_out |= {"steering.vector_file", "evaluation.ledger", "off_target.harness_folder"}
    found = {
        key if section is None else f"{section}.{key}"
        for section, fields in _sections()
        for key, field in fields.items()
        if re.match(r"(hub id, )?(gguf )?(folder|file|path)\b", (field.description or "").lower())
    }
    assert found == written_out


def _sections() -> Iterator[tuple[str | None, dict[str, Any]]]:
    yield None, {key: f for key, f in Config.model_fields.items() if f.annotation is str}
    for name, section in Config():
        if isinstance(section, Section):
            yield name, dict(type(section).model_fields)


def test_paths_with_blanks_and_letters_of_other_scripts_are_fine(tmp_path: Path):
    for name in ("a b", "Möbel", "数据", "a'b", 'a"b', "a#b", "a%b", "$(HOME)", "5$", "a;b", "-a"):
        assert load_config({"results": f"{tmp_path}/{name}"}).results == f"{tmp_path}/{name}"


@pytest.mark.parametrize(("before", "after"), itertools.product([False, True], repeat=2))
def test_one_test_problem_proves_nothing(before: bool, after: bool):
    runs = [
        [[Answer("p", right, False, right, "1" if right else None, "1", "eos", 5, 2)]]
        for right in (before, after)
    ]
    found = compare_paired(*runs, EvaluationConfig(bootstrap_resamples=200))
    assert found["verdict"] == "inconclusive"
    assert found["mcnemar"]["p_value"] == 1.0
    low, high = found["baseline_benchmark_metrics"]["accuracy_ci"]
    assert 0 <= low <= before <= high <= 1
    assert all(math.isfinite(value) for value in found["accuracy_improvement_ci"])


def test_a_chunk_larger_than_the_validation_split(tmp_path: Path):
    inputs = make_inputs(tmp_path, n_trials=6, chunk_size=10 * PROBLEMS)
    journal = tmp_path / "study" / "journal.log"
    process = start(inputs, journal, pause=0.0)
    process.join(60)
    assert process.exitcode == 0
    trials = read_trials(journal)
    check_finished(trials, 6)
    assert {len(trial.user_attrs["accuracy_by_chunk"]) for trial in trials} == {1}


def test_one_token_to_a_full_context():
    """An answer of one token is the first of a longer one; a prompt may leave room for one."""
    steerings = (
        None,
        ResidualSteering(1, direction(), 1.5),
        ResidualSteering(1, direction(), 1.5, "all"),
    )
    for engine in (
        ReferenceEngine(loaded_model("llama"), Decoding(), 4),
        SlotsEngine(loaded_model("llama"), Decoding(), 8),
    ):
        for steering in steerings:
            prompts = [*prompt_ids(), (7,) * (CONTEXT - 2)]
            one = engine.generate([Request(prompt, 1, steering) for prompt in prompts])
            two = engine.generate([Request(prompt, 2, steering) for prompt in prompts])
            assert [a.token_ids for a in one] == [a.token_ids[:1] for a in two]
            assert {answer.num_tokens for answer in one} == {1}
