"""The final comparison, by hand and with a tiny model whose steering has a real effect."""

import dataclasses
from unittest.mock import ANY

import numpy as np
import pytest
import torch

from snakesteer.config import EvaluationConfig, GenerationConfig, PairsConfig, PromptConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.engine.interface import Decoding
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.engine.stopping import StopRule
from snakesteer.errors import UserError
from snakesteer.evaluation.answers import summary
from snakesteer.evaluation.final import (
    Best,
    evaluate_test,
    probe_on_test,
    read_best,
    read_generations,
)
from snakesteer.evaluation.ledger import Ledger
from snakesteer.records.files import write_json, write_jsonl
from snakesteer.records.ledger import read_ledger
from snakesteer.steering.candidate import Candidate
from snakesteer.steering.residual import ResidualSteering
from snakesteer.steering.vector import HeadVector, Vector, write_head_vector, write_vector
from snakesteer.vectors.capture import capture
from snakesteer.vectors.pairs import gold_vs_corrupted
from snakesteer.vectors.probes import Probe, write_probe
from snakesteer.vectors.reads import texts_of_pairs
from snakesteer.vectors.token_means import TokenEffects
from tests.loaded_models import loaded_model
from tests.tiny_models import HIDDEN, tiny_tokenizer

LAYER = 3
EVALUATION = EvaluationConfig(bootstrap_resamples=2000)
GENERATION = GenerationConfig(max_new_tokens=4)
GREEDY = Decoding()
PROMPTER = Prompter(PromptConfig(shots=0), (), tiny_tokenizer())
# "7" is what steering makes the model say.
PROBLEMS = [
    Problem(f"p{n}", f"{n}+2?", f"So {n}+2 = <<{n}+2={n + 2}>>{n + 2}\n#### {n + 2}", "7777")
    for n in range(3, 11)
]


