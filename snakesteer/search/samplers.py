"""The study's samplers and pruners, made from the config."""

import warnings
from collections.abc import Sequence

import optuna
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
    GridSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)

from snakesteer.config import SearchConfig, SteeringConfig
from snakesteer.search.grid import grid


def make_sampler(
    search: SearchConfig,
    steering: SteeringConfig,
    layers: Sequence[int],
    seed: int,
    in_parallel: bool,
) -> BaseSampler:
    """The sampler for one trial.

    Args:
        search: Names the sampler.
        steering: The space.
        layers: The layers to choose from.
        seed: Of this trial. QMC and the grid are sequences: they keep the study's seed and find
            their place in the study.
        in_parallel: Whether other trials run at the same time.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match search.sampler:
            case "tpe":
                return TPESampler(
                    n_startup_trials=search.n_startup_trials,
                    # Trials that run have no result yet: this keeps new ones away from them.
                    constant_liar=in_parallel,
                    seed=seed,
                )
            case "gp":
                return GPSampler(n_startup_trials=search.n_startup_trials, seed=seed)
            case "cmaes":
                return CmaEsSampler(n_startup_trials=search.n_startup_trials, seed=seed)
            case "qmc":
                return QMCSampler(seed=search.seed)
            case "grid":
                return GridSampler(dict(grid(search, steering, layers)), seed=search.seed)
            case "random":
                return RandomSampler(seed=seed)


def make_pruner(search: SearchConfig, num_chunks: int) -> BasePruner:
    """The pruner. Its steps are chunks of the validation split; problems for ``wilcoxon``.

    Args:
        search: Names the pruner.
        num_chunks: Chunks of a complete trial.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match search.pruner:
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
