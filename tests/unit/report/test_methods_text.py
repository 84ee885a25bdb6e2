"""The methods paragraph says what was done, and cites all of it and nothing else."""

import pkgutil
from dataclasses import replace
from typing import get_args

import pytest

from snakesteer.config import PairKind, ReadPosition, SearchConfig, catalogue
from snakesteer.config.catalogue import METHODS, MethodEntry
from snakesteer.config.steering import After, Operator, Schedule, Scope
from snakesteer.report import methods
from snakesteer.report import methods_text as module
from snakesteer.report import steering_text as words
from snakesteer.report.methods import caa, dac_heads, method_sentence, method_title
from snakesteer.report.methods_text import bibliography, cited, methods_text, references
from snakesteer.report.wording import configuration


def options(key: str) -> set[str]:
    return set(get_args(SearchConfig.model_fields[key].annotation))


def test_there_are_words_for_every_choice():
    assert {module.name for module in pkgutil.iter_modules(methods.__path__)} == set(METHODS)
    assert set(get_args(Scope)) == set(caa.SCOPE_WORDS)
    assert set(get_args(PairKind)) == set(words.PAIRS)
    assert set(get_args(ReadPosition)) == set(words.READ_WORDS)
    assert set(get_args(Operator)) == set(caa.OPERATOR_WORDS)
    assert set(get_args(Schedule)) == set(dac_heads.SCHEDULES)
    assert set(get_args(After)) == set(dac_heads.AFTER)
    assert options("sampler") == set(module.SAMPLERS)
    assert options("pruner") == {*module.PRUNERS, "none"}


def test_every_source_is_known_and_complete():
    choices = (
        words.DIRECTION_WORDS,
        words.PAIRS,
        caa.OPERATOR_WORDS,
        module.SAMPLERS,
        module.PRUNERS,
    )
    known = bibliography()
    assert set(cited(" ".join(text for each in choices for text in each.values()))) <= set(known)
    for key, entry in known.items():
        assert entry.startswith("@")
        assert entry.count("{") == entry.count("}")
        assert all(f"  {field} = " in entry for field in ("title", "author", "year")), key


def test_a_result_that_is_not_recommended(report):
    evidence = report("left alone").evidence
    text = methods_text(evidence)
    for part in (
        "accuracy of SmolLM2-135M-Instruct (revision c0ffee)",
        "64 train, 48 validation and 100 test problems",
        "4 worked examples from train and answered greedily with at most 40 tokens",
        "for the blocks 9, 14, 20",
        "in 8 trials of Optuna",
        "trial 0; the smallest dose within one paired standard error of the highest accuracy won",
        f"did not recommend steering; the best steered trial was {configuration(evidence.params)}",
        "0 gained, 0 lost, exact McNemar test [@mcnemar1947], p = 1",
        "Verdict: inconclusive (equivalence: two one-sided tests [@schuirmann1987tost; "
        "@tango1998paired] within 2 points, p = 0.13).",
        "5 random directions −6.0 points to −3.0 points (permutation p = 0.17)",
    ):
        assert part in text
    assert "gsm8k" not in text  # the problems were generated


def test_where_validation_comes_from(report):
    evidence = report("left alone").evidence
    data = {**evidence.config["data"], "validation_from": "test"}
    record = {**evidence.provenance, "config": {**evidence.config, "data": data}}
    from_test = methods_text(replace(evidence, provenance=record))
    assert "seed 0, the test problems from the source's own test part; no" in methods_text(evidence)
    assert "the validation and test problems from the source's own test part; no" in from_test


def test_how_the_model_was_asked(report):
    evidence = report("left alone").evidence

    def text(**prompt):
        changed = {**evidence.config, "prompt": {**evidence.config["prompt"], **prompt}}
        record = {**evidence.provenance, "config": changed}
        return methods_text(replace(evidence, provenance=record))

    assert "from train and answered" in text()
    assert "from train in its chat template and answered" in text(chat=True)
    switched = text(chat=True, chat_template_kwargs={"enable_thinking": False, "effort": "low"})
    assert 'in its chat template (enable_thinking: false, effort: "low") and answered' in switched


def test_a_set_of_one_part_with_groups(report):
    evidence = report("left alone").evidence
    assert "not even one that differs in its numbers alone." in methods_text(evidence)
    one_part = {"source": "hub", "train_part": "test", "group_field": "seed_question"}
    data = {**evidence.config["data"], **one_part}
    record = {**evidence.provenance, "config": {**evidence.config, "data": data}}
    manifest = {**evidence.manifest, "near_duplicates": "names"}
    text = methods_text(replace(evidence, provenance=record, manifest=manifest))
    assert "with seed 0, all from the source's part test; no two splits" in text
    assert "differs in its numbers and names alone, and no seed_question." in text


