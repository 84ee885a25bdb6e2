"""The verdict in words says what the numbers say, and no more."""

from dataclasses import replace

import pytest

from snakesteer.evaluation.control_tests import family_of
from snakesteer.report.verdict import read_verdict


def changed(evidence, **values):
    return replace(evidence, test={**evidence.test, **values})


def inconclusive(evidence, low, high):
    """With an interval in points."""
    interval = [low / 100.0, high / 100.0]
    return read_verdict(changed(evidence, verdict="inconclusive", accuracy_improvement_ci=interval))


def test_helps(report):
    evidence = report("helps").evidence
    verdict = read_verdict(evidence)
    steered = evidence.arms[1]
    assert verdict.tone == "helps"
    assert verdict.headline == (
        f"Steering helps: {100 * steered.difference:.1f} points more on the test problems"
    )
    for part in (
        "100 test problems",
        f"problems gained: {steered.gained}, lost: {steered.lost}",
        "exact McNemar",
    ):
        assert part in verdict.text
    assert verdict.text.endswith("Recommended on validation: steer.")
    assert "rejected" not in verdict.text
    assert "neither" not in verdict.text


def test_hurts(report):
    evidence = changed(report("helps").evidence, verdict="hurts", accuracy_improvement=-0.2)
    verdict = read_verdict(evidence)
    assert verdict.tone == "hurts"
    assert verdict.headline == "Steering hurts: 20.0 points fewer on the test problems"
    # Whether controls do as well only matters where steering helps.
    assert not any("random directions" in each for each in verdict.cautions)


def test_equivalent(report):
    tested = {"margin": 0.015, "p_value": 0.0312}
    evidence = changed(report("left alone").evidence, verdict="equivalent", equivalence=tested)
    verdict = read_verdict(evidence)
    assert verdict.tone == "equivalent"
    assert verdict.headline == "Steering changes nothing that matters: less than 1.5 points"
    told = "Differences of 1.5 points or more in either direction are rejected (p = 0.031)."
    assert told in verdict.text
    assert "four times in five" not in verdict.text


def test_steering_that_changes_no_answer_is_told(report):
    evidence = report("left alone").evidence
    warned = "Not one of the test answers reads differently"
    assert read_verdict(changed(evidence, changed_answers=0)).cautions[0].startswith(warned)
    found = read_verdict(changed(evidence, changed_answers=1)).cautions
    assert not any(warned in each for each in found)


def test_inconclusive(report):
    evidence = report("helps").evidence
    verdict = inconclusive(evidence, -1, 5)
    assert verdict.tone == "inconclusive"
    assert verdict.headline == "Inconclusive: the data leave room for −1.0 to +5.0 points"
    assert "neither an effect nor that it is smaller than 2.0 points" in verdict.text
    # What 100 problems can find where 10% of the answers change (docs/statistics.md), whatever did.
    assert "Where 10.0% of the answers to 100 problems change" in verdict.text
    assert "an effect of 8.8 points four times in five" in verdict.text
    assert "The interval alone" not in verdict.text
    more = changed(evidence, verdict="inconclusive", minimum_detectable_effect=0.19)
    assert "Where 19.0% of the answers to 100 problems change, all for" in read_verdict(more).text
    few = changed(evidence, verdict="inconclusive", minimum_detectable_effect=None)
    assert "four times in five" not in read_verdict(few).text


@pytest.mark.parametrize(("low", "high"), [(0.5, 6), (-7, -1), (-1, 1.5)])
def test_an_interval_that_no_test_confirms_is_not_believed(report, low, high):
    verdict = inconclusive(report("helps").evidence, low, high)
    assert verdict.headline.startswith("Inconclusive: the data leave room")
    assert "The interval alone would say more, but the tests do not confirm it." in verdict.text


def test_no_change_on_few_problems_is_no_equivalence(report):
    evidence = report("left alone").evidence
    assert evidence.arms[1].difference_ci == (0.0, 0.0)
    verdict = read_verdict(evidence)
    assert verdict.tone == "inconclusive"
    assert verdict.headline == "Inconclusive: 100 problems are too few to rule out 2 points"
    assert "0.0 to 0.0" not in verdict.headline


