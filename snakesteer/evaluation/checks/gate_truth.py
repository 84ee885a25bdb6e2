"""Where gates ought to be open: derived once more, apart from the code that the engines run."""

from collections.abc import Sequence

from torch import Tensor

from snakesteer.engine.watch import Pass
from snakesteer.steering.gates import Gate
from snakesteer.steering.kinds import Steering
from snakesteer.steering.residual import ResidualSteering


def gate_score(gate: Gate, h: Tensor) -> float:
    """The score of a block's output ``[hidden]`` float64: cosine with v, or the part along v."""
    v = gate.vector.double()
    along = float(h @ v / v.norm())
    return along / float(h.norm()) if gate.score == "cosine" else along


def opened_at(
    passes: Sequence[Pass], steering: Steering, length: int, prompt_tokens: int
) -> list[bool] | None:
    """By position whether a gate was open, from what its block gave before it was steered.

    Args:
        passes: All passes of one request.
        steering: How it was steered.
        length: Positions of prompt and answer that were read.
        prompt_tokens: Tokens of the prompt.

    Returns:
        None without a gate.
    """
    gate = steering.gate if isinstance(steering, ResidualSteering) else None
    if gate is None:
        return None
    found = [False] * length
    for one in passes:
        for position, h in enumerate(one.before[gate.layer].double(), start=one.start):
            if position < (length if one.chooses else prompt_tokens - 1):
                beyond = gate_score(gate, h) - gate.threshold
                found[position] = beyond > 0 if gate.side == "above" else beyond < 0
    return [found[prompt_tokens - 1]] * length if gate.when == "prompt" else found