def test_a_steered_result(report):
    evidence = report("helps").evidence
    text = methods_text(evidence)
    steered = evidence.arms[1]
    assert f"; {steered.gained} gained, {steered.lost} lost, exact McNemar test" in text
    assert f"The search recommended {configuration(evidence.params)}, which was tested." in text
    assert "trial 0; the highest accuracy won, of equals the smallest dose." in text
    assert "Verdict: helps (equivalence: " in text
    assert (
        "dose: 5 random directions −4.0 points to +1.0 points (permutation p = 0.17); 5 vectors of "
        "shuffled labels −2.0 points to 0.0 points (permutation p = 0.17); opposite direction "
        "−4.0 points (−11.0 to +3.0 points); prompt only −1.0 points"
    ) in text
    assert "Hooks with α = 0 left every token and every logit as they were." in text


def test_what_steering_had_to_show_to_be_recommended(report):
    evidence = report("helps").evidence

    def text(**search):
        changed = {**evidence.config, "search": {**evidence.config["search"], **search}}
        return methods_text(
            replace(evidence, provenance={**evidence.provenance, "config": changed})
        )

    tested = "; the best steered trial was tested in any case."
    luck = (
        ", if its lead over no steering stood a correction for the number of trials (max-T sign "
        "flips [@westfall1993resampling], p < 0.05)"
    )
    kept = (
        ", and if it led by more than one standard error on the 25% of the validation problems "
        "that were kept from the search"
    )
    for max_t, confirm, told in (
        (False, 0.0, ""),
        (True, 0.0, luck),
        (False, 0.25, kept),
        (True, 0.25, luck + kept),
    ):
        found = text(max_t=max_t, confirm=confirm)
        assert f"Steering was recommended if it won{told}{tested}" in found
        assert ("@book{westfall1993resampling" in references(found)) == max_t


def test_the_equivalence_test_is_cited(report):
    found = references(methods_text(report("helps").evidence))
    assert "Two One-Sided Tests" in found
    assert "{tango1998paired,\n" in found


def test_several_answers_are_counted(report):
    evidence = report("helps").evidence
    seeds = {"samples": 4, "baseline_sd": 0.012, "steered_sd": 0.02}
    sampled = replace(evidence, test={**evidence.test, "seeds": seeds})
    assert "On 100 test problems, answered once, accuracy was" in methods_text(evidence)
    assert "On 100 test problems, answered 4 times each, accuracy was" in methods_text(sampled)


def test_one_of_a_kind_is_told_in_the_singular(report):
    evidence = report("helps").evidence
    controls = evidence.controls["controls"]
    kinds = [control["kind"] for control in controls]
    one = replace(
        evidence,
        test={**evidence.test, "num_test_samples": 1},
        probes=evidence.probes[:1],
        controls={
            **evidence.controls,
            "controls": [each for n, each in enumerate(controls) if each["kind"] not in kinds[:n]],
        },
    )
    text = methods_text(one)
    assert "Steering vectors for block 9 (counted from 0) were estimated" in text
    assert "On 1 test problem, answered" in text
    assert "dose: one draw of random directions −" in text


@pytest.mark.parametrize(("top_k", "told"), [(0, ""), (50, ", top-k 50")])
def test_how_answers_were_sampled(report, top_k, told):
    evidence = report("helps").evidence
    sampled = {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "top_k": top_k}
    generation = {**evidence.config["generation"], **sampled}
    config = {**evidence.config, "generation": generation}
    text = methods_text(replace(evidence, provenance={**evidence.provenance, "config": config}))
    assert f"answered at temperature 0.7{told} and top-p 0.9 with" in text


def test_what_a_dynamic_strength_delivered_is_said(report):
    evidence = report("helps").evidence
    dynamic = {"mean_alpha_t": 0.8333, "delivered_dose": 0.0417}
    text = methods_text(replace(evidence, test={**evidence.test, **dynamic}))
    told = (
        "Its α_t was 0.833 on average over the tokens of the test answers, which delivered a dose"
    )
    assert f"{told} of 0.0417. On 100 test problems" in text
    assert "α_t was" not in methods_text(evidence)


