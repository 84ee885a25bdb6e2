"""Controls against no steering, and the tested configuration against its controls."""

import pytest

from snakesteer.config import EvaluationConfig
from snakesteer.data.problem import Problem
from snakesteer.evaluation.control_tests import controls_record, family_of
from snakesteer.evaluation.controls import Control
from tests.unit.report.runs import answers


def given(gained):
    asked = [Problem(f"p{number}", "", "#### 1", "1") for number in range(50)]
    return [answers(asked, [number < 10 + gained for number in range(50)])]


def test_verdicts_follow_p_values_that_are_adjusted_for_the_number_of_controls():
    kinds = ("random", "random", "random", "negative", "prompt")
    controls = [Control(f"{i}", f"{i}", kind, None) for i, kind in enumerate(kinds)]
    made = [given(gained) for gained in (0, 0, 0, 6, 12)]
    record = controls_record(given(0), given(6), controls, made, EvaluationConfig())
    # Six gains and no loss: p = 2/64, which is below 0.05 alone and not as one of five.
    assert record["chosen"]["verdict"] == "helps"
    *_, six, twelve = record["controls"]
    assert six["mcnemar"]["p_value"] == record["chosen"]["mcnemar"]["p_value"] == 0.03125
    assert (six["p_holm"], six["verdict"]) == (0.125, "inconclusive")
    assert twelve["verdict"] == "helps"
    # The chosen one against its controls: three times six gains, no difference, six losses.
    against = [entry["against_chosen"] for entry in record["controls"]]
    assert [a["mcnemar"]["gained"] for a in against] == [6, 6, 6, 0, 0]
    assert [a["mcnemar"]["lost"] for a in against] == [0, 0, 0, 0, 6]
    assert [a["difference"] for a in against] == pytest.approx([0.12, 0.12, 0.12, 0.0, -0.12])
    assert [a["p_holm"] for a in against] == pytest.approx([0.15625] * 3 + [1.0, 0.15625], abs=0.04)
    assert list(record["families"]) == ["random"]
    assert record["families"]["random"]["below_chosen"] == 3


@pytest.mark.parametrize(
    ("others", "beaten", "p_value"),
    [([0.5] * 19, 19, 0.05), ([0.5] * 18 + [0.6], 18, 0.1), ([0.7] * 5, 0, 1.0)],
)
def test_a_permutation_p_value_counts_ties_against_the_chosen_one(others, beaten, p_value):
    family = family_of(others, 0.6)
    assert (family["below_chosen"], family["count"]) == (beaten, len(others))
    assert family["p_value"] == pytest.approx(p_value)
    assert family["smallest_p"] == pytest.approx(1 / (len(others) + 1))
