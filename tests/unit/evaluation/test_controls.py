"""Controls: what they change and what they leave, and what they say where the truth is planted."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from snakesteer.config import EvaluationConfig, GenerationConfig, PairsConfig, PromptConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.engine.interface import Decoding
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.evaluation.answers import answer_all
from snakesteer.evaluation.control_tests import controls_record
from snakesteer.evaluation.controls import (
    answer_controls,
    control_rows,
    enter_controls,
    make_controls,
    random_like,
    shuffled_labels,
)
from snakesteer.evaluation.final import Best, evaluate_test, read_generations
from snakesteer.evaluation.ledger import Ledger
from snakesteer.records.files import write_jsonl
from snakesteer.records.ledger import read_ledger
from snakesteer.steering.build import steering_of
from snakesteer.steering.candidate import Candidate
from snakesteer.steering.dac import Dac
from snakesteer.steering.heads import HeadSteering
from snakesteer.steering.operators import apply_operator
from snakesteer.steering.residual import Place, ResidualSteering
from snakesteer.vectors.activations import TOKEN_ENTRY, Activations, read_activations
from snakesteer.vectors.capture import write_activations
from snakesteer.vectors.estimate import make_vector
from snakesteer.vectors.pairs import Pair
from snakesteer.vectors.probe_fits import fit_probe
from snakesteer.vectors.probes import Probe
from snakesteer.vectors.reads import texts_of_pairs
from tests.loaded_models import as_loaded, loaded_model
from tests.planted import HIDDEN, LAYER, is_right, planted_model, planted_rows
from tests.tiny_models import tiny_tokenizer

RNG = np.random.default_rng(0)
BAND = ResidualSteering(
    layer=1,
    vector=torch.from_numpy(RNG.normal(size=64)).float(),
    alpha=0.7,
    scope="first_k",
    first_k=3,
    operator="clamp",
    more=(Place(2, torch.from_numpy(RNG.normal(size=64)).float() * 5, -0.2),),
)


def activations(layer, pairs=40, width=64):
    rng = np.random.default_rng(layer)
    return Activations(
        ids=tuple(map(str, range(pairs))),
        positive=rng.normal(1.0, 1.0, size=(pairs, width)).astype(np.float32),
        negative=rng.normal(0.0, 1.0, size=(pairs, width)).astype(np.float32),
        residual_norm=np.ones((pairs, 2), dtype=np.float32),
        residual_mean=np.ones(width, dtype=np.float32),
        tokens=np.empty(0, TOKEN_ENTRY),
        attributes={"layer": layer},
    )


def cosine(a, b):
    return float(torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=-1))


@pytest.fixture
def made(monkeypatch):
    """Controls by name, from activations that need no file."""
    monkeypatch.setattr("snakesteer.evaluation.controls.read_activations", activations)

    def make(steering, count=5, alpha_t=None):
        evaluation = EvaluationConfig(random_controls=count, shuffled_controls=2)
        return {c.name: c for c in make_controls(steering, alpha_t, [1, 2], evaluation)}

    return make


def test_controls_change_the_vectors_and_nothing_else(made):
    controls = made(BAND)
    assert [control.kind for control in controls.values()] == [
        *["random"] * 5,
        *["shuffled", "shuffled", "negative", "prompt"],
    ]
    vectors = {"vector", "more"}
    for control in controls.values():
        if control.kind == "prompt":
            continue
        for field in fields(ResidualSteering):
            if field.name not in vectors:
                assert getattr(control.steering, field.name) == getattr(BAND, field.name)
        for place, original in zip(control.steering.places, BAND.places, strict=True):
            assert (place.layer, place.alpha) == (original.layer, original.alpha)
            assert place.vector.dtype == torch.float32
            assert float(place.vector.norm()) == pytest.approx(float(original.vector.norm()))
            if control.kind == "random":
                assert abs(cosine(place.vector, original.vector)) < 0.5
    assert controls["prompt"].steering is None
    assert controls["prompt"].instruction == EvaluationConfig().prompt_control
    for place, original in zip(controls["negative"].steering.places, BAND.places, strict=True):
        assert torch.equal(place.vector, -original.vector)


def test_the_opposite_of_an_ablation_strengthens_what_it_weakened(made):
    """−v has the same component as v, so that it would be the tested steering once more."""
    ablation = replace(BAND, operator="ablate")
    controls = made(ablation)
    h = torch.from_numpy(RNG.normal(size=64)).float()

    def change(steering):
        return [
            apply_operator("ablate", h, place.vector, torch.tensor(place.alpha)) - h
            for place in steering.places
        ]

    turned = ablation.with_vectors(lambda vector, layer: -vector)
    for tested, same, opposite in zip(
        *map(change, (ablation, turned, controls["negative"].steering)), strict=True
    ):
        assert torch.equal(same, tested)
        torch.testing.assert_close(opposite, -tested)
    assert controls["negative"].label == "the opposite strength"
    assert made(BAND)["negative"].label == "the opposite direction"
    shares = {control.steering.alpha for control in controls.values() if control.kind == "random"}
    assert shares == {BAND.alpha}


def test_controls_of_a_rotation_turn_by_its_angle_in_planes_of_the_same_mean(made):
    mean = torch.from_numpy(RNG.normal(size=64)).float()
    place = replace(BAND.more[0], axis=2.0 * mean)
    rotation = replace(BAND, operator="rotate", axis=mean, more=(place,))
    controls = made(rotation)
    for control in controls.values():
        if control.steering is not None:
            assert [place.alpha for place in control.steering.places] == [0.7, -0.2]
            assert [place.axis is one.axis for place, one in zip(
                control.steering.places, rotation.places, strict=True
            )] == [True, True]  # fmt: skip
    h, there = torch.from_numpy(RNG.normal(size=64)).float(), controls["negative"].steering
    turned, back = (
        apply_operator("rotate", h, one.vector, torch.tensor(angle), one.axis)
        for one, angle in ((there.places[0], 0.7), (rotation.places[0], -0.7))
    )
    torch.testing.assert_close(turned, back)  # −v turns the other way


def test_controls_of_several_vectors_replace_each_of_them(made):
    """At one layer, too, two vectors become two random directions; an ablation is reversed."""
    other = torch.from_numpy(RNG.normal(size=64)).float()
    ablation = replace(BAND, more=(), operator="ablate")
    second = replace(BAND, more=(), vector=other, scope="all", first_k=None, operator="add")
    tested = replace(BAND, more=(), beside=(second, ablation))
    controls = made(tested)
    for control in controls.values():
        if control.kind == "prompt":
            continue
        assert len(control.steering.parts) == 3
        for one, original in zip(control.steering.parts, tested.parts, strict=True):
            assert (one.layer, one.operator, one.positions) == (
                *(original.layer, original.operator),
                original.positions,
            )
            assert float(one.vector.norm()) == pytest.approx(float(original.vector.norm()))
        if control.kind == "random":
            vectors = [one.vector for one in control.steering.parts]
            assert abs(cosine(vectors[0], vectors[1])) < 0.5
            assert abs(cosine(vectors[1], vectors[2])) < 0.5
            alone = made(replace(BAND, more=()))[control.name].steering
            assert torch.equal(alone.vector, vectors[0])
    first, second, third = controls["negative"].steering.parts
    assert torch.equal(first.vector, -BAND.vector)
    assert torch.equal(second.vector, -other)
    assert (third.alpha, torch.equal(third.vector, BAND.vector)) == (-BAND.alpha, True)


def test_controls_of_dac_add_what_it_added_on_average(made):
    steering = ResidualSteering(1, BAND.vector, 0.3, dac=Dac(0.5, 0.4, 2.0, 0.6))
    controls = made(steering, alpha_t=0.5).values()
    assert {control.steering.dac for control in controls if control.steering} == {None}
    for control in controls:
        if control.steering is not None:
            assert control.steering.alpha == pytest.approx(0.15)
            length = float(control.steering.vector.norm())
            assert length == pytest.approx(float(BAND.vector.norm()))


def test_random_directions_differ_and_come_again(made):
    first, again = made(BAND), made(BAND)
    vectors = [first[f"random_{number}"].steering.vector for number in range(1, 6)]
    for i, vector in enumerate(vectors):
        assert torch.equal(vector, again[f"random_{i + 1}"].steering.vector)
        assert all(abs(cosine(vector, other)) < 0.5 for other in vectors[:i])
    places = first["random_1"].steering.places
    assert abs(cosine(places[0].vector, places[1].vector)) < 0.5
    # Evenly from all directions: no coordinate is favoured.
    flat = torch.stack([random_like(0, i)(torch.ones(8), 0) for i in range(2000)])
    assert flat.mean(dim=0).abs().max() < 0.1
    assert (flat.pow(2).mean(dim=0) - 1).abs().max() < 0.1
    assert not torch.equal(random_like(1, 1)(torch.ones(8), 0), random_like(0, 1)(torch.ones(8), 0))


def test_shuffled_labels_flip_the_same_pairs_at_all_layers():
    found = {1: activations(1), 2: activations(2)}
    vector = torch.from_numpy((found[1].positive - found[1].negative).mean(axis=0))
    change = shuffled_labels(found, seed=3, number=1)
    # The differences share a mean of 1, which cancels where half of them are flipped.
    assert abs(cosine(change(vector, 1), vector)) < 0.2
    assert abs(cosine(change(vector, 1), shuffled_labels(found, 3, 2)(vector, 1))) < 0.6
    found[2] = replace(found[2], positive=found[1].positive, negative=found[1].negative)
    torch.testing.assert_close(change(vector, 2), change(vector, 1))
    signs = np.random.default_rng((3, 1)).permutation([1.0, -1.0] * 20)
    by_hand = torch.from_numpy(signs @ (found[1].positive - found[1].negative).astype(float))
    assert cosine(change(vector, 1), by_hand) == pytest.approx(1.0)


def test_heads_that_are_not_steered_stay_so(made):
    delta = torch.from_numpy(RNG.normal(size=(3, 2, 16))).float()  # [steps, layers, width]
    delta[:, :, 4:8] = 0.0
    steering = HeadSteering(layers=(0, 2), delta=delta, alpha=1.0)
    controls = made(steering, 1)
    assert list(controls) == ["random_1", "negative", "prompt"]
    random = controls["random_1"].steering
    assert not random.delta[:, :, 4:8].any()
    torch.testing.assert_close(random.delta.norm(dim=-1), delta.norm(dim=-1))
    for layer in range(2):  # one direction for all steps
        assert cosine(random.delta[0, layer], random.delta[2, layer]) == pytest.approx(1.0)
    assert abs(cosine(random.delta[0, 0], random.delta[0, 1])) < 0.99
    zero = replace(steering, delta=0 * delta).with_vectors(random_like(0, 0))
    assert not zero.delta.any()


def test_the_instruction_reaches_the_prompt_of_its_control_alone(made):
    prompter = Prompter(PromptConfig(shots=0), (), tiny_tokenizer())
    problems = [Problem("p", "1+1?", "#### 2", "2")]
    seen = []

    class Seen(ReferenceEngine):
        def _batches(self, requests):
            seen.append(requests)
            return super()._batches(requests)

    steering = ResidualSteering(1, torch.ones(32), 0.1)
    controls = made(replace(steering, vector=torch.ones(64)), 2)
    controls = [replace(c, steering=c.steering and steering) for c in controls.values()]
    engine = Seen(loaded_model("llama"), Decoding(), 4)
    answers = answer_controls(
        engine, prompter, problems, controls, GenerationConfig(max_new_tokens=2), 1
    )
    assert [len(requests) for requests in seen] == [5, 1]
    text = tiny_tokenizer().decode(seen[1][0].prompt_ids)
    assert text == f"{EvaluationConfig().prompt_control}\n\n{prompter.text('1+1?')}"
    assert len(answers) == 6
    assert answers[-1][0][0].prompt_tokens == len(seen[1][0].prompt_ids)


# --- The planted effect -------------------------------------------------------------------------

PROMPTER = Prompter(
    PromptConfig(shots=0, template="{question}", answer_template="{answer}"), (), tiny_tokenizer()
)
GENERATION = GenerationConfig(max_new_tokens=3)
EVALUATION = EvaluationConfig(bootstrap_resamples=2000)
RATES = ("invalid_rate", "truncated_rate", "mean_new_tokens", "repetition_rate")


def planted(effect):
    return as_loaded(planted_model(effect))


def problems_of(rows):
    return [
        Problem(f"p{i}", row["question"], row["answer"], row["answer"].rpartition("#### ")[2])
        for i, row in enumerate(rows)
    ]


def evidence(effect, engine_kind, tmp_path):
    """From contrast pairs to controls.json, with the functions that the workflow runs."""
    loaded = planted(effect)
    problems = problems_of(planted_rows())
    train, test = problems[:40], problems[40:104]
    pairs = [Pair(p.id, p.question, (p.gold,), ("0",)) for p in train]
    texts = texts_of_pairs(PROMPTER, pairs, "last_token")
    write_activations(tmp_path, loaded, texts, [LAYER], {})
    file = tmp_path / f"layer_{LAYER}.h5"
    found = read_activations(file)
    vector = make_vector("caa", found, fit_probe(found, 1.0))
    candidate = Candidate("caa", "caa", LAYER, vector.alpha(0.2), 0.2, "from_last_prompt_token")
    params = {"best_trial_params": candidate.params(), "why": "because"}
    params["recommendation"] = "steer"
    scores = {"best_validation_score": 0.9, "baseline_validation_score": 0.25}
    steering = steering_of(candidate, {("caa", LAYER): vector})
    best = Best({**params, **scores}, candidate, steering, Probe(np.ones(HIDDEN, np.float32), 0.0))
    engine = engine_kind(loaded, Decoding(), 16)
    ledger = Ledger(tmp_path / "ledger.jsonl", "results", "planted", {})
    results, rows = evaluate_test(
        *(loaded, engine, PROMPTER, test, best, GENERATION, PairsConfig(), EVALUATION, "planted"),
        {"accuracy": 0.25, "correct": 10, "total_samples": 40},
        "train",
        ledger,
    )
    write_jsonl(tmp_path / "rows.jsonl", rows)
    runs = [read_generations(tmp_path / "rows.jsonl", name) for name in ("baseline", "steered")]
    controls = make_controls(steering, None, [file], EVALUATION)
    answered = answer_controls(engine, PROMPTER, test, controls, GENERATION, 1)
    record = controls_record(*runs, controls, answered, EVALUATION)
    told = control_rows(controls, answered)
    reads = enter_controls(ledger, PROMPTER, test, steering, controls, GENERATION, 1)
    entered, _ = read_ledger(ledger.path)
    assert [read.purpose for read in entered] == ["final", *["controls"] * 12]
    assert reads["controls"] == {"reads": 12, "configurations": 12}
    assert reads["final"] == {"reads": 1, "configurations": 1}
    for read, control in zip(entered[1:], record["controls"], strict=True):
        assert read.description.startswith(control["label"])
        assert read.description.endswith(f"a control of {entered[0].configuration[:12]}")
    resolve = 0.25 * steering.alpha  # how much of it steering adds, see tests/planted.py
    right = [is_right(int(p.gold), resolve, effect) for p in test]
    assert [row["steered_correct"] for row in rows] == right
    unsteered = [is_right(int(p.gold), 0.0, effect) for p in test]
    assert [row["baseline_correct"] for row in rows] == unsteered
    assert len(told) == 12 * len(test)
    again = answer_all(engine, PROMPTER, test, [steering], GENERATION)[0]
    assert again == runs[1][0]
    return results, record


@pytest.mark.parametrize("engine_kind", [ReferenceEngine, SlotsEngine])
def test_a_planted_effect_is_found_and_controls_have_none(engine_kind, tmp_path):
    results, record = evidence("helps", engine_kind, tmp_path)
    assert results["verdict"] == "helps"
    assert results["accuracy_improvement"] == 0.75
    assert results["mcnemar"]["lost"] == 0
    assert results["shrinkage"] == pytest.approx(0.65 - 0.75)
    chosen = record["chosen"]
    assert chosen["accuracy"] == results["steered_benchmark_metrics"]["accuracy"] == 1.0
    assert chosen["difference_ci"] == results["accuracy_improvement_ci"]
    assert chosen["verdict"] == "helps"
    for rate in RATES:
        assert chosen[rate] == results["steered_benchmark_metrics"][rate]
    words = {entry["name"]: entry["verdict"] for entry in record["controls"]}
    assert words.pop("negative") == "hurts"
    assert set(words.values()) == {"inconclusive"}
    for entry in record["controls"]:
        assert entry["mcnemar"]["p_value"] <= entry["p_holm"] <= 1.0
        assert entry["against_chosen"]["verdict"] == "helps"
        assert entry["against_chosen"]["difference"] == 1.0 - entry["accuracy"]
    for kind in ("random", "shuffled"):
        family = record["families"][kind]
        assert (family["below_chosen"], family["count"]) == (5, 5)
        assert family["p_value"] == family["smallest_p"] == 1 / 6
        assert family["best"] < 0.5


def test_where_answers_only_change_there_is_no_effect(tmp_path):
    results, record = evidence("none", ReferenceEngine, tmp_path)
    test = results["mcnemar"]
    assert test["gained"] == test["lost"] == 32  # all answers changed
    assert results["verdict"] == "inconclusive"
    assert results["shrinkage"] == pytest.approx(0.65)
    words = {entry["verdict"] for entry in (record["chosen"], *record["controls"])}
    assert words == {"inconclusive"}
    assert record["families"]["random"]["p_value"] == 1.0
