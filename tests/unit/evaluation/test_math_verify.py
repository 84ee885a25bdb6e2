"""Our reading against math-verify's on generated answers, where nobody chose the texts."""

import logging

from snakesteer.evaluation.agreement import math_verify_verdict
from snakesteer.evaluation.grading import grade
from tests.unit.evaluation.variations import MANY, variations

logger = logging.getLogger(__name__)


def test_two_thousand_variations():
    made = variations()
    assert len(made) == MANY
    assert len({one.text for one in made}) > 0.95 * MANY
    misread = [one for one in made if not grade(one.text, one.number, "").numeric]
    assert misread == []
    assert [one for one in made if grade(one.text, one.other, "").numeric] == []
    # Where math-verify reads another number, it is one of the kinds that it does not know.
    apart = [one for one in made if not math_verify_verdict(one.text, one.number)]
    assert [one for one in apart if one.why is None] == []
    share = 1 - len(apart) / MANY
    logger.info("math-verify agrees on %.1f%% of %d", 100 * share, MANY)
    assert 0.9 < share < 0.99
