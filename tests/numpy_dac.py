"""DAC's strength in plain numpy, to compare with."""

import math

import numpy as np


def softmax(logits):
    weights = np.exp(np.asarray(logits, dtype=np.float64) - np.max(logits))
    return weights / weights.sum()


def numpy_top_p(probabilities, mass):
    """Likeliest tokens until the mass is reached, and how close the call was."""
    chosen, total, margin = set(), 0.0, math.inf
    for token in np.argsort(-probabilities, kind="stable"):
        margin = min(margin, abs(total - mass))
        if total >= mass:
            break
        chosen.add(int(token))
        total += probabilities[token]
    return chosen, margin


def numpy_alpha(unsteered, probe, ptop, max_alpha, threshold, per_token=False):
    """DAC's α_t and how far the nearest decision was from going the other way."""
    p, q = softmax(unsteered), softmax(probe)
    first, margin_p = numpy_top_p(p, ptop)
    second, margin_q = numpy_top_p(q, ptop)
    union = sorted(first | second)
    p_union, q_union = p[union] / p[union].sum(), q[union] / q[union].sum()
    divergence = float(np.sum(p_union * np.log(p_union / q_union)))
    if per_token:
        divergence /= len(union)
    entropy = float(-np.sum(p * np.log(p)))
    alpha = min(divergence, max_alpha) if entropy > threshold else 0.0
    return alpha, min(margin_p, margin_q, abs(entropy - threshold))
