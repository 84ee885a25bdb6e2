"""Which methods need the reference engine."""

import pytest

from snakesteer.engine.reference_only import needs_reference


@pytest.mark.parametrize(
    ("methods", "needed"),
    [
        (["caa"], False),
        (["caa", "dac"], False),
        (["caa", "actadd"], True),
        (["dac_heads"], True),
        (["iti", "dac"], True),
    ],
)
def test_one_method_decides_for_all(methods: list[str], needed: bool):
    assert needs_reference(methods) is needed