def test_a_run_without_a_recommendation_is_tested_all_the_same(report):
    evidence = report("left alone").evidence
    assert evidence.test["recommendation"] == "leave alone"
    verdict = read_verdict(evidence)
    assert verdict.text.startswith("Steered by caa with the caa direction at layer")
    assert verdict.text.endswith(
        "Recommended on validation: leave the model alone; this is the best steered trial."
    )
    warned = "The validation split did not recommend steering"
    assert not any(warned in each for each in verdict.cautions)
    helped = read_verdict(changed(evidence, verdict="helps", accuracy_improvement=0.1))
    assert helped.cautions[0].startswith(warned)


def test_what_speaks_against_the_tested_vector_is_a_caution(report):
    evidence = report("helps").evidence

    def cautions(**changes):
        """But for those of too few controls."""
        params = {**evidence.params, **changes}
        found = read_verdict(changed(evidence, best_trial_params=params)).cautions
        return [each for each in found if "at best" not in each]

    assert cautions(layer_id=20) == [
        "The caa vector of layer 20 is mostly noise: halves do not agree."
    ]
    assert len(cautions(layer_id=14, band_layers=[14, 20])) == 2
    assert cautions(layer_id=9) == cautions(layer_id=20, steering_direction="pca") == []
    assert cautions(layer_id=20, steering_method="iti") == []


@pytest.mark.parametrize(
    ("confidence", "count", "told"),
    [
        (0.95, 5, "5 random directions show p = 0.17 at best, even if the tested vector beats all"),
        (0.95, 18, "of them; 19 could show p = 0.05 (evaluation.random_controls)."),
        (0.95, 19, None),
        (0.9, 8, "9 could show p = 0.1 (evaluation.random_controls)."),
        (0.9, 9, None),
        (0.99, 98, "99 could show p = 0.01 (evaluation.random_controls)."),
        (0.99, 99, None),
    ],
)
def test_too_few_controls_to_show_anything_are_a_caution(report, confidence, count, told):
    evidence = report("helps").evidence
    family = family_of([0.4] * count, 0.7)
    controls = {**evidence.controls, "families": {"random": family}}
    evidence = replace(changed(evidence, confidence=confidence), controls=controls)
    found = [each for each in read_verdict(evidence).cautions if "at best" in each]
    if told is None:
        assert found == []
        assert family["p_value"] <= 1.0 - confidence + 1e-9
    else:
        assert len(found) == 1
        assert told in found[0]
        assert family["smallest_p"] > 1.0 - confidence


def test_controls_that_do_as_well_are_a_caution(report):
    evidence = report("helps").evidence

    def alike(accuracy, *kinds):
        controls = [
            {**each, "accuracy": accuracy} if each["kind"] in kinds else each
            for each in evidence.controls["controls"]
        ]
        changes = {**evidence.controls, "controls": controls}
        found = read_verdict(replace(evidence, controls=changes)).cautions
        return [each for each in found if "do as well or better" in each]

    steered = evidence.arms[1].accuracy
    assert alike(steered - 0.01, "random", "shuffled", "negative") == []
    assert alike(steered, "prompt") == []  # words may help
    [told] = alike(steered, "shuffled", "negative")
    assert "(Shuffled labels 1, Shuffled labels 2" in told
    assert "Opposite direction)" in told


def test_cautions_about_the_unsteered_answers(report):
    evidence = report("helps").evidence
    metrics = evidence.test["baseline_benchmark_metrics"]

    def cautions(**changes):
        found = changed(evidence, baseline_benchmark_metrics={**metrics, **changes})
        return " ".join(read_verdict(found).cautions)

    text = cautions(invalid_rate=0.5, truncated_rate=0.3, correct=0)
    for part in (
        "50.0% of the unsteered answers hold no final number",
        "30.0% of the unsteered answers hit the length limit",
        "nothing right",
    ):
        assert part in text
        assert part not in cautions()
    assert "everything right" in cautions(correct=metrics["total_samples"])
