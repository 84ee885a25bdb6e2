"""How many trials are in flight, and where chunks lie."""

import pytest

from snakesteer.config import SearchConfig, SteeringConfig
from snakesteer.search.plan import Plan, fitting_trials
from tests.unit.search.fakes import LAYERS, VECTORS, answers_of


@pytest.mark.parametrize(
    ("rows", "problems", "wanted"),
    [(1, 96, 2), (8, 96, 2), (1024, 96, 8), (256, 319, 8), (128, 319, 5), (32, 96, 4), (4, 1, 8)],
)
def test_trials_in_flight_follow_from_rows_and_problems(rows, problems, wanted):
    assert fitting_trials(rows, problems) == wanted


def test_chunks_cover_the_problems():
    search = SearchConfig(chunk_size=4)
    plan = Plan(search, SteeringConfig(), LAYERS, VECTORS, answers_of([1] * 10), 2, 8)
    assert plan.num_chunks == 3
    assert [plan.chunk_length(number) for number in range(3)] == [4, 4, 2]
    assert [plan.baseline[plan.chunk(number)] for number in range(3)] == [
        [*plan.baseline[:4]],
        [*plan.baseline[4:8]],
        [*plan.baseline[8:]],
    ]
