"""Think blocks: what a model writes for itself before it answers."""

from dataclasses import dataclass

# How the models of several families open and close one.
_MARKS = (
    ("<think>", "</think>"),  # DeepSeek-R1, Qwen3, QwQ, SmolLM3, GLM-4.5, Nemotron
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
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
    for opening, closing in _MARKS:
        if prompt.rstrip().endswith(opening) or answer.lstrip().startswith(opening):
            head, closed, _ = answer.partition(closing)
            return Thinking(head + closed, bool(closed))
    return None


def closing_of(prompt: str) -> str:
    """What closes the think block that a prompt ends in, without a thought; else nothing.

    The blanks are those that models write themselves: ``<think>`` and a line break are closed by a
    line break, ``</think>`` and an empty line.
    """
    text = prompt.rstrip()
    blank = prompt[len(text) :]
    for opening, closing in _MARKS:
        if text.endswith(opening):
            return blank + closing + 2 * blank
    return ""


def closes_block(text: str) -> bool:
    """Whether a text ends a think block."""
    return any(closing in text for _, closing in _MARKS)
