"""The search keeps slots full; the table of docs/search.md is from the same benchmark."""

import pytest

from benchmarks.occupancy import embedded, full, in_rounds, search

pytestmark = pytest.mark.usefixtures("quiet_optuna")


@pytest.mark.parametrize(
    ("shape", "wanted", "together"), [(embedded(), 0.8, 0.4), (full(256), 0.7, 0.2)]
)
def test_slots_are_busy_without_rounds(shape, wanted, together):
    found = search(shape, seed=0)
    assert found["busy"] > wanted
    assert found["useful"] > wanted
    assert in_rounds(shape, seed=0) < together
