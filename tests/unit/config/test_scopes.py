"""What a list of tokens, several vectors and gates may hold."""

import pytest

from snakesteer.config import SteeringConfig
from snakesteer.config.load import load_config
from snakesteer.errors import UserError

PARTS = [{"direction": "caa", "layer": 1}, {"direction": "caa", "layer": 2, "operator": "clamp"}]
TOGETHER = {"methods": ["together"], "together": PARTS}


def refusal(**steering):
    with pytest.raises(UserError) as caught:
        load_config({"steering": steering})
    return str(caught.value)


def test_yes_and_no_without_quotation_marks_are_no_tokens():
    """They would be the ids 1 and 0."""
    told = refusal(scope="at_tokens", at_tokens=["maybe", False])
    assert "at_tokens is ['maybe', False]: YAML reads yes, no" in told
    assert "quotation marks" in told
    parts = [{**part, "scope": "at_tokens", "at_tokens": [True]} for part in PARTS]
    assert "at_tokens is [True]" in refusal(methods=["together"], together=parts)
    assert SteeringConfig(scope="at_tokens", at_tokens=["no", 1]).at_tokens == ("no", 1)


def test_clamp_has_no_strength_in_nats_beside_others_either():
    told = refusal(**TOGETHER, unit="kl")
    assert "steering.together has the operators ['add', 'clamp']" in told
    SteeringConfig(**TOGETHER, unit="dose")


def test_a_gate_looks_along_thoughts_where_there_are_some():
    gate = {"layer": 0.4, "direction": "seal"}
    assert "steering.gates names 'seal', pairs.kind is" in refusal(gates=[gate])
    thoughts = {"kind": "thoughts", "read": "blank_lines"}
    load_config({"steering": {"gates": [gate]}, "pairs": thoughts})
