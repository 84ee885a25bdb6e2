"""The verdict in words says what the numbers say, and no more."""

from dataclasses import replace

from snakesteer.report.verdict import read_verdict


def changed(evidence, **values):
    return replace(evidence, test={**evidence.test, **values})


def test_helps(report):
    evidence = report("helps").evidence
    verdict = read_verdict(evidence)
    steered = evidence.arms[1]
    assert verdict.tone == "helps"
    assert verdict.headline.startswith(f"Steering helps: {100 * steered.difference:.1f} points")
    for part in (
        "100 test problems",
        f"problems gained: {steered.gained}, lost: {steered.lost}",
        "exact McNemar",
    ):
        assert part in verdict.text
    assert verdict.cautions == ()


def test_what_speaks_against_the_chosen_vector_is_a_caution(report):
    evidence = report("helps").evidence

    def cautions(**changes):
        params = {**evidence.params, **changes}
        return read_verdict(changed(evidence, best_trial_params=params)).cautions

    assert cautions(layer_id=20) == (
        "The caa vector of layer 20 is mostly noise: halves do not agree.",
    )
    assert len(cautions(layer_id=14, band_layers=[14, 20])) == 2
    assert cautions(layer_id=9) == cautions(layer_id=20, steering_direction="pca") == ()
    assert cautions(layer_id=20, steering_method="iti") == ()
    assert not any("noise" in each for each in read_verdict(report("unsteered").evidence).cautions)


def test_an_effect_that_the_test_does_not_confirm_is_none(report):
    evidence = changed(
        report("helps").evidence,
        verdict="no detectable effect at n = 100",
        minimum_detectable_effect=0.114,
    )
    verdict = read_verdict(evidence)
    assert verdict.tone == "none"
    assert verdict.headline == "Steering does not help detectably at n = 100"
    assert "an effect of 11.4 points four times in five" in verdict.text
    without = read_verdict(changed(evidence, minimum_detectable_effect=None))
    assert "four times in five" not in without.text


def test_hurts(report):
    evidence = changed(report("helps").evidence, verdict="hurts", accuracy_improvement=-0.2)
    verdict = read_verdict(evidence)
    assert verdict.tone == "hurts"
    assert verdict.headline == "Steering hurts: 20.0 points fewer on the test problems"


def test_no_steering(report):
    verdict = read_verdict(report("unsteered").evidence)
    assert verdict.tone == "none"
    assert verdict.headline.startswith("Steering did not help")
    assert "tried 7 steered configurations" in verdict.text
    # 16 of 48 were right: √(1/3 · 2/3 / 48).
    assert verdict.text.endswith(
        "With 48 validation problems one standard error at the unsteered 33.3% is 6.8 points: "
        "smaller effects could not have been chosen."
    )


def test_cautions(report):
    evidence = report("helps").evidence
    controls = evidence.controls["controls"]
    good = [{**controls[0], "accuracy": 0.9}, *controls[1:]]
    metrics = evidence.test["baseline_benchmark_metrics"]
    bad = {**metrics, "invalid_rate": 0.5, "truncated_rate": 0.3, "correct": 0}
    evidence = replace(
        changed(evidence, baseline_benchmark_metrics=bad),
        controls={**evidence.controls, "controls": good},
    )
    text = " ".join(read_verdict(evidence).cautions)
    for part in (
        "Random direction 1",
        "50.0% of the unsteered answers hold no number",
        "30.0% of the unsteered answers hit the length limit",
        "nothing right",
    ):
        assert part in text
