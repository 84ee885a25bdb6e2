"""A search with a model in which one vector helps and breaks other text, and one only helps."""

import json

import pytest
import torch

from snakesteer.config import (
    EvaluationConfig,
    GenerationConfig,
    PromptConfig,
    SearchConfig,
    SteeringConfig,
)
from snakesteer.config.params import leaves
from snakesteer.data.neutral import read_passages
from snakesteer.data.problem import write_problems
from snakesteer.data.prompts import Prompter
from snakesteer.data.rows import problem_from_row
from snakesteer.engine.interface import Decoding
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.evaluation.answers import answer_all, write_answers
from snakesteer.evaluation.off_target import neutral_record, text_costs
from snakesteer.evaluation.token_kl import neutral_kl, neutral_texts
from snakesteer.records.code_files import PACKAGE
from snakesteer.records.files import write_json
from snakesteer.search.best import best_config
from snakesteer.search.run import SearchInputs, search
from snakesteer.search.selection import Rules
from snakesteer.search.tables import collect
from snakesteer.steering.build import steering_of
from snakesteer.steering.candidate import candidate_from_params
from snakesteer.steering.vector import Vector, read_vectors, write_vector
from tests.loaded_models import as_loaded
from tests.planted import HIDDEN, LAYER, RESOLVE, planted_model, planted_rows, token
from tests.tiny_models import tiny_tokenizer

CLEAN = 30  # an axis of its own
ASSETS = PACKAGE / "data" / "assets"
PROMPT = PromptConfig(template="{question}", answer_template="{answer}", shots=0)
PROMPTER = Prompter(PROMPT, (), tiny_tokenizer())
GENERATION = GenerationConfig(max_new_tokens=3)
PROBLEMS = [problem_from_row(row, f"p{n}") for n, row in enumerate(planted_rows()[:24])]
STEERING = SteeringConfig(
    methods=["caa"], directions=["caa", "probe"], layers=[LAYER], strength=(-0.3, 0.3)
)
GRID = {"sampler": "grid", "grid_points": 5, "n_trials": 9, "chunk_size": 12, "pruner": "none"}


@torch.no_grad()
def model_with_a_flaw():
    """Resolve says ``~`` where it is all there is; one more axis helps half as much and does not.

    Layer normalisation makes whatever is added to other text all there is of it.
    """
    model = planted_model("helps")
    model.lm_head.weight[token("~"), RESOLVE] = 1.0
    model.lm_head.weight[token("0"), CLEAN] = -0.5
    return as_loaded(model)


@pytest.fixture(scope="module")
def loaded():
    return model_with_a_flaw()


@pytest.fixture
def searched(loaded, tmp_path):
    """A function that runs a search, and gives what it chose with what it costs elsewhere."""

    def run(**changes):
        engine = SlotsEngine(loaded, Decoding(), 8)
        settings = SearchConfig(**GRID, **changes)
        write_problems(tmp_path / "val.jsonl", PROBLEMS)
        [baseline] = answer_all(engine, PROMPTER, PROBLEMS, [None], GENERATION)
        write_answers(tmp_path / "baseline.jsonl", baseline)
        files = []
        for direction, axis in (("caa", RESOLVE), ("probe", CLEAN)):
            raw = torch.zeros(HIDDEN)
            raw[axis] = 1.0
            files.append(str(tmp_path / direction / f"layer_{LAYER}.safetensors"))
            write_vector(files[-1], Vector(direction, LAYER, raw.numpy(), 1.0), {})
        inputs = SearchInputs(
            *(str(tmp_path / name) for name in ("val.jsonl", "baseline.jsonl")),
            vectors=tuple(files),
            others=(),
            layers=(LAYER,),
            params={
                **leaves("search", settings),
                **leaves("steering", STEERING),
                **leaves("generation", GENERATION),
            },
        )
        journal, done = tmp_path / "journal.log", tmp_path / "worker_0.json"
        kl = neutral_kl(loaded, PROMPTER, [ASSETS / "neutral_search.txt"])
        search(inputs, PROMPTER, engine, 8, journal, 0, done, lambda: None, kl)
        db, probe = tmp_path / "study.db", tmp_path / f"layer_{LAYER}.json"
        collect(journal, [str(done)], 9, db, tmp_path / "trials.csv")
        write_json(probe, {"layer": LAYER})
        budget = settings.kl_budget if settings.weighs_kl else None
        rules = Rules(one_standard_error=True, max_t=True, level=0.05, kl_budget=budget)
        best = best_config(db, baseline, [probe], 0, 9, rules)
        chosen = candidate_from_params(best["best_trial_params"])
        reported = neutral_texts(PROMPTER, read_passages(ASSETS / "neutral.txt"), None)
        costs = text_costs(loaded, reported, steering_of(chosen, read_vectors(files)))
        return best, neutral_record(costs, EvaluationConfig(bootstrap_resamples=200))

    return run


def test_accuracy_alone_takes_what_breaks_other_text_and_that_is_shown(searched):
    best, elsewhere = searched()
    assert best["best_trial_params"]["steering_direction"] == "caa"
    assert best["best_trial_params"]["steering_dose"] == pytest.approx(0.15)
    assert best["best_validation_score"] == 1.0
    assert "kl" not in best
    assert elsewhere["kl"]["ci"][0] > 1.0  # nats a token
    assert elsewhere["perplexity_ratio"]["ci"][0] > 10.0


def test_the_budget_avoids_it(searched):
    best, elsewhere = searched(objectives=["accuracy", "kl"], kl_budget=0.2)
    assert best["recommendation"] == "steer"
    assert best["best_trial_params"]["steering_direction"] == "probe"
    assert best["best_trial_params"]["steering_dose"] == pytest.approx(0.3)
    assert best["best_validation_score"] == 1.0
    # The harmful direction at all strengths, and the other one where it turns answers to "0".
    assert best["kl"]["over_budget"] == 6
    assert best["trials"] == {"COMPLETE": 3, "PRUNED": 6}
    assert 0.0 < best["kl"]["tested"] < 0.2
    assert best["kl"]["front"] == sorted([0, best["trial"]])
    assert elsewhere["kl"]["ci"][1] < 0.2
    assert elsewhere["perplexity_ratio"]["ci"][1] < 1.2
    json.dumps(best, allow_nan=False)
