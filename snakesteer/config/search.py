"""The search."""

from typing import Literal

from pydantic import Field, model_validator

from snakesteer.config.section import Section


class SearchConfig(Section):
    """The Optuna study."""

    n_trials: int = Field(
        8,
        ge=2,
        description="Trials, the unsteered one (trial 0) included. Raising it extends a study; of "
        "one that has more already, all count.",
    )
    objectives: list[Literal["accuracy", "kl"]] = Field(
        ["accuracy"],
        description="What is searched for: `[accuracy]`, or `[accuracy, kl]`: high accuracy, and "
        "little change of what the model says of neutral text (KL, nats per token). A trial over "
        "`kl_budget` is then ended before it answers anything, and no other pruner is asked.",
    )
    kl_budget: float = Field(
        0.1,
        gt=0.0,
        description="Most that the chosen configuration may cost on neutral text, in nats per "
        "token, for the objective `kl` only. At 0.1 the unsteered model's own text is 10.5% more "
        "perplexing with steering.",
    )
    sampler: Literal["tpe", "random", "gp", "qmc", "cmaes", "grid"] = Field(
        "tpe",
        description="How trials are proposed. `gp`, `qmc`, `cmaes` and `grid` need one method.",
    )
    n_startup_trials: int = Field(
        4, ge=0, description="Random trials before `tpe`, `gp` or `cmaes` starts to model."
    )
    grid_points: int = Field(
        5, ge=2, description="Values per numeric parameter, for sampler `grid` only."
    )
    pruner: Literal["median", "successive_halving", "hyperband", "wilcoxon", "none"] = Field(
        "median",
        description="Stops hopeless trials: `median` below the median of earlier ones, `wilcoxon` "
        "where a paired test against the best says so.",
    )
    pruner_startup_trials: int = Field(
        3, ge=0, description="Trials that `median` lets run to the end before it starts."
    )
    pruner_warmup_chunks: int = Field(
        1, ge=0, description="Chunks of a trial that are never pruned."
    )
    pruner_reduction_factor: int = Field(
        3, ge=2, description="One of so many goes on, for `successive_halving` and `hyperband`."
    )
    pruner_p_threshold: float = Field(
        0.1, gt=0.0, lt=1.0, description="Largest p at which `wilcoxon` prunes."
    )
    chunk_size: int = Field(
        16, ge=1, description="Validation problems between two pruning decisions."
    )
    trials_in_flight: int | None = Field(
        None,
        ge=1,
        description="Trials evaluated at the same time: trial k is proposed when trial k minus so "
        "many has its result. null takes 2 to 8, as many as keep the engine busy.",
    )
    one_standard_error: bool = Field(
        True,
        description="Choose the smallest dose within one paired standard error of the best "
        "accuracy; no steering is the smallest of all.",
    )
    max_t: bool = Field(
        True,
        description="Recommend steering only if the best trial's lead over no steering stands a "
        "correction for the number of trials (max-T sign flips at 1 − `evaluation.confidence`).",
    )
    confirm: float = Field(
        0.0,
        ge=0.0,
        le=0.8,
        description="Share of the validation split that is kept from the search; steering is "
        "recommended only if the best trial leads there, too, by one paired standard error.",
    )
    workers: int = Field(1, ge=1, le=256, description="Jobs that search together, one GPU each.")
    seed: int = Field(0, ge=0, description="Of the sampler.")

    @property
    def weighs_kl(self) -> bool:
        """Whether it looks for little change elsewhere, too."""
        return "kl" in self.objectives

    @model_validator(mode="after")
    def _consistent(self) -> "SearchConfig":
        if self.objectives not in (["accuracy"], ["accuracy", "kl"]):
            raise ValueError(
                f"search.objectives is {self.objectives}. Write [accuracy] or [accuracy, kl]"
            )
        fields = type(self).model_fields
        if self.weighs_kl and self.sampler == "cmaes":
            raise ValueError(
                "search.objectives is [accuracy, kl] and search.sampler is 'cmaes', which knows "
                "one objective alone. Use search.sampler: tpe, gp, qmc, random or grid"
            )
        if self.weighs_kl and self.pruner not in (fields["pruner"].default, "none"):
            raise ValueError(
                f"search.objectives is [accuracy, kl] and search.pruner is {self.pruner!r}: "
                "pruners compare trials by one objective, so that none is asked. Leave "
                "search.pruner out"
            )
        if not self.weighs_kl and self.kl_budget != fields["kl_budget"].default:
            raise ValueError(
                f"search.kl_budget is {self.kl_budget}, but search.objectives is "
                f"{self.objectives}: only the objective kl has a budget. Set both or neither"
            )
        return self
