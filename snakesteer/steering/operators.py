"""What steering does to the residual stream: pure functions of it, of a vector v and of a strength.

Notation: h is the residual stream of one position, d = v/‖v‖. Every operator takes ``hidden``
``[..., hidden]``, ``vector`` ``[..., hidden]`` (float32) and ``alpha`` ``[...]`` (float32), which
broadcast, and returns the new residual stream in the dtype of ``hidden``. `rotate` also takes an
``axis`` of the shape of ``vector``. All but `add` compute in float32.

A strength of 0 is off: `apply_operator` gives ``hidden`` itself there, bit for bit, also for
operators that would not be the identity there.
"""

from collections.abc import Callable
from typing import get_args

import torch
from torch import Tensor

from snakesteer.config import Operator

OPERATORS: tuple[Operator, ...] = get_args(Operator)

# Below this sine of the angle between two vectors, the plane of both cannot be told from rounding.
_PARALLEL = 1e-4


def add(hidden: Tensor, vector: Tensor, alpha: Tensor) -> Tensor:
    """Addition: h + α·v.

    Turner et al. 2023 (arXiv 2308.10248) and most methods since.
    """
    return hidden + (alpha[..., None] * vector).to(hidden.dtype)


def clamp(hidden: Tensor, vector: Tensor, alpha: Tensor) -> Tensor:
    """Clamping: h + d·(c − ⟨h, d⟩) with c = α·‖v‖. The component along v is c afterwards.

    The action ``clamp`` of lm-evaluation-harness' steered models (without a bias), and of feature
    steering with sparse autoencoders: Templeton et al. 2024, "Scaling Monosemanticity".
    """
    h = hidden.float()
    length = _length(vector)
    d = vector / _positive(length)
    moved = alpha[..., None] * length - _dot(h, d)
    return (h + moved * d).to(hidden.dtype)


def norm_preserving(hidden: Tensor, vector: Tensor, alpha: Tensor) -> Tensor:
    """Addition at constant length: (h + α·v)·‖h‖/‖h + α·v‖.

    ``normalize`` of repeng, and of the control code of Zou et al. 2023, "Representation
    Engineering" (arXiv 2310.01405).
    """
    h = hidden.float()
    moved = h + alpha[..., None] * vector
    length = _length(moved)
    scaled = moved * (_length(h) / _positive(length))
    return torch.where(length > 0.0, scaled, h).to(hidden.dtype)


def angular(hidden: Tensor, vector: Tensor, alpha: Tensor) -> Tensor:
    """Rotation towards v by the angle α in radians: ‖h‖·(cos α·ĥ + sin α·t̂).

    ĥ = h/‖h‖, and t̂ is the unit vector along d − ⟨d, ĥ⟩·ĥ; a negative angle turns away from v. The
    length of h stays, that of v does not matter. Where h and v are parallel, there is no plane to
    turn in, and h stays as it is.

    Angular Steering (Vu and Nguyen 2025, arXiv 2510.26243) turns activations too, but in a plane
    that is the same for all positions, see `rotate`. The plane of h and v needs no data beyond v.
    """
    h = hidden.float()
    length = _length(h)
    unit = h / _positive(length)
    d = vector / _positive(_length(vector))
    tangent = d - _dot(unit, d) * unit
    sine = _length(tangent)
    angle = alpha[..., None]
    turned = length * (angle.cos() * unit + angle.sin() * (tangent / _positive(sine)))
    return torch.where(sine > _PARALLEL, turned, h).to(hidden.dtype)


def ablate(hidden: Tensor, vector: Tensor, alpha: Tensor) -> Tensor:
    """Directional ablation: h − α·⟨h, d⟩·d. α is the share that goes of the component along v.

    At 1 nothing is left along v, at 2 h is mirrored, and below 0 the component grows. Neither the
    length of v nor its sign matters.

    Arditi et al. 2024, "Refusal in Language Models Is Mediated by a Single Direction"
    (arXiv 2406.11717), with α = 1, at all positions, and wherever something is written to the
    residual stream.
    """
    h = hidden.float()
    d = vector / _positive(_length(vector))
    return (h - alpha[..., None] * _dot(h, d) * d).to(hidden.dtype)


def rotate(hidden: Tensor, vector: Tensor, alpha: Tensor, axis: Tensor) -> Tensor:
    """Rotation by the angle α in radians in one plane for all positions: that of v and ``axis``.

    With the unit vector e along axis − ⟨axis, d⟩·d, the part a·d + b·e of h in the plane becomes
    (cos α·a + sin α·b)·d + (cos α·b − sin α·a)·e: from e towards d where α is positive. What is
    outside the plane stays, and so does the length of h; those of v and axis do not matter. Where v
    and axis are parallel, there is no plane, and h stays as it is.

    Angular Steering (Vu and Nguyen 2025, arXiv 2510.26243) turns this part of h to an absolute
    angle. No absolute angle leaves a model as it is; a relative one does at 0, which a search for a
    strength needs.
    """
    h = hidden.float()
    d, aside = _apart(vector, axis)
    e = aside / _positive(_length(aside))
    a, b = _dot(h, d), _dot(h, e)
    cos, sin = alpha.cos()[..., None], alpha.sin()[..., None]
    turned = h + ((cos - 1.0) * a + sin * b) * d + ((cos - 1.0) * b - sin * a) * e
    return torch.where(_parallel(aside, axis), h, turned).to(hidden.dtype)


def are_parallel(vector: Tensor, axis: Tensor) -> bool:
    """Whether `rotate` has no plane to turn in, ``[hidden]`` both."""
    return bool(_parallel(_apart(vector.float(), axis.float())[1], axis.float()))


_FUNCTIONS: dict[Operator, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "add": add,
    "clamp": clamp,
    "norm_preserving": norm_preserving,
    "angular": angular,
    "ablate": ablate,
}


def apply_operator(
    operator: Operator,
    hidden: Tensor,
    vector: Tensor,
    alpha: Tensor,
    axis: Tensor | None = None,
) -> Tensor:
    """Apply an operator where the strength is not 0.

    Args:
        operator: Which one.
        hidden: ``[..., hidden]`` residual stream.
        vector: ``[..., hidden]`` float32, broadcasts against `hidden`.
        alpha: ``[...]`` float32, broadcasts against all but the last dimension of `hidden`.
        axis: For ``rotate``, and only used by it: ``[..., hidden]`` float32, as `vector`.

    Returns:
        ``[..., hidden]`` in the dtype of `hidden`; the same bits where `alpha` is 0.
    """
    if operator == "rotate":
        assert axis is not None
        changed = rotate(hidden, vector, alpha, axis)
    else:
        changed = _FUNCTIONS[operator](hidden, vector, alpha)
    return torch.where((alpha != 0.0)[..., None], changed, hidden)


def _apart(vector: Tensor, axis: Tensor) -> tuple[Tensor, Tensor]:
    """The unit vector d, and what of the axis is not along it."""
    d = vector / _positive(_length(vector))
    return d, axis - _dot(axis, d) * d


def _parallel(aside: Tensor, axis: Tensor) -> Tensor:
    """``[..., 1]``."""
    return ~(_length(aside) > _PARALLEL * _length(axis))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """``[..., 1]``."""
    return (a * b).sum(dim=-1, keepdim=True)


def _length(x: Tensor) -> Tensor:
    """``[..., 1]``."""
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True)


def _positive(length: Tensor) -> Tensor:
    """A length to divide by: a vector without one stays 0."""
    return torch.where(length > 0.0, length, 1.0)
