"""Think blocks: what a model writes for itself before it answers."""

from dataclasses import dataclass

# How the models of several families open and close one. What is read of an answer knows more
# (`snakesteer.evaluation.shown_text`): there a mark is only recognised, never written.
MARKS = (
    ("<think>", "</think>"),  # DeepSeek, Qwen 3, QwQ, SmolLM 3, GLM, Nemotron, Kimi
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),  # GPT-OSS
    ("<|channel>thought", "<channel|>"),  # Gemma 4
    ("◁think▷", "◁/think▷"),  # Kimi-VL
)


@dataclass(frozen=True)
class Thinking:
    """The think block that an answer begins with.

    Attributes:
        text: From the answer's start to the end of the block, with its marks.
        closed: Whether the block ends, so that an answer can follow.
    """

    text: str
    closed: bool


def thinking(prompt: str, answer: str) -> Thinking | None:
    """The think block that the prompt or the answer opens; None where neither does.

    Args:
        prompt: What the model read.
        answer: What it wrote.
    """
    for opening, closing in MARKS:
        if _is_open(prompt, opening, closing) or answer.lstrip().startswith(opening):
            head, closed, _ = answer.partition(closing)
            return Thinking(head + closed, bool(closed))
    return None


def closing_of(prompt: str) -> str:
    """What closes the think block that a prompt leaves open, without a thought; else nothing.

    As models write it: where a line ends behind ``<think>``, an empty line stands in the block and
    another one behind it.
    """
    for opening, closing in MARKS:
        if _is_open(prompt, opening, closing):
            lines = prompt[len(prompt.rstrip()) :].count("\n")
            return "\n" * max(2 - lines, 0) + closing + "\n\n" if lines else closing
    return ""


def closes_block(text: str) -> bool:
    """Whether a text ends a think block."""
    return any(closing in text for _, closing in MARKS)


def _is_open(text: str, opening: str, closing: str) -> bool:
    return text.rfind(opening) > text.rfind(closing)
