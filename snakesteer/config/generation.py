"""From a problem to an answer: prompt, decoding, engine."""

import json
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from snakesteer.config.section import Section

# What ends an answer: the turns of other formats, as lm-evaluation-harness has them, and outside a
# chat the next question. In a chat nothing but the next turn follows, and an answer may well start
# by saying the question again.
_TURN_ENDS = ("</s>", "<|im_end|>")
_NEXT_QUESTION = "Question:"

# Parameters of transformers' `apply_chat_template`; what is not in it goes to the template.
NOT_FOR_TEMPLATES = frozenset(
    {
        "conversation",
        "conversations",
        "messages",
        "tools",
        "documents",
        "chat_template",
        "add_generation_prompt",
        "continue_final_message",
        "tokenize",
        "sanitize_control_tokens",
        "padding",
        "truncation",
        "max_length",
        "return_tensors",
        "return_dict",
        "return_assistant_tokens_mask",
        "tokenizer_kwargs",
    }
)


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
    system: str | None = Field(
        None,
        description="System message, with `chat` only; in front of the first question where the "
        "template takes none.",
    )
    chat_template_kwargs: dict[str, bool | int | float | str] = Field(
        {},
        description="Switches of the chat template, such as {enable_thinking: false}; with `chat` "
        "only.",
    )
    bos: Literal["auto", "always", "never"] = Field(
        "auto", description="Beginning-of-sequence token; `auto` does what the tokenizer does."
    )
    stop: list[str] | None = Field(
        None,
        description="Generation ends where one of these begins (besides the end token); null "
        "takes `</s>`, `<|im_end|>` and, without `chat`, `Question:`.",
    )

    @property
    def stops(self) -> tuple[str, ...]:
        """The strings at which generation ends."""
        if self.stop is not None:
            return tuple(self.stop)
        return _TURN_ENDS if self.chat else (_NEXT_QUESTION, *_TURN_ENDS)

    @field_validator("chat_template_kwargs", mode="before")
    @classmethod
    def _as_read_from_yaml(cls, value: Any) -> Any:
        """From the command line every value is a text, and to a template the text false is true."""
        if not isinstance(value, dict):
            return value
        return {key: _scalar(value[key]) for key in sorted(value, key=str)}  # in no order

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
        if self.chat_template_kwargs and not self.chat:
            raise ValueError(
                "prompt.chat_template_kwargs is set but prompt.chat is false, so it would be "
                "ignored. Set prompt.chat: true, or remove it"
            )
        if own := NOT_FOR_TEMPLATES.intersection(self.chat_template_kwargs):
            raise ValueError(
                f"prompt.chat_template_kwargs holds {', '.join(sorted(own))}, which this program "
                "sets itself. Name variables of the model's chat template, such as "
                "enable_thinking"
            )
        if "" in self.stops:
            raise ValueError("prompt.stop contains an empty string, which stops at once. Remove it")
        return self


def _scalar(value: Any) -> Any:
    """A text that says a number, true or false, as that."""
    if not isinstance(value, str):
        return value
    try:
        read = json.loads(value.lower())
    except ValueError:
        return value
    if isinstance(read, bool):
        return read
    # As a template writes it: 007 and 1.50 stay texts.
    return read if isinstance(read, int | float) and str(read) == value else value


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

    name: Literal["slots", "reference", "vllm"] = Field(
        "slots",
        description="`slots` decodes many requests together and is fast; `reference` is "
        "HuggingFace generate with hooks, for every architecture; `vllm` is vLLM, for large models "
        "and several GPUs, with the method `caa` (docs/vllm.md).",
    )
    slots: int | None = Field(
        None,
        ge=1,
        description="Requests decoded together by `slots`; null takes what fits. Under `vllm`, the "
        "most that run together.",
    )
    compile: Literal["auto", "never", "always"] = Field(
        "auto",
        description="torch.compile of the decode step on CUDA; `auto` weighs the work. Runs with "
        "operators other than `add`, with bands or gates, or with attention heads are never "
        "compiled: rounding would differ. With `attention: flex` nothing else is.",
    )
    attention: Literal["blocks", "flex"] = Field(
        "blocks",
        description="What computes attention in the decode steps of `slots`: `blocks`, plain torch "
        "operations, or `flex`, torch's flex_attention, for GPUs (docs/concepts.md). Where that "
        "cannot be compiled, or the engine's own check finds it wrong, `blocks` is taken.",
    )
    batch_size: int = Field(16, ge=1, description="Requests decoded together by `reference`.")
    tensor_parallel: int = Field(
        1, ge=1, description="GPUs that share the weights under `vllm`; for it only."
    )
    batch_invariant: bool = Field(
        False,
        description="vLLM's mode in which an answer does not depend, to its last bits, on what is "
        "answered together with it; slower, on GPUs that have it. For `vllm` only.",
    )

    @model_validator(mode="after")
    def _compiles_one(self) -> "EngineConfig":
        if self.attention == "flex" and self.name != "slots":
            raise ValueError(
                f"engine.attention is 'flex' and engine.name is {self.name!r}: it is for slots "
                "alone. Set engine.name: slots, or leave engine.attention out"
            )
        if (self.compile, self.attention) == ("always", "flex"):
            raise ValueError(
                "engine.compile is 'always' and engine.attention is 'flex', with which attention "
                "alone is compiled. Leave engine.compile out, or set engine.attention: blocks"
            )
        return self
