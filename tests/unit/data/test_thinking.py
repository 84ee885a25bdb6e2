"""Think blocks of several families, opened by the prompt or by the answer."""

import pytest

from snakesteer.data.thinking import Thinking, closes_block, closing_of, thinking


@pytest.mark.parametrize(
    ("prompt", "answer", "expected"),
    [
        ("Q\n", "7+11 = 18", None),
        ("Q\n", "<think>7</think>\n18", Thinking("<think>7</think>", True)),
        ("Q\n", "\n<think>\n7, 8", Thinking("\n<think>\n7, 8", False)),
        ("Q <think>\n", "7\n</think>\n\n18", Thinking("7\n</think>", True)),
        ("Q <think>\n", "7, 8", Thinking("7, 8", False)),
        ("Q <think>\n\n</think>\n\n", "18", None),
        ("A </think> B <think> C </think> D", "18", None),
        ("Q <seed:think><seed:cot_budget_reflect>", "7", Thinking("7", False)),
        (
            "Q",
            "<|channel|>analysis<|message|>7<|end|><|channel|>final<|message|>18",
            Thinking("<|channel|>analysis<|message|>7<|end|><|channel|>final<|message|>", True),
        ),
        ("Q\n<|channel>thought\n<channel|>", "18", None),
        ("Q\n", "It says <think>.", None),
        ("Q", "[THINK]7[/THINK]18", Thinking("[THINK]7[/THINK]", True)),
        ("Q", "◁think▷7◁/think▷18", Thinking("◁think▷7◁/think▷", True)),
        ("Q", "<seed:think>7", Thinking("<seed:think>7", False)),
    ],
)
def test_where_thinking_ends(prompt: str, answer: str, expected: Thinking | None):
    assert thinking(prompt, answer) == expected


@pytest.mark.parametrize(
    ("prompt", "closing"),
    [
        ("assistant\n", ""),
        ("assistant\n<think>\n", "\n</think>\n\n"),
        ("<Assistant><think>", "</think>"),
        ("Assistant\n<think>\n\n", "</think>\n\n"),
        ("<think>\n7</think> 7 <Assistant><think>\n", "\n</think>\n\n"),
        ("<think><think_budget>", "</think>"),
        ("assistant\n<think>\n\n</think>\n\n", ""),
        ("<|START_THINKING|>", "<|END_THINKING|>"),
        ("model\n<|channel>thought\n<channel|>", ""),
    ],
)
def test_what_closes_a_prompt(prompt: str, closing: str):
    assert closing_of(prompt) == closing
    assert closes_block(closing) == bool(closing)
    assert closing_of(prompt + closing) == ""
