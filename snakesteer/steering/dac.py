"""DAC's dynamic strength: how much steering would change the next-token distribution."""

from dataclasses import dataclass

import torch
from torch import Tensor

from snakesteer.config import Kl


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


def top_p_set(logits: Tensor, mass: Tensor) -> Tensor:
    """The smallest set of likeliest tokens whose probability reaches a mass.

    The token that crosses the mass is kept, so that the set is never empty (as in the DAC authors'
    repository, DanielSc4/Dynamic-Activation-Composition).

    Args:
        logits: ``[batch, vocab]``.
        mass: ``[batch]`` in (0, 1].

    Returns:
        ``[batch, vocab]`` bool.
    """
    probability = logits.float().softmax(dim=-1)
    ids = _top_p_candidates(probability, mass)
    ordered, order = probability.gather(-1, ids).sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    kept = before < mass[:, None]
    empty = torch.zeros_like(probability, dtype=torch.bool)
    return empty.scatter(-1, ids.gather(-1, order), kept)


def _top_p_candidates(probability: Tensor, mass: Tensor) -> Tensor:
    """Ascending ids ``[batch, k]`` of tokens that `top_p_set` may keep.

    Tokens below (1 − mass) / vocab have less than 1 − mass together, so that the others reach the
    mass (half of that bound leaves room for rounding). Sorting them alone saves most of the time of
    DAC on a CPU. On CUDA the number of tokens must not depend on data, for the step is captured.
    """
    batch, vocab = probability.shape
    if probability.is_cuda:
        return torch.arange(vocab, device=probability.device).expand(batch, -1)
    bound = (1.0 - mass[:, None]) / (2 * vocab)
    k = int((probability >= bound).sum(dim=-1).max())
    return probability.topk(k, dim=-1).indices.sort(dim=-1).values


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
    unsteered, probe = unsteered.float(), probe.float()
    union = top_p_set(unsteered, ptop) | top_p_set(probe, ptop)
    log_p = unsteered.masked_fill(~union, -torch.inf).log_softmax(dim=-1)
    log_q = probe.masked_fill(~union, -torch.inf).log_softmax(dim=-1)
    # 0·log 0 is 0: outside the union, and where the model rules a token out (logit −∞).
    terms = torch.where(log_p > -torch.inf, log_p.exp() * (log_p - log_q), 0.0)
    divergence = terms.sum(dim=-1).clamp(min=0.0)
    divergence = torch.where(divergence.isnan(), torch.inf, divergence)
    divergence = torch.where(per_token, divergence / union.sum(dim=-1), divergence)
    entropy = torch.special.entr(unsteered.softmax(dim=-1)).sum(dim=-1)
    alpha = torch.minimum(divergence, max_alpha.float())
    return torch.where(entropy > entropy_threshold, alpha, 0.0)
