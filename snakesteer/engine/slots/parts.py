"""A request's steering in the parts that the engine computes apart.

What is done at the steps of a slot is data of its row: of block outputs in
`snakesteer.engine.slots.rows`, of attention heads in `snakesteer.engine.slots.head_rows`. What
reaches earlier positions of the prompt is done where the prompt is read.
"""

from collections.abc import Hashable
from dataclasses import dataclass, replace

from torch import Tensor

from snakesteer.engine.interface import Request
from snakesteer.steering.heads import HeadSteering
from snakesteer.steering.prompt_start import PromptStartSteering
from snakesteer.steering.residual import Place, ResidualSteering

# What may be added where a prompt is read.
PromptSteering = ResidualSteering | PromptStartSteering


@dataclass(frozen=True, eq=False)
class Parts:
    """What is done where; None is nothing.

    Attributes:
        blocks: To the outputs of blocks, at the steps of the slot; step 0 is the last prompt token.
        heads: To the outputs of attention heads, at the same steps.
        prompt: To the outputs of blocks, at the prompt positions before them.
    """

    blocks: ResidualSteering | None = None
    heads: HeadSteering | None = None
    prompt: PromptSteering | None = None


def parts(request: Request) -> Parts:
    """The parts of a request's steering."""
    match request.steering:
        case None:
            return Parts()
        case HeadSteering() as heads:
            return Parts(heads=heads)
        case PromptStartSteering() as start:
            prompt = None if start.alpha == 0.0 else start
            return Parts(blocks=_at_last(start, len(request.prompt_ids)), prompt=prompt)
        case ResidualSteering() as one:
            return Parts(blocks=one, prompt=_in_prompt(one))


def _in_prompt(one: ResidualSteering) -> ResidualSteering | None:
    """Those parts that steer positions of the prompt before its last one."""
    if one.dac is not None or one.alpha == 0.0:
        return None
    reaching = [part for part in one.parts if part.steers_prompt]
    if len(reaching) == len(one.parts):
        return one
    return replace(reaching[0], beside=tuple(reaching[1:])) if reaching else None


def _at_last(start: PromptStartSteering, prompt_tokens: int) -> ResidualSteering | None:
    """What the start of a prompt gets at the last token, if the prompt is that short."""
    if prompt_tokens > len(start.vector):
        return None
    vector = start.vector[prompt_tokens - 1]
    return ResidualSteering(start.layer, vector, start.alpha, scope="last_prompt_token")


def reading(request: Request) -> Hashable:
    """How a request's prompt is read: equal for those that may share it, None if unsteered."""
    match parts(request).prompt:
        case None:
            return None
        case PromptStartSteering() as start:
            return start.layer, start.alpha, tuple(start.vector.shape), _bits(start.vector)
        case ResidualSteering() as one:
            return tuple((part.operator, *map(_place_bits, part.places)) for part in one.parts)


def _place_bits(place: Place) -> Hashable:
    axis = None if place.axis is None else _bits(place.axis)
    return place.layer, place.alpha, _bits(place.vector), axis


def _bits(vector: Tensor) -> bytes:
    return vector.float().cpu().numpy().tobytes()
