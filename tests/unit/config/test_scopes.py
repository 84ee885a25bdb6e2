"""What a list of tokens, several vectors and gates may hold."""

import pytest

from snakesteer.config import SteeringConfig
from snakesteer.config.load import load_config
from snakesteer.errors import UserError

PARTS = [{"direction": "caa", "layer": 1}, {"direction": "caa", "layer": 2, "operator": "clamp"}]
TOGETHER = {"methods": ["together"], "together": PARTS}


def refusal(max_new_tokens=40, **steering):
    with pytest.raises(UserError) as caught:
        load_config({"steering": steering, "generation": {"max_new_tokens": max_new_tokens}})
    return str(caught.value)


def outside(end):
    return {"scope": "outside_generated_window", "generated_window": [0, end]}


def test_a_scope_that_no_answer_reaches():
    """The last token of an answer is not read back."""
    told = refusal(**outside(39))
    assert "'outside_generated_window', steering.generated_window is [0, 39] and" in told
    assert "Choose another window" in told
    load_config({"steering": outside(38)})
    parts = [PARTS[0], {**PARTS[0], **outside(60)}]
    told = refusal(methods=["together"], together=parts)
    assert "steering.together[1].generated_window is [0, 60]" in told
    told = refusal(1, scope="generated_only")
    assert "'generated_only' and generation.max_new_tokens is 1" in told
    assert "Choose another scope" in told


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
