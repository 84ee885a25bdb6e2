"""The result in plain words."""

import json

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
    "why": "trial 7 has the highest accuracy on 48 validation problems.",
    "baseline_benchmark_metrics": {"accuracy": 0.48},
    "steered_benchmark_metrics": {"accuracy": 0.45},
    "accuracy_improvement": -0.03,
    "accuracy_improvement_ci": [-0.09, 0.02],
    "confidence": 0.95,
    "mcnemar": {"gained": 2, "lost": 5, "p_value": 0.4531},
    "gained_from": {"wrong_number": 1, "no_number": 1},
    "test": "exact McNemar",
    "minimum_detectable_effect": 0.0876,
    "shrinkage": 0.155,
    "verdict": "no detectable effect at n = 100",
    "num_test_samples": 100,
    "mean_alpha_t": 0.3,
    "delivered_dose": 0.075,
}


def test_all_numbers_are_said():
    text = describe(RESULTS, "results/test_final.json")
    for part in (
        "dac with the probe direction at layer 15, α = 1.23 (dose 0.25)",
        "Delivered: α_t was 0.3 on average over the tokens of the test answers, which delivered a "
        "dose of 0.075",
        "Why: trial 7 has the highest accuracy on 48 validation problems.",
        "50.0% unsteered, 62.5% with it",
        "n = 100): 48.0% unsteered, 45.0% with it",
        "Difference: -3.0%, 95% interval [-9.0%, +2.0%]; 2 gained, 5 lost, exact McNemar p = 0.45",
        "detect four times in five: 8.8%",
        "From validation to test: +12.5% became -3.0%",
        "Verdict: no detectable effect at n = 100",
        "results/test_final.json",
    ):
        assert part in text


def test_no_steering():
    params = {**RESULTS["best_trial_params"], "steering_alpha": 0.0, "steering_dose": 0.0}
    unsteered = {"best_trial_params": params, "minimum_detectable_effect": None}
    results = {**RESULTS, **unsteered, "delivered_dose": 0.0}
    del results["mean_alpha_t"]
    text = describe(results, "x")
    assert "no steering" in text
    for word in ("Delivered", "layer 15", "four times in five", "became"):
        assert word not in text


def test_of_a_results_folder(tmp_path):
    assert final_summary(tmp_path) == ""
    (tmp_path / "test_final.json").write_text(json.dumps(RESULTS))
    assert "Verdict" in final_summary(tmp_path)
    assert "Report" not in final_summary(tmp_path)
    (tmp_path / "report.html").touch()
    assert final_summary(tmp_path).endswith(f"\nReport: {tmp_path / 'report.html'}")
