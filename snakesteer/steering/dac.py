"""DAC's dynamic strength: how much steering would change the next-token distribution."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snakesteer.config import Kl
from snakesteer.steering.nucleus import by_bisection, nucleus_of_row


@dataclass(frozen=True)
class Dac:
    """Dynamic strength in the residual form of DAC.

    After Scalena, Sarti and Nissim 2024, "Multi-property Steering of Large Language Models with
    Dynamic Activation Composition" (arXiv 2406.17563). The paper steers attention heads with
    time-indexed vectors; this form keeps its dynamic strength and applies it to one constant vector
    in the residual stream.

    Attributes:
        entropy_threshold: Steer only where the unsteered next-token entropy (nats) exceeds this.
        ptop: Top-p mass that chooses the tokens on which the KL is computed.
        max_alpha: Cap on the KL.
        probe_alpha: α₀, the factor on the vector in the probe stream (at a band's first layer).
        kl: ``true_kl``, or ``per_token``: the KL divided by the number of tokens that it is taken
            over, which is what the authors' repository computes.
    """

    entropy_threshold: float
    ptop: float
    max_alpha: float
    probe_alpha: float
    kl: Kl = "true_kl"


def dynamic_alpha(
    unsteered: Tensor,
    probe: Tensor,
    ptop: Tensor,
    max_alpha: Tensor,
    entropy_threshold: Tensor,
    per_token: Tensor,
) -> Tensor:
    """DAC's strength α_t for one step.

    α_t = min(KL(unsteered ‖ probe), max_alpha) with both distributions renormalised on the union of
    their top-p sets, and 0 where the entropy of the whole unsteered distribution does not exceed
    the threshold. The KL is the true one (nats) or, where `per_token`, divided by the size of the
    union: the authors' repository computes that (``batchmean`` of one-dimensional tensors). A probe
    that breaks the model, so that its logits are no numbers, differs as much as can be.

    The top-p sets keep the token that crosses the mass (as in the DAC authors' repository,
    DanielSc4/Dynamic-Activation-Composition). On a CPU only rows that can be above 0 cost time;
    elsewhere the computation is the same whatever the numbers are.

    Args:
        unsteered: ``[batch, vocab]`` next-token logits without steering.
        probe: ``[batch, vocab]`` logits of the stream steered at α₀.
        ptop: ``[batch]`` top-p mass.
        max_alpha: ``[batch]`` cap.
        entropy_threshold: ``[batch]`` nats.
        per_token: ``[batch]`` bool.

    Returns:
        ``[batch]`` float32, at least 0.
    """
    arguments = (unsteered, probe, ptop, max_alpha.float(), entropy_threshold, per_token)
    return (_row_by_row if unsteered.device.type == "cpu" else _all_at_once)(*arguments)


def _all_at_once(
    unsteered: Tensor,
    probe: Tensor,
    ptop: Tensor,
    max_alpha: Tensor,
    entropy_threshold: Tensor,
    per_token: Tensor,
) -> Tensor:
    """`dynamic_alpha` on a GPU: the same steps and shapes whatever the numbers are."""
    unsteered, probe = unsteered.float(), probe.float()
    probabilities = torch.cat([unsteered, probe]).softmax(dim=-1)
    first, second = by_bisection(probabilities, torch.cat([ptop, ptop])).chunk(2)
    union = first | second
    log_p = unsteered.masked_fill(~union, -torch.inf).log_softmax(dim=-1)
    log_q = probe.masked_fill(~union, -torch.inf).log_softmax(dim=-1)
    # 0·log 0 is 0: outside the union, and where the model rules a token out (logit −∞).
    terms = torch.where(log_p > -torch.inf, log_p.exp() * (log_p - log_q), 0.0)
    divergence = terms.sum(dim=-1).clamp(min=0.0)
    divergence = torch.where(divergence.isnan(), torch.inf, divergence)
    divergence = torch.where(per_token, divergence / union.sum(dim=-1), divergence)
    entropy = torch.special.entr(probabilities[: len(unsteered)]).sum(dim=-1)
    alpha = torch.minimum(divergence, max_alpha)
    return torch.where(entropy > entropy_threshold, alpha, 0.0)


def _row_by_row(unsteered: Tensor, probe: Tensor, *settings: Tensor) -> Tensor:
    """`dynamic_alpha` on a CPU: each row by itself, so that others do not change its bits."""
    rows = zip(unsteered, probe, *(setting.tolist() for setting in settings), strict=True)
    return torch.tensor([_alpha_of_row(*row) for row in rows], dtype=torch.float32)


def _alpha_of_row(
    unsteered: Tensor,
    probe: Tensor,
    ptop: float,
    max_alpha: float,
    entropy_threshold: float,
    per_token: bool,
) -> float:
    if max_alpha == 0.0:  # as of streams that are not in use
        return 0.0
    first, second = unsteered.float().numpy(), probe.float().numpy()
    p = _softmax(first)
    if not _entropy(first, p) > entropy_threshold:
        return 0.0
    q = _softmax(second)
    union = nucleus_of_row(p, ptop) | nucleus_of_row(q, ptop)
    divergence = _divergence(first[union], second[union])
    if per_token:
        divergence /= np.count_nonzero(union)
    return min(divergence, max_alpha)


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(invalid="ignore"):  # −∞ − −∞ is NaN, as it should be
        weights = np.exp(logits - logits.max())
    weights /= weights.sum()
    return weights


def _entropy(logits: NDArray[np.float32], probability: NDArray[np.float32]) -> float:
    """−Σ p·log p in nats, without a logarithm per token: that of the likeliest is −log Σ exp."""
    with np.errstate(invalid="ignore"):
        shifted = logits - logits.max()
    np.maximum(shifted, -1e4, out=shifted)  # 0 · −∞ is 0
    return -math.log(probability.max()) - float((probability * shifted).sum())


def _divergence(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """KL in nats of two distributions from their logits; ∞ where the second is no numbers."""
    log_p, log_q = _log_softmax(first), _log_softmax(second)
    # 0·log 0 is 0 where the model rules a token out (logit −∞).
    possible = log_p > -np.inf
    divergence = float(np.sum(np.exp(log_p[possible]) * (log_p - log_q)[possible]))
    return math.inf if math.isnan(divergence) else max(divergence, 0.0)


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        shifted = logits.astype(np.float64) - logits.max()
    return shifted - np.log(np.exp(shifted).sum())
