"""The study's samplers and pruners, made from the config."""

import warnings
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
    WilcoxonPruner,
)
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FrozenTrial, TrialState

from snakesteer.config import SearchConfig


def make_sampler(search: SearchConfig, seed: int, in_parallel: bool) -> BaseSampler:
    """The sampler for one trial.

    Args:
        search: Names the sampler.
        seed: Of this trial. QMC is a sequence: it finds its place in the study.
        in_parallel: Whether other trials run at the same time.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match search.sampler:
            case "tpe":
                return TPESampler(
                    n_startup_trials=search.n_startup_trials,
                    # A dose of one method says little about that of another (docs/search.md).
                    multivariate=True,
                    # Trials that run have no result yet: this keeps new ones away from them.
                    constant_liar=in_parallel,
                    seed=seed,
                )
            case "gp":
                return _NewPointGPSampler(
                    n_startup_trials=search.n_startup_trials,
                    seed=seed,
                    warn_independent_sampling=False,
                )
            case "cmaes":
                return CmaEsSampler(n_startup_trials=search.n_startup_trials, seed=seed)
            case "qmc":
                return QMCSampler(seed=search.seed)
            case "random" | "grid":  # the study itself takes the grid's points
                return RandomSampler(seed=seed)


class _NewPointGPSampler(GPSampler):
    """A Gaussian process that takes a random point instead of one that the study has already.

    It learns from complete trials alone, and would propose a pruned point again and again.
    """

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The proposal, or nothing, which leaves the choice to the random sampler."""
        params = super().sample_relative(study, trial, search_space)
        # Of a study under Hyperband, `get_trials` would show one bracket.
        others = study._storage.get_all_trials(study._study_id, deepcopy=False)
        known = (other.params for other in others if other.state != TrialState.FAIL)
        return {} if any(_same(params, other, search_space) for other in known) else params


def _same(a: dict[str, Any], b: dict[str, Any], space: dict[str, BaseDistribution]) -> bool:
    """Whether points agree, up to a hundredth of a range."""
    return all(
        name in b and abs(value - b[name]) <= (space[name].high - space[name].low) / 100
        if isinstance(space[name], FloatDistribution)
        else value == b.get(name)
        for name, value in a.items()
    )


def make_pruner(search: SearchConfig, num_chunks: int) -> BasePruner:
    """The pruner. Its steps are chunks of the validation split; problems for ``wilcoxon``.

    Args:
        search: Names the pruner.
        num_chunks: Chunks of a complete trial.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match "none" if search.weighs_kl else search.pruner:
            case "none":
                return NopPruner()
            case "median":
                return MedianPruner(
                    n_startup_trials=search.pruner_startup_trials,
                    n_warmup_steps=search.pruner_warmup_chunks,
                )
            case "successive_halving":
                return SuccessiveHalvingPruner(
                    min_resource=max(1, search.pruner_warmup_chunks),
                    reduction_factor=search.pruner_reduction_factor,
                )
            case "hyperband":
                return HyperbandPruner(
                    min_resource=max(1, search.pruner_warmup_chunks),
                    max_resource=max(1, num_chunks),
                    reduction_factor=search.pruner_reduction_factor,
                )
            case "wilcoxon":
                return WilcoxonPruner(
                    p_threshold=search.pruner_p_threshold,
                    n_startup_steps=search.pruner_warmup_chunks * search.chunk_size,
                )
