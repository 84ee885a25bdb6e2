"""What a dose delivered."""

from dataclasses import replace

import pytest

from snakesteer.evaluation.delivered import DELIVERED, delivered_dose, mean_alpha_t
from tests.unit.search.fakes import answers_of

PLAIN = answers_of([1, 0])
# Three tokens at 0.5 on average, and one at 0.1.
DYNAMIC = [
    replace(PLAIN[0], new_tokens=3, alpha_t=0.5),
    replace(PLAIN[1], new_tokens=1, alpha_t=0.1),
]


def test_every_token_counts_once():
    assert mean_alpha_t(DYNAMIC) == pytest.approx((3 * 0.5 + 0.1) / 4)
    assert mean_alpha_t(PLAIN) is None


@pytest.mark.parametrize("dose", [0.2, -0.2, 0.0])
def test_a_constant_strength_delivers_its_dose(dose):
    assert delivered_dose(dose, PLAIN) == {"delivered_dose": abs(dose)}
    found = delivered_dose(dose, DYNAMIC)
    assert tuple(found) == DELIVERED[:2]
    assert found["delivered_dose"] == pytest.approx(abs(dose) * 0.4)


def test_a_gate_delivers_its_dose_at_a_share_of_the_tokens():
    gated = [
        replace(PLAIN[0], new_tokens=3, steered_share=1.0),
        replace(PLAIN[1], new_tokens=1, steered_share=0.0),
    ]
    found = delivered_dose(-0.2, gated)
    assert found == {"delivered_dose": 0.2, "steered_share": pytest.approx(0.75)}
    assert {*found} < {*DELIVERED}