@pytest.fixture(autouse=True)
def answers_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model never ends by itself, and an answer cut at the limit would be none."""
    real = StopRule.generation
    monkeypatch.setattr(
        StopRule, "generation", lambda rule, ids, finish, *more: real(rule, ids, "stop", *more)
    )


@pytest.fixture
def files(tmp_path):
    """Vectors and probes; the vector is the direction that makes the model say "7"."""
    loaded = loaded_model("llama")
    [seven] = PROMPTER.tokenizer("7")["input_ids"]
    raw = loaded.model.get_output_embeddings().weight[seven].detach().numpy()
    vector = Vector("caa", LAYER, np.ascontiguousarray(raw), 10.0)
    vectors = [str(tmp_path / "vectors" / "caa" / f"layer_{LAYER}.safetensors")]
    write_vector(vectors[0], vector, {})
    probes = [str(tmp_path / "probes" / f"layer_{LAYER}.safetensors")]
    weight = np.random.default_rng(0).normal(size=HIDDEN).astype(np.float32)
    write_probe(probes[0], Probe(weight, 0.5), {})
    return tmp_path, vectors, probes


def best_of(files, alpha, **more):
    folder, vectors, probes = files
    params = {
        "steering_method": "caa",
        "steering_direction": "caa",
        "layer_id": LAYER,
        "steering_alpha": alpha,
        "steering_dose": alpha / 10,
        "scope": "from_last_prompt_token",
        **more,
    }
    record = {
        "best_trial_params": params,
        "best_validation_score": 0.6,
        "baseline_validation_score": 0.5,
        "recommendation": "leave alone",
        "why": "because",
    }
    write_json(folder / "best.json", record)
    return read_best(folder / "best.json", vectors, probes)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger.jsonl", "results/a", "tiny", {"files": {}})


@pytest.fixture
def evaluated(ledger):
    def run(best, decoding=GREEDY, generation=GENERATION, evaluation=EVALUATION):
        loaded = loaded_model("llama")
        engine = ReferenceEngine(loaded, decoding, 4)
        pairs = PairsConfig()
        return evaluate_test(
            *(loaded, engine, PROMPTER, PROBLEMS, best, generation, pairs, evaluation, "sums"),
            *({"accuracy": 0.9, "correct": 18, "total_samples": 20}, "train"),
            ledger,
        )

    return run


def test_steering_that_works_is_found(files, evaluated):
    best = best_of(files, alpha=1000.0)
    results, rows = evaluated(best)
    assert results["best_trial_params"]["steering_alpha"] == 1000.0
    assert (results["best_validation_score"], results["num_test_samples"]) == (0.6, 8)
    assert results["baseline_benchmark_metrics"]["accuracy"] == 0.0
    assert results["steered_benchmark_metrics"]["accuracy"] == 1.0
    for name in ("baseline", "steered"):
        assert results[f"{name}_benchmark_metrics"]["task_name"] == "sums"
        assert results[f"{name}_benchmark_metrics"]["math_verify_agreement"] == 1.0
    assert results["accuracy_improvement"] == 1.0
    assert results["mcnemar"] == {"gained": 8, "lost": 0, "p_value": pytest.approx(2 / 2**8)}
    # Too few problems for several groups; read from the marks, which the prompts do not show.
    assert results["by_steps"] == [
        {
            **{"steps": "1", "n": 8, "baseline_accuracy": 0.0, "steered_accuracy": 1.0},
            **{"gained": 8, "lost": 0},
        }
    ]
    assert results["verdict"] == "helps"
    origins = results["origins"]
    assert origins["validation"]["accuracy"] == 0.9
    assert origins["test"] == {"from": "test", "n": 8, "accuracy": 0.0, "ci": [0.0, ANY]}
    assert origins["difference"] == 0.9
    assert origins["p_value"] < 0.001
    assert results["shrinkage"] == pytest.approx(0.1 - 1.0)  # validation said less, for once
    assert 0.7 < results["minimum_detectable_effect"] < 1.0
    assert results["recommendation"] == "leave alone"
    assert [row["id"] for row in rows] == [problem.id for problem in PROBLEMS]
    for row, problem in zip(rows, PROBLEMS, strict=True):
        assert row["prompt"] == f"Question: {problem.question}\nAnswer:"
        assert row["prompt_tokens"] == len(PROMPTER.ids(problem.question))
        assert (row["steered_text"], row["steered_extracted"]) == ("7777", "7777")
        assert (row["steered_finish"], row["steered_new_tokens"]) == ("stop", 4)
        assert row["baseline_text"] != row["steered_text"]
        assert (row["baseline_correct"], row["steered_correct"]) == (False, True)


def test_a_configuration_that_does_not_steer_is_refused(files):
    with pytest.raises(UserError, match="does not steer"):
        best_of(files, alpha=0.0)


def test_the_delivered_dose_is_told(files, evaluated, tmp_path):
    constant, plain_rows = evaluated(best_of(files, alpha=-30.0))
    assert constant["delivered_dose"] == 3.0
    assert "mean_alpha_t" not in constant
    dac = {"entropy_threshold": 0.0, "ptop": 0.9, "max_alpha": 0.5, "probe_alpha": -60.0}
    best = best_of(files, alpha=-30.0, steering_method="dac", scope="dynamic", **dac)
    results, rows = evaluated(best)
    means = [row["steered_alpha_t"] for row in rows]
    tokens = [row["steered_new_tokens"] for row in rows]
    assert len(set(means)) > 1
    assert all(0.0 < mean <= 0.5 for mean in means)
    assert results["mean_alpha_t"] == pytest.approx(np.average(means, weights=tokens))
    assert results["delivered_dose"] == pytest.approx(3.0 * results["mean_alpha_t"])
    assert not any("steered_alpha_t" in row for row in plain_rows)
    write_jsonl(tmp_path / "g.jsonl", rows)
    [read] = read_generations(tmp_path / "g.jsonl", "steered")
    assert [answer.alpha_t for answer in read] == means
    [read] = read_generations(tmp_path / "g.jsonl", "baseline")
    assert {answer.alpha_t for answer in read} == {None}


def test_every_evaluation_is_a_read(files, evaluated, ledger):
    first, _ = evaluated(best_of(files, alpha=1000.0))
    again, _ = evaluated(best_of(files, alpha=1000.0))
    other, _ = evaluated(best_of(files, alpha=-900.0))
    counts = [result["test_reads"]["final"] for result in (first, again, other)]
    assert counts == [
        {"reads": reads, "configurations": configurations}
        for reads, configurations in ((1, 1), (2, 1), (3, 2))
    ]
    reads, _ = read_ledger(ledger.path)
    assert [(read.purpose, read.problems, read.samples) for read in reads] == [("final", 8, 1)] * 3
    assert reads[0].description == "tiny: caa, direction caa, layer 3, α = 1e+03, scope " + (
        "from_last_prompt_token"
    )
    assert "α = -900" in reads[2].description


def test_an_evaluation_that_fails_is_no_read(files, ledger):
    best = best_of(files, alpha=1000.0)
    asked = []

    class Failing(ReferenceEngine):
        def _generate_batch(self, requests):
            asked.extend(requests)
            if requests[0].steering is not None:
                raise MemoryError
            return super()._generate_batch(requests)

    loaded = loaded_model("llama")
    with pytest.raises(MemoryError):
        evaluate_test(
            *(loaded, Failing(loaded, GREEDY, 4), PROMPTER, PROBLEMS, best, GENERATION),
            *(PairsConfig(), EVALUATION, "sums"),
            *({"accuracy": 0.9, "correct": 18, "total_samples": 20}, "train", ledger),
        )
    assert len(asked) == 8 + 4
    assert not ledger.path.exists()


def test_several_samples_are_told_and_read_back(files, evaluated, tmp_path):
    results, rows = evaluated(
        best_of(files, alpha=1000.0),
        Decoding(temperature=1.0),
        GenerationConfig(max_new_tokens=4, do_sample=True, temperature=1.0),
        EVALUATION.model_copy(update={"samples": 3}),
    )
    assert results["seeds"]["samples"] == 3
    assert results["seeds"]["steered"] == [1.0] * 3
    assert results["baseline_benchmark_metrics"]["total_samples"] == 24
    assert [(row["sample"], row["id"]) for row in rows] == [
        (sample, problem.id) for sample in range(3) for problem in PROBLEMS
    ]
    texts = [row["baseline_text"] for row in rows]
    assert len(set(texts)) > len(PROBLEMS)  # each sample has random streams of its own
    write_jsonl(tmp_path / "generations.jsonl", rows)
    for name in ("baseline", "steered"):
        samples = read_generations(tmp_path / "generations.jsonl", name)
        assert [[a.text for a in sample] for sample in samples] == [
            [row[f"{name}_text"] for row in rows[start : start + 8]] for start in (0, 8, 16)
        ]
        assert summary([a for sample in samples for a in sample]).items() <= (
            results[f"{name}_benchmark_metrics"].items()
        )


def test_damaged_generations_are_explained(tmp_path):
    write_jsonl(tmp_path / "g.jsonl", [{"id": "p"}])
    with pytest.raises(UserError, match="baseline_text"):
        read_generations(tmp_path / "g.jsonl", "baseline")


def test_the_named_vector_and_probe_are_taken(files):
    _, vectors, probes = files
    best = best_of(
        (files[0], ["x/probe/layer_3.safetensors", *vectors], ["x/layer_13.safetensors", *probes]),
        alpha=2.0,
    )
    assert (best.steering.layer, best.steering.alpha) == (LAYER, 2.0)
    assert best.probe.bias == 0.5
    norm = torch.linalg.vector_norm(best.steering.vector)
    assert 0.0 < float(norm) < 1000.0


def test_the_probe_is_scored_with_its_labels_in_order():
    loaded, config = loaded_model("llama"), PairsConfig(read="last_token")
    rng = np.random.default_rng(0)
    probe = Probe(rng.normal(size=HIDDEN).astype(np.float32), 0.0)
    found = probe_on_test(loaded, PROMPTER, PROBLEMS, config, best_with(probe))
    mirrored = Probe(-probe.weight, 0.0)
    opposite = probe_on_test(loaded, PROMPTER, PROBLEMS, config, best_with(mirrored))
    assert found["pairs"] == 8
    assert found["pair_kind"] == "gold_vs_corrupted"
    assert found["auc"] + opposite["auc"] == pytest.approx(1.0)
    assert found["auc"] == pytest.approx(slow_auc(loaded, config, probe))
    assert found["auc"] != pytest.approx(0.5)


def best_with(probe, token_effects=None):
    candidate = Candidate("caa", "caa", LAYER, 0.0, 0.0, "from_last_prompt_token")
    steering = ResidualSteering(LAYER, torch.ones(HIDDEN), 1.0)
    return Best({}, candidate, steering, probe, token_effects)


def test_what_was_taken_off_the_probes_activations_is_taken_off_on_test_too():
    loaded, config = loaded_model("llama"), PairsConfig(read="first_difference")
    rng = np.random.default_rng(0)
    probe = Probe(rng.normal(size=HIDDEN).astype(np.float32), 0.0)
    [five] = PROMPTER.tokenizer("5")["input_ids"]
    effect = 20 * probe.weight[None]
    best = best_with(probe, TokenEffects((five,), effect))
    found = probe_on_test(loaded, PROMPTER, PROBLEMS, config, best)

    def taken_off(pair, side):
        text = pair.texts[side]
        return effect[0] * (text.token_ids[text.read[0]] == five)

    assert found["auc"] == pytest.approx(slow_auc(loaded, config, probe, taken_off))
    assert found["auc"] != pytest.approx(slow_auc(loaded, config, probe))


def test_a_probe_of_two_instructions_is_scored_on_them():
    config = PairsConfig(kind="prompt_contrast", read="last_prompt_token")
    probe = Probe(np.ones(HIDDEN, dtype=np.float32), 0.0)
    loaded = loaded_model("llama")
    found = probe_on_test(loaded, PROMPTER, PROBLEMS, config, best_with(probe))
    assert (found["pairs"], found["pair_kind"]) == (8, "prompt_contrast")
    assert 0.0 <= found["auc"] <= 1.0


def test_where_no_pair_can_be_read_there_is_no_score():
    bare = [dataclasses.replace(p, answer=f"#### {p.gold}") for p in PROBLEMS]
    probe = Probe(np.ones(HIDDEN, dtype=np.float32), 0.0)
    loaded = loaded_model("llama")
    found = probe_on_test(loaded, PROMPTER, bare, PairsConfig(), best_with(probe))
    assert found == {"pairs": 0, "pair_kind": "gold_vs_corrupted"}


def slow_auc(loaded, config, probe, taken_off=lambda pair, side: 0.0):
    """Share of (right, wrong) pairs of texts that the probe puts in order."""
    pairs = texts_of_pairs(PROMPTER, gold_vs_corrupted(PROBLEMS, config.seed), config.read)
    scores = []
    for side in (0, 1):
        scores.append([])
        for pair in pairs:
            [(_, found)] = capture(loaded, [pair.texts[side]], [LAYER])
            [output] = found[LAYER].activation.numpy()
            scores[side].append(float((output - taken_off(pair, side)) @ probe.weight))
    return np.mean([right > wrong for right in scores[0] for wrong in scores[1]])


def test_problems_that_cannot_be_corrupted_are_left_out_of_the_probe():
    loaded = loaded_model("llama")
    odd = dataclasses.replace(PROBLEMS[0], id="odd", answer="Nothing to change. #### many")
    probe = Probe(np.ones(HIDDEN, dtype=np.float32), 0.0)
    found = probe_on_test(loaded, PROMPTER, [*PROBLEMS, odd], PairsConfig(), best_with(probe))
    assert found["pairs"] == 8


def test_attention_heads_are_read_from_their_file(files, evaluated):
    folder, vectors, probes = files
    delta = np.random.default_rng(0).normal(size=(2, 4, HIDDEN)).astype(np.float32)
    path = folder / "heads" / "dac_heads.safetensors"
    write_head_vector(path, HeadVector("dac_heads", delta, np.ones(4, np.float32)), {})
    params = {
        "steering_method": "dac_heads",
        "steering_direction": "dac_heads",
        "layer_id": LAYER,
        "steering_alpha": 3.0,
        "steering_dose": 0.4,
        "scope": "diminishing",
        "heads_after": "mean",
    }
    record = {
        "best_trial_params": params,
        "best_validation_score": 0.6,
        "baseline_validation_score": 0.5,
        "recommendation": "leave alone",
        "why": "because",
    }
    write_json(folder / "best.json", record)
    best = read_best(folder / "best.json", [*vectors, str(path)], probes)
    assert (best.steering.alpha, best.steering.schedule) == (3.0, "diminishing")
    assert torch.equal(best.steering.delta, torch.from_numpy(delta))
    assert best.probe.bias == 0.5
    _, rows = evaluated(best)
    assert any(row["baseline_text"] != row["steered_text"] for row in rows)
