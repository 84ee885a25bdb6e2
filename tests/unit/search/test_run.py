"""The whole search with a tiny model: what a study depends on, and what it leaves."""

import dataclasses
import json

import optuna
import pytest

from snakesteer.config import GenerationConfig, SearchConfig, SteeringConfig
from snakesteer.config.params import leaves
from snakesteer.data.problem import write_problems
from snakesteer.engine.interface import Decoding
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.errors import UserError
from snakesteer.evaluation.answers import answer_all, write_answers
from snakesteer.search.database import read_db
from snakesteer.search.journal import STUDY_NAME
from snakesteer.search.run import SearchInputs, search
from snakesteer.search.tables import collect
from snakesteer.steering.vector import Vector, write_vector
from tests.loaded_models import direction, loaded_model
from tests.unit.evaluation.test_final import PROBLEMS, PROMPTER

LAYERS = (1, 2)
GENERATION = GenerationConfig(max_new_tokens=4)
SEARCH = {"n_trials": 4, "chunk_size": 4, "trials_in_flight": 2}


def engine():
    return ReferenceEngine(loaded_model("llama"), Decoding(), 4)


def params(**changes):
    steering = SteeringConfig(methods=["caa", "dac"], directions=["caa"], layers=list(LAYERS))
    return {
        **leaves("search", SearchConfig(**{**SEARCH, **changes})),
        **leaves("steering", steering),
        **leaves("generation", GENERATION),
    }


@pytest.fixture
def inputs(tmp_path):
    folder = tmp_path / "in"
    write_problems(folder / "val.jsonl", PROBLEMS)
    [answers] = answer_all(engine(), PROMPTER, PROBLEMS, [None], GENERATION)
    write_answers(folder / "baseline.jsonl", answers)
    files = []
    for layer in LAYERS:
        files.append(str(folder / f"layer_{layer}.safetensors"))
        vector = Vector("caa", layer, direction(layer).numpy(), 10.0)
        write_vector(files[-1], vector, {})
    (folder / "code.py").write_text("1\n")
    return SearchInputs(
        problems=str(folder / "val.jsonl"),
        baseline=str(folder / "baseline.jsonl"),
        vectors=tuple(files),
        others=(str(folder / "code.py"),),
        layers=LAYERS,
        params=params(),
    )


def run(inputs, folder, check=lambda: None):
    search(
        inputs,
        PROMPTER,
        engine(),
        rows=8,
        journal=folder / "journal.log",
        worker=0,
        output=folder / "worker.json",
        check=check,
    )
    db = folder / "study.db"
    workers = [str(folder / "worker.json")]
    n_trials = inputs.params["search__n_trials"]
    collect(folder / "journal.log", workers, n_trials, db, folder / "trials.csv")
    return read_db(db)


def test_a_study_of_a_model(inputs, tmp_path):
    study = run(inputs, tmp_path / "a")
    assert study.study_name == STUDY_NAME
    assert len(study.trials) == 4
    assert study.trials[0].user_attrs["steering_alpha"] == 0.0
    assert study.trials[0].value == 0.0
    record = json.loads((tmp_path / "a" / "worker.json").read_text())
    steered = sum(t.user_attrs["new_tokens"] for t in study.trials[1:])
    assert record["new_tokens"] == steered > 0
    again = run(inputs, tmp_path / "b")
    assert [(t.params, t.values, t.user_attrs) for t in again.trials] == [
        (t.params, t.values, t.user_attrs) for t in study.trials
    ]
    optuna.load_study(study_name=STUDY_NAME, storage=f"sqlite:///{tmp_path / 'a' / 'study.db'}")


def test_a_study_that_has_more_trials_than_are_asked_for(inputs, tmp_path, caplog):
    study = run(inputs, tmp_path / "a")
    said = "The study has 4 finished trials, and search.n_trials asks for 3: all 4 were compared."
    assert said not in caplog.text
    fewer = dataclasses.replace(inputs, params=params(n_trials=3))
    again = run(fewer, tmp_path / "a")
    assert [trial.values for trial in again.trials] == [trial.values for trial in study.trials]
    assert said in caplog.text


def test_answers_that_do_not_compare_never_become_a_score(inputs, tmp_path):
    calls = []

    def differ():
        calls.append(len(calls))
        if len(calls) > 1:  # not yet when the search begins
            raise UserError("slots differ", "Start again.")

    with pytest.raises(UserError, match="slots differ"):
        run(inputs, tmp_path / "a", differ)
    assert not (tmp_path / "a" / "worker.json").exists()
    study = run(inputs, tmp_path / "a")
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE", "FAIL", "FAIL", *["COMPLETE"] * 3]  # no steering was answered
    assert study.trials[1].user_attrs["error"] == "UserError: slots differ. Start again."


def test_the_fingerprint_knows_settings_and_content_and_no_more(inputs):
    base = inputs.fingerprint()

    def fingerprint(**changes):
        return dataclasses.replace(inputs, **changes).fingerprint()

    assert fingerprint(params=params(n_trials=9)) == base
    assert fingerprint(params=params(seed=1)) != base
    assert fingerprint(params=params(pruner="none")) != base
    assert fingerprint(layers=(1,)) != base
    assert fingerprint(vectors=inputs.vectors[:1]) != base
    with open(inputs.others[0], "a") as file:
        file.write("2\n")
    assert inputs.fingerprint() != base
