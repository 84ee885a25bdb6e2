"""What is said of where validation problems come from, and when it is a warning."""

from dataclasses import replace

from snakesteer.evaluation.origins import compare_origins
from snakesteer.report.origins_text import origins_cautions, origins_text
from snakesteer.report.verdict import read_verdict
from snakesteer.report.wording import points


def with_origins(evidence, validation_from: str, correct: int, n: int = 100):
    """The run with so many right answers on validation, and 45 of 100 on test."""
    validation = {"accuracy": correct / n, "correct": correct, "total_samples": n}
    test = {"accuracy": 0.45, "accuracy_ci": [0.356, 0.548], "total_samples": 100}
    shares = [1.0] * 45 + [0.0] * 55
    origins = compare_origins(validation_from, validation, test, shares, 0.95)
    return replace(evidence, test={**evidence.test, "origins": origins})


def test_a_model_that_knows_the_validation_problems(report):
    for name in ("helps", "left alone"):
        evidence = with_origins(report(name).evidence, "train", 80)
        [caution] = origins_cautions(evidence)
        assert caution.startswith("Unsteered, the model answers 80.0% of the validation problems")
        assert "only 45.0% of the test problems (p <\N{NO-BREAK SPACE}0.001)" in caution
        assert caution.endswith("Set data.validation_from: test.")
        assert caution in read_verdict(evidence).cautions
        text = origins_text(evidence)
        assert "80.0% of the 100 validation problems (71.1% to 86.7%)" in text
        assert "45.0% of the 100 test problems (35.6% to 54.8%)" in text
        assert "difference is +35.0 points (95% interval +" in text
        assert "may have been trained on the train part" in text


def test_no_difference_is_no_warning(report):
    evidence = with_origins(report("helps").evidence, "train", 50)
    assert not [*origins_cautions(evidence)]
    text = origins_text(evidence)
    assert "difference is +5.0 points" in text
    assert text.endswith("no proof that it was not.")


def test_validation_of_the_test_part_is_compared_with_nothing(report):
    evidence = with_origins(report("helps").evidence, "test", 80)
    assert not [*origins_cautions(evidence)]
    assert not any("trained on" in caution for caution in read_verdict(evidence).cautions)
    text = origins_text(evidence)
    assert "both from the source's test part" in text
    assert "80.0% of the 100 validation problems" in text
    assert "45.0% of the 100 test problems" in text
    assert "difference" not in text
    assert "Fisher" not in text


def test_the_page_tells_it(report):
    made = report("helps")
    assert "Where validation problems come from" in made.html
    [_, text] = made.html.split("Where validation problems come from</h3>")
    difference = points(made.evidence.test["origins"]["difference"])
    assert f"difference is {difference}" in text.split("</p>")[0]
    assert origins_text(made.evidence).count("33.3% of the 48 validation problems") == 1