def test_controls_of_dac_are_at_its_mean_strength(report):
    evidence = report("helps").evidence
    params = {**evidence.params, "scope": "dynamic"}
    dynamic = replace(evidence, test={**evidence.test, "best_trial_params": params})
    assert "Controls at the same layer and dose: 5 random" in methods_text(evidence)
    assert "layer and mean strength (no α_t of their own): 5 random" in methods_text(dynamic)


def test_a_vector_from_a_file_was_not_estimated(report):
    evidence = report("helps").evidence

    def text(*directions):
        config = evidence.config
        file = "mine.gguf" if "file" in directions else None
        changes = {"directions": list(directions), "vector_file": file}
        steering = {**config["steering"], **changes}
        record = {**evidence.provenance, "config": {**config, "steering": steering}}
        return methods_text(replace(evidence, provenance=record))

    told = "A vector read from a file was tried at the blocks 9, 14, 20"
    assert "were estimated" not in text("file")
    assert told in text("file")
    assert "as the mean difference of the pairs [@rimsky2024caa]. A vector" in text("caa", "file")
    assert told not in text("caa")


def test_a_trained_vector_was_not_estimated_either(report):
    evidence = report("helps").evidence

    def text(band=1, **training):
        config = evidence.config
        steering = {**config["steering"], "directions": ["trained"], "band": band}
        changed = {**config, "steering": steering, "training": {**config["training"], **training}}
        record = {**evidence.provenance, "config": changed}
        return methods_text(replace(evidence, provenance=record))

    assert "were estimated" not in text()
    alone = "a vector was trained on train for each of the blocks 9, 14, 20 (counted from 0): with"
    assert alone in text()
    assert "cross-entropy on the gold solutions (4 epochs of Adam, 10% of its problems" in text()
    rewarded = text(3, objective="reinforce", held_out=0.0)
    assert "for all of the blocks 9, 14, 20 (counted from 0, together): with policy" in rewarded
    assert "[@sinii2025bias] (4 epochs of Adam)." in rewarded


def test_pairs_and_where_they_were_read(report):
    evidence = report("helps").evidence

    def text(**pairs):
        config = {**evidence.config, "pairs": {**evidence.config["pairs"], **pairs}}
        return methods_text(replace(evidence, provenance={**evidence.provenance, "config": config}))

    assert "carried to the end; activations were read at the token before the last number" in text()
    assert "read tokens alone" not in text()
    instructions = text(kind="prompt_contrast", read="last_prompt_token")
    assert "[@zhang2024cot]; activations were read at the last token of the prompt." in instructions
    adjusted = text(kind="own_right_vs_wrong", read="response_mean", remove_token_means=True)
    assert "the mean over the response, less what the read tokens alone predict." in adjusted


def test_controls_are_at_the_heads_that_were_steered(report):
    evidence = report("helps").evidence
    params = {**evidence.params, "steering_method": "iti", "scope": "fixed"}
    heads = replace(evidence, test={**evidence.test, "best_trial_params": params})
    assert "Controls at the same heads and dose: 5 random" in methods_text(heads)


def test_controls_of_an_ablation_remove_a_share_of_their_own(report):
    evidence = report("helps").evidence
    params = {**evidence.params, "operator": "ablate"}
    text = methods_text(replace(evidence, test={**evidence.test, "best_trial_params": params}))
    assert "same layer and removed share (of each one's own component" in text


def test_a_new_direction_is_described_by_its_module(monkeypatch):
    monkeypatch.delitem(words.DIRECTION_WORDS, "probe")
    summary = catalogue.DIRECTIONS["probe"]
    assert words.direction_words("probe") == summary[0].lower() + summary[1:]


@pytest.mark.parametrize("name", ["left alone", "helps", "two trials"])
def test_the_references_are_those_of_the_text(report, name: str):
    text = methods_text(report(name).evidence)
    found = references(text)
    assert [line.partition("{")[2].rstrip(",") for line in found.splitlines() if "@" in line[:1]]
    assert found.count("\n@") + 1 == len(cited(text))
    for key in cited(text):
        assert f"{{{key},\n" in found


def test_keys_are_only_those_in_brackets():
    assert cited("a@b.c [@one] and [@two; @three]") == ["one", "three", "two"]
    assert references("tokens that match “[@x]” [@lee2024cast]").count("\n@") == 0


def test_a_method_without_words_is_described_by_its_own_module(monkeypatch):
    entry = MethodEntry("Add half of it", "residual", (), ())
    monkeypatch.setitem(METHODS, "half", entry)
    assert method_title("half") == "half"
    assert method_sentence("half", {}, "1, 2") == "The method half was: add half of it."
    assert method_title("caa") == "CAA"
