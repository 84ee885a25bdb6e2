"""The configuration: one typed model is the truth.

``config/config.yaml`` and ``config/schema.json`` are generated from these classes (see
`snakesteer.config.files`); the Snakefile turns the merged YAML into a `Config` before anything
runs (see `snakesteer.config.load`). Sections are flat, so that overlays merge without leftovers and
every leaf can be a rule parameter of its own.
"""

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from snakesteer.config import catalogue
from snakesteer.config.checks import ChecksConfig
from snakesteer.config.evaluation import EvaluationConfig, SensitivityConfig
from snakesteer.config.gates import (
    NO_GATE,
    GateConfig,
    Score,
    SettledGate,
    Side,
    When,
    gates_of,
)
from snakesteer.config.generation import EngineConfig, GenerationConfig, PromptConfig
from snakesteer.config.heads import HeadsConfig
from snakesteer.config.model import (
    EMBEDDED_MODEL,
    EMBEDDED_MODEL_LAYERS,
    DataConfig,
    Device,
    Dtype,
    ModelConfig,
)
from snakesteer.config.off_target import OffTargetConfig
from snakesteer.config.pairs import (
    OF_THOUGHTS,
    UNGRADED,
    PairKind,
    PairsConfig,
    ReadPosition,
)
from snakesteer.config.runs import ReplicatesConfig
from snakesteer.config.scopes import Operator, Scope, TokenRule, check_steers
from snakesteer.config.search import SearchConfig
from snakesteer.config.section import Section, check_braces, written_out
from snakesteer.config.steering import (
    After,
    Direction,
    Kl,
    Method,
    ProbeConfig,
    Range,
    Schedule,
    SteeringConfig,
)
from snakesteer.config.training import Objective, TrainingConfig
from snakesteer.config.vllm import vllm_refusal

__all__ = [
    "EMBEDDED_MODEL",
    "EMBEDDED_MODEL_LAYERS",
    "NO_GATE",
    "After",
    "ChecksConfig",
    "Config",
    "DataConfig",
    "Device",
    "Direction",
    "Dtype",
    "EngineConfig",
    "EvaluationConfig",
    "GateConfig",
    "GenerationConfig",
    "HeadsConfig",
    "Kl",
    "Method",
    "ModelConfig",
    "Objective",
    "OffTargetConfig",
    "Operator",
    "PairKind",
    "PairsConfig",
    "ProbeConfig",
    "PromptConfig",
    "Range",
    "ReadPosition",
    "ReplicatesConfig",
    "Schedule",
    "Scope",
    "Score",
    "SearchConfig",
    "Section",
    "SensitivityConfig",
    "SettledGate",
    "Side",
    "SteeringConfig",
    "TokenRule",
    "TrainingConfig",
    "When",
    "gates_of",
]


