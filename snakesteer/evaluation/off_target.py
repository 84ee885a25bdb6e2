"""What the tested steering does where it was not meant to do anything.

On neutral text: how far it moves the next-token distribution. On the test answers that are there
already: how much else changes than whether they are right. On a second task: see
`snakesteer.evaluation.second_task`. Texts and problems are what is resampled for the intervals.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from snakesteer.config import EvaluationConfig
from snakesteer.data.prompts import Prompter
from snakesteer.engine.reference.forced import Forced, GivenText, forced_logits
from snakesteer.evaluation.answers import summary
from snakesteer.evaluation.paired import Samples
from snakesteer.evaluation.statistics import Outcomes, bootstrap_mean, finite_or_none
from snakesteer.evaluation.token_kl import START_TOKENS, divergences, neutral_texts
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.kinds import Steering

logger = logging.getLogger(__name__)

_SIDES = ("baseline", "steered")


@dataclass(frozen=True)
class TextCost:
    """What steering does to one text, as means over its generated tokens.

    Attributes:
        tokens: How many they are.
        kl: KL(unsteered ‖ steered) of the next-token distribution, nats.
        baseline_nll: −log p of the text's own tokens without steering, nats.
        steered_nll: The same with it.
        changed: Share of tokens at which another one is the likeliest.
        alpha_t: Mean α_t; None where the strength is not dynamic.
        steered_share: Share of the tokens at which gate and scope let steering through; None where
            neither a gate nor tokens or a window decide.
    """

    tokens: int
    kl: float
    baseline_nll: float
    steered_nll: float
    changed: float
    alpha_t: float | None
    steered_share: float | None = None


def neutral_costs(
    loaded: LoadedModel, prompter: Prompter, passages: Sequence[str], steering: Steering
) -> list[TextCost]:
    """What steering does to neutral passages, in their order; see `neutral_texts`."""
    return text_costs(loaded, neutral_texts(prompter, passages, loaded.context), steering)


def text_costs(
    loaded: LoadedModel, texts: Sequence[GivenText], steering: Steering
) -> list[TextCost]:
    """What steering does to texts, in their order."""
    found = {
        index: _cost(forced, texts[index])
        for index, forced in forced_logits(loaded, texts, steering)
    }
    return [found[index] for index in range(len(texts))]


def _cost(forced: Forced, text: GivenText) -> TextCost:
    own = torch.tensor(text.generated, device=forced.unsteered.device)[:, None]  # [generated, 1]
    log_p, log_q = (side.log_softmax(dim=-1) for side in (forced.unsteered, forced.steered))
    changed = log_p.argmax(dim=-1) != log_q.argmax(dim=-1)
    baseline, steered = (-side.gather(-1, own).double().mean() for side in (log_p, log_q))
    return TextCost(
        tokens=len(own),
        kl=float(divergences(log_p, log_q).mean()),
        baseline_nll=float(baseline),
        steered_nll=float(steered),
        changed=float(changed.double().mean()),
        alpha_t=_mean(forced.alpha_t),
        steered_share=_mean(forced.let_through),
    )


def _mean(values: torch.Tensor | None) -> float | None:
    return None if values is None else float(values.double().mean())


def neutral_record(costs: Sequence[TextCost], evaluation: EvaluationConfig) -> dict[str, Any]:
    """What steering does to neutral texts, each of which counts as much as any other.

    Returns:
        Means over the texts with their intervals; see `interval_record`.
    """
    baseline, steered = ([getattr(one, f"{side}_nll") for one in costs] for side in _SIDES)
    difference = np.subtract(steered, baseline)
    alphas = [one.alpha_t for one in costs if one.alpha_t is not None]
    shares = [one.steered_share for one in costs if one.steered_share is not None]
    return {
        "texts": len(costs),
        "tokens": sum(one.tokens for one in costs),
        "start_tokens": START_TOKENS,
        "kl": interval_record([one.kl for one in costs], evaluation),
        "baseline_perplexity": finite_or_none(_exp(float(np.mean(baseline)))),
        "steered_perplexity": finite_or_none(_exp(float(np.mean(steered)))),
        "perplexity_ratio": interval_record(difference, evaluation, _exp),
        "changed_tokens": interval_record([one.changed for one in costs], evaluation),
        **({"mean_alpha_t": float(np.mean(alphas))} if alphas else {}),
        **({"steered_share": interval_record(shares, evaluation)} if shares else {}),
    }


def cost_rows(costs: Sequence[TextCost]) -> list[dict[str, Any]]:
    """Rows of off_target.jsonl, one a neutral text; null where a number is not finite."""
    return [
        {
            "what": "neutral text",
            "text": number,
            **{
                name: finite_or_none(value)
                for name, value in asdict(cost).items()
                if value is not None
            },
        }
        for number, cost in enumerate(costs)
    ]


def answers_record(
    baseline: Samples, steered: Samples, evaluation: EvaluationConfig
) -> dict[str, Any]:
    """What else steering changes in the test answers.

    Args:
        baseline: Unsteered answers, ``[samples][problems]``.
        steered: Steered ones of the same shape.
        evaluation: Confidence, resamples, seed.

    Returns:
        ``length_change`` in tokens. Of the problems that the unsteered model had right
        (``right_before``), the mean share of such answers that read differently (``reworded``) and
        that are wrong now (``lost``); both None where none was right.
    """
    pairs = [  # [problems][samples]
        list(zip(before, after, strict=True))
        for before, after in zip(
            zip(*baseline, strict=True), zip(*steered, strict=True), strict=True
        )
    ]
    longer = [
        float(np.mean([after.new_tokens - before.new_tokens for before, after in problem]))
        for problem in pairs
    ]
    right = [[pair for pair in problem if pair[0].correct] for problem in pairs]
    right = [problem for problem in right if problem]
    reworded = [float(np.mean([b.text != a.text for b, a in one])) for one in right]
    lost = [float(np.mean([not a.correct for _, a in one])) for one in right]
    lengths = {
        f"{name}_mean_new_tokens": summary([answer for sample in run for answer in sample])[
            "mean_new_tokens"
        ]
        for name, run in zip(_SIDES, (baseline, steered), strict=True)
    }
    return {
        "problems": len(pairs),
        **lengths,
        "length_change": interval_record(longer, evaluation),
        "right_before": len(right),
        "reworded": interval_record(reworded, evaluation) if right else None,
        "lost": interval_record(lost, evaluation) if right else None,
    }


def interval_record(
    values: Outcomes,
    evaluation: EvaluationConfig,
    scale: Callable[[float], float] = float,
) -> dict[str, Any]:
    """A mean over texts or problems with its bootstrap interval.

    Args:
        values: One a text.
        evaluation: Confidence, resamples, seed.
        scale: What the mean and the ends of its interval are shown as.

    Returns:
        ``estimate`` and ``ci``; both None where a number is not finite, which is so where steering
        breaks the model's numbers.
    """
    if not np.isfinite(values).all():
        return {"estimate": None, "ci": None}
    found = bootstrap_mean(
        values, evaluation.bootstrap_resamples, evaluation.confidence, evaluation.seed
    )
    estimate, low, high = (
        finite_or_none(scale(x)) for x in (found.estimate, found.low, found.high)
    )
    return {"estimate": estimate, "ci": None if high is None else [low, high]}


def _exp(value: float) -> float:
    return math.exp(value) if value < 700.0 else math.inf


def log_off_target(record: dict[str, Any]) -> None:
    """Say what steering costs on neutral text."""
    neutral = record["neutral"]
    kl, ratio = neutral["kl"]["estimate"], neutral["perplexity_ratio"]["estimate"]
    if kl is None or ratio is None:
        logger.warning("on neutral text, steering breaks the model's numbers")
        return
    logger.info(
        "on %d neutral texts, steering costs %.4g nats a token; perplexity is %.4g times as high",
        *(neutral["texts"], kl, ratio),
    )
