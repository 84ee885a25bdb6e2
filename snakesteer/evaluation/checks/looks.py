"""What a steering is looked at with, where the run's own condition need not occur in a short text.

The gate's texts are a few tokens long. Tokens that a scope names may not be among them, and a gate
may be open or closed at all of them, so that nothing would be seen of either.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from snakesteer.evaluation.checks.gate_truth import gate_score
from snakesteer.evaluation.checks.hook_effects import in_scope
from snakesteer.models.blocks import on_block_outputs
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.gates import Gate
from snakesteer.steering.kinds import Steering
from snakesteer.steering.residual import ResidualSteering


def looks(
    loaded: LoadedModel, steering: Steering, prompt: Sequence[int], answer: Sequence[int]
) -> list[Steering]:
    """The steering with a token, and with thresholds, that make a difference in a text.

    A scope by token gets the answer's first one. A gate gets a threshold between the scores of the
    first two positions of the scope, and the side of it on which the first is closed and the second
    open: up to there the text is the unsteered one, so that both are sure. Before that it is looked
    at with a threshold half as far again as the score that decides, which finds it closed: a
    projection in the place of a cosine, whose sign is the same, would open it.

    Args:
        loaded: The model.
        steering: How the text is steered.
        prompt: Token ids.
        answer: What the unsteered model says.

    Returns:
        One or two, the last of which steers.
    """
    if not isinstance(steering, ResidualSteering):
        return [steering]
    read = [*answer[:-1]]
    first = ((*answer, loaded.pad_id)[0],)
    steering = steering.with_parts(
        lambda part: part if part.tokens is None else replace(part, tokens=first)
    )
    if steering.gate is None:
        return [steering]
    scores = _scores(loaded, steering.gate, [*prompt, *read])[len(prompt) - 1 :]
    tokens = [prompt[-1], *read]
    deciding = [step for step, token in enumerate(tokens) if in_scope(steering, step, token)]
    if steering.gate.when == "prompt" or len(deciding) < 2:
        [score] = scores[:1] if steering.gate.when == "prompt" else [scores[deciding[0]]]
        return [_at(steering, score, 1.0), _at(steering, score, -1.0)]
    closed, opened = (scores[step] for step in deciding[:2])
    side = replace(steering.gate, side="above" if opened > closed else "below")
    steering = replace(steering, gate=side)
    return [_at(steering, opened, 1.0), _at(steering, (closed + opened) / 2, 0.0)]


def _at(steering: ResidualSteering, score: float, beyond: float) -> ResidualSteering:
    """With a threshold that is so many times half the score beyond it."""
    assert steering.gate is not None
    sign = 1.0 if steering.gate.side == "above" else -1.0
    threshold = score + beyond * sign * (abs(score) / 2 + 1e-3)
    return replace(steering, gate=replace(steering.gate, threshold=threshold))


@torch.inference_mode()
def _scores(loaded: LoadedModel, gate: Gate, text: Sequence[int]) -> list[float]:
    """By position, from the plain model."""
    found: list[Tensor] = []
    ids = torch.tensor([text], device=loaded.device)
    with on_block_outputs(loaded.blocks, {gate.layer: found.append}):
        loaded.model(ids, attention_mask=torch.ones_like(ids), use_cache=False)
    return [gate_score(gate, h) for h in found[0][0].cpu().double()]
