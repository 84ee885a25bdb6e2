"""The result in plain words."""

import json

import pytest

from snakesteer.report.summary import describe, final_summary

RESULTS = {
    "best_trial_params": {
        "steering_method": "dac",
        "steering_direction": "probe",
        "layer_id": 15,
        "steering_alpha": 1.23456,
        "steering_dose": 0.25,
    },
    "best_validation_score": 0.625,
    "baseline_validation_score": 0.5,
    "recommendation": "steer",
    "why": "trial 7 has the highest accuracy on 48 validation problems.",
    "baseline_benchmark_metrics": {"accuracy": 0.48},
    "steered_benchmark_metrics": {"accuracy": 0.45},
    "accuracy_improvement": -0.03,
    "accuracy_improvement_ci": [-0.09, 0.02],
    "confidence": 0.95,
    "mcnemar": {"gained": 2, "lost": 5, "p_value": 0.4531},
    "gained_from": {"wrong_number": 1, "no_number": 1},
    "test": "exact McNemar",
    "equivalence": {"margin": 0.02, "p_value": 0.6},
    "minimum_detectable_effect": 0.0876,
    "shrinkage": 0.155,
    "verdict": "inconclusive",
    "num_test_samples": 100,
    "config": {"evaluation": {"planned_changes": 0.1}},
    "mean_alpha_t": 0.3,
    "delivered_dose": 0.075,
}


def test_all_numbers_are_said():
    text = describe(RESULTS, "results/test_final.json")
    for part in (
        "Tested: dac with the probe direction at layer 15, α = 1.23 (dose 0.25)",
        "Recommendation: steer\n",
        "dac with the probe direction at layer 15, α = 1.23 (dose 0.25)",
        "Delivered: α_t was 0.3 on average over the tokens of the test answers, which delivered a "
        "dose of 0.075",
        "Why: trial 7 has the highest accuracy on 48 validation problems.",
        "50.0% unsteered, 62.5% with it",
        "n = 100): 48.0% unsteered, 45.0% with it",
        "Difference: -3.0%, 95% interval [-9.0%, +2.0%]; 2 gained, 5 lost, exact McNemar p = 0.45",
        "detect four times in five, where 10% of the answers change: 8.8%",
        "Of the gained answers, 1 gave a wrong number before and 1 gave none",
        "From validation to test: +12.5% became -3.0%",
        "Verdict: inconclusive (the data leave room for −9.0 to +2.0 points)",
        "results/test_final.json",
    ):
        assert part in text


def test_what_it_costs_elsewhere_is_told_where_it_is_known():
    assert "Elsewhere" not in describe({**RESULTS, "off_target": None}, "x")
    neutral = {"kl": {"estimate": 0.281, "ci": [0.2483, 0.315]}}
    text = describe({**RESULTS, "off_target": {"neutral": neutral, "second_task": None}}, "x")
    assert "\nElsewhere: 0.28 nats a token on neutral text [0.25, 0.32]\n" in text
    broken = {"kl": {"estimate": None, "ci": None}}
    task = {"difference": -0.04, "difference_ci": [-0.1, 0.02]}
    text = describe({**RESULTS, "off_target": {"neutral": broken, "second_task": task}}, "x")
    assert "numbers on neutral text; second task -4.0% [-10.0%, +2.0%]\n" in text


def test_what_is_not_recommended_is_told_all_the_same():
    assert "Not one of the test answers reads diff" in describe(
        {**RESULTS, "changed_answers": 0}, "x"
    )
    assert "Not one" not in describe({**RESULTS, "changed_answers": 1}, "x")
    text = describe({**RESULTS, "recommendation": "leave alone"}, "x")
    assert "Tested: dac with the probe direction at layer 15" in text
    assert "Recommendation: leave alone\n" in text


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"verdict": "helps"}, "helps"),
        ({"verdict": "hurts"}, "hurts"),
        ({"verdict": "equivalent"}, "equivalent (within 2 points)"),
        (
            {"accuracy_improvement_ci": [0.0, 0.0]},
            "inconclusive (100 problems are too few to rule out 2 points)",
        ),
        (
            {"accuracy_improvement_ci": [0.0, 0.0], "num_test_samples": 1},
            "inconclusive (1 problem is too few to rule out 2 points)",
        ),
    ],
)
def test_the_verdict_in_a_line(found, told):
    assert f"\nVerdict: {told}\n" in describe({**RESULTS, **found}, "x")


def test_an_effect_beyond_the_planned_changes_says_what_must_change():
    few = describe({**RESULTS, "minimum_detectable_effect": 0.801}, "x")
    assert "five, where 80% of the answers change, all for the better: 80.1%\n" in few


def test_too_few_problems_have_no_smallest_effect():
    few = describe({**RESULTS, "minimum_detectable_effect": None}, "x")
    assert "four times in five" not in few


def test_of_a_results_folder(tmp_path):
    assert final_summary(tmp_path) == ""
    (tmp_path / "test_final.json").write_text(json.dumps(RESULTS))
    assert "Verdict" in final_summary(tmp_path)
    assert "Report" not in final_summary(tmp_path)
    (tmp_path / "report.html").touch()
    assert final_summary(tmp_path).endswith(f"\nReport: {tmp_path / 'report.html'}")