class Config(Section):
    """Everything a run depends on."""

    results: str = Field("results", min_length=1, description="Folder for all that is made.")
    runs: str | list[dict[str, Any]] | None = Field(
        None,
        description="Table of runs that are made in one go, a TSV or CSV file with a column `name` "
        "and any keys such as `model.name` as further columns; or the same as a list.",
    )
    replicates: ReplicatesConfig = ReplicatesConfig()
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    prompt: PromptConfig = PromptConfig()
    generation: GenerationConfig = GenerationConfig()
    engine: EngineConfig = EngineConfig()
    pairs: PairsConfig = PairsConfig()
    probe: ProbeConfig = ProbeConfig()
    steering: SteeringConfig = SteeringConfig()
    training: TrainingConfig = TrainingConfig()
    heads: HeadsConfig = HeadsConfig()
    checks: ChecksConfig = ChecksConfig()
    search: SearchConfig = SearchConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    sensitivity: SensitivityConfig = SensitivityConfig()
    off_target: OffTargetConfig = OffTargetConfig()

    @field_validator("results")
    @classmethod
    def _no_wildcards(cls, value: str) -> str:
        return check_braces("results", written_out("results", value))

    @model_validator(mode="after")
    def _methods_keys_are_keys(self) -> "Config":
        known = {
            f"{name}.{key}"
            for name, section in self
            if isinstance(section, Section)
            for key in type(section).model_fields
        }
        for name, method in catalogue.METHODS.items():
            if unknown := {*method.keys, *method.needs} - known:
                raise ValueError(
                    f"snakesteer/steering/methods/{name}.py names keys that the configuration "
                    f"lacks: {', '.join(sorted(unknown))}. Add them to a section in "
                    "snakesteer/config/, or correct KEYS and NEEDS there"
                )
        return self

    @model_validator(mode="after")
    def _vllm_can(self) -> "Config":
        refused = vllm_refusal(
            self.engine,
            self.model,
            self.steering,
            [*self.steering.methods, *self.sensitivity.methods],
        )
        if refused is not None:
            raise ValueError(refused)
        return self

    @model_validator(mode="after")
    def _sections_agree(self) -> "Config":
        needed = self.prompt.shots + self.pairs.min_pairs
        if self.data.train < needed:
            raise ValueError(
                f"data.train is {self.data.train}, but prompt.shots ({self.prompt.shots}) and "
                f"pairs.min_pairs ({self.pairs.min_pairs}) need {needed} train problems. Raise "
                "data.train or lower the others"
            )
        if self.data.val < self.pairs.min_pairs:
            raise ValueError(
                f"data.val is {self.data.val}, fewer than pairs.min_pairs "
                f"({self.pairs.min_pairs}). Raise data.val or lower pairs.min_pairs"
            )
        if catalogue.users("heads.examples", self.steering.methods):
            left = self.data.train - self.prompt.shots
            if left <= self.heads.examples:
                raise ValueError(
                    f"heads.examples is {self.heads.examples}, but data.train "
                    f"({self.data.train}) leaves {left} problems beside the {self.prompt.shots} of "
                    "prompt.shots, and one is the question. Lower heads.examples or raise "
                    "data.train"
                )
            if self.pairs.kind in UNGRADED:
                raise ValueError(
                    f"pairs.kind is {self.pairs.kind!r} and steering.methods is "
                    f"{self.steering.methods}: such pairs hold no right and wrong solutions, and "
                    "dac_heads shows some as examples. Take another pairs.kind, or leave dac_heads "
                    "out"
                )
        asked = [("directions", name) for name in self.steering.directions]
        asked += [("gates", gate.direction) for gate in gates_of(self.steering)]
        made = [(key, name) for key, name in asked if name in OF_THOUGHTS]
        if made and (self.pairs.kind != "thoughts" or self.pairs.remove_token_means):
            raise ValueError(
                f"steering.{made[0][0]} names {made[0][1]!r}, pairs.kind is {self.pairs.kind!r} "
                f"and pairs.remove_token_means is {self.pairs.remove_token_means}: this direction "
                "is made of thoughts as they are. Set pairs.kind: thoughts, pairs.read: "
                "blank_lines and pairs.remove_token_means: false, or take another direction"
            )
        tokens = self.generation.max_new_tokens
        check_steers("steering", self.steering, tokens)
        for number, part in enumerate(self.steering.together or ()):
            check_steers(f"steering.together[{number}]", part, tokens)
        low, high = self.steering.strength
        beyond = [one for one in self.sensitivity.strengths if not low <= one <= high]
        if self.steering.unit == "kl" and self.sensitivity.in_report and beyond:
            raise ValueError(
                f"steering.unit is 'kl', and sensitivity.strengths names {beyond}, beyond "
                f"steering.strength ({[low, high]}), within which the doses of strengths are "
                "looked for. Widen steering.strength or leave these out"
            )
        if self.evaluation.samples > 1 and not self.generation.do_sample:
            raise ValueError(
                f"evaluation.samples is {self.evaluation.samples}, but generation.do_sample is "
                "false, so all answers to a problem would be the same. Set evaluation.samples: 1, "
                "or generation.do_sample: true with a temperature"
            )
        results, ledger = Path(self.results).resolve(), Path(self.evaluation.ledger).resolve()
        if ledger.is_relative_to(results):
            raise ValueError(
                f"evaluation.ledger is {self.evaluation.ledger!r}, inside results "
                f"({self.results!r}): the ledger of test reads must outlive the results. Name a "
                "folder outside of them"
            )
        return self
