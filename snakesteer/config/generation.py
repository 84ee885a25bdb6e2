"""From a problem to an answer: prompt, decoding, engine."""

from typing import Literal

from pydantic import Field, model_validator

from snakesteer.config.section import Section


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
        "auto",
        description="torch.compile of the decode step on CUDA; `auto` weighs the work. Runs with "
        "operators other than `add`, with bands, or with attention heads are never compiled: "
        "rounding would differ.",
    )
    batch_size: int = Field(16, ge=1, description="Requests decoded together by `reference`.")
