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
    loaded: LoadedModel, steering: Steering, prompt: Sequence[int], read: Sequence[int]
) -> list[Steering]:
    """The steering with a token, a window and thresholds that make a difference in a text.

    A scope by token gets the answer's first one. A window of generated tokens holds the second one
    alone, so that it begins and ends within the text, or the first where that is all there is. A
    gate gets a threshold between the scores of the first two positions of the scope, and the side
    of it on which the first is closed and the second open: up to there the text is the unsteered
    one, so that both are sure. Before that it is looked at with a threshold half as far again as
    the score that decides, which finds it closed: a projection in the place of a cosine, whose sign
    is the same, would open it.

    Args:
        loaded: The model.
        steering: How the text is steered.
        prompt: Token ids.
        read: What the unsteered model says, as far as it is read back.

    Returns:
        One or two, the last of which steers; nothing where no position of the text is in the scope.
    """
    if not isinstance(steering, ResidualSteering):
        return [steering]
    tokens = [prompt[-1], *read]
    steering = steering.with_parts(lambda part: _within(part, read, loaded.pad_id))
    deciding = [
        step
        for step, token in enumerate(tokens)
        if any(in_scope(part, step, token) for part in steering.parts)
    ]
    if not deciding:
        return []
    if steering.gate is None:
        return [steering]
    scores = _scores(loaded, steering.gate, [*prompt, *read])[len(prompt) - 1 :]
    if steering.gate.when == "prompt" or len(deciding) < 2:
        [score] = scores[:1] if steering.gate.when == "prompt" else [scores[deciding[0]]]
        return [_at(steering, score, 1.0), _at(steering, score, -1.0)]
    closed, opened = (scores[step] for step in deciding[:2])
    side = replace(steering.gate, side="above" if opened > closed else "below")
    steering = replace(steering, gate=side)
    return [_at(steering, opened, 1.0), _at(steering, (closed + opened) / 2, 0.0)]


def _within(part: ResidualSteering, read: Sequence[int], pad: int) -> ResidualSteering:
    """A part with a token and a window that a text has, and has not everywhere if it can be."""
    if part.window is not None:
        second = part.scope == "outside_generated_window" or len(read) > 1
        part = replace(part, window=(1, 2) if second else (0, 1))
    if part.tokens is None:
        return part
    several = part.scope == "at_tokens" or len({*read}) > 1
    unread = next(token for token in (pad, 0, 1) if token not in read[:1])
    return replace(part, tokens=(read[0] if read and several else unread,))


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
