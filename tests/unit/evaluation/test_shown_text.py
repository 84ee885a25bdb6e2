"""What of an answer is meant for the reader."""

import pytest

from snakesteer.data.thinking import MARKS
from snakesteer.evaluation.shown_text import PLAIN, ChatMarks, Shown, open_block, shown_text

# How each kind of block opens and closes.
BLOCKS = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<Thinking>", "</Thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<seed:think>", "</seed:think>"),
    ("<|think|>", "<|/think|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|channel>thought", "<channel|>"),
    ("<unused94>thought", "<unused95>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
]


@pytest.mark.parametrize(("opened", "closed"), BLOCKS)
def test_each_kind_of_block(opened: str, closed: str):
    shown = shown_text(f"{opened}The answer is 7.\n\nQuestion: 5?{closed}18 pens")
    assert shown.text.endswith("18 pens")
    assert "7" not in shown.text
    assert (shown.runs_on, shown.thinking) == (False, False)
    assert shown_text(f"The answer is 7.{closed}18").text.endswith("18")  # opened by the prompt
    never_closed = shown_text(f"So. {opened}The answer is 7. <|im_end|> 5")
    assert never_closed == Shown("So. ", False, True)
    assert open_block(f"user: 5 {opened}") is not None
    assert open_block(f"user: 5 {opened} 7 {closed}") is None


def test_a_block_ends_with_a_mark_of_its_kind():
    assert shown_text("<think>a </analysis> 7").thinking
    assert shown_text("<think>a <analysis> 5 </analysis> 7</think>18") == Shown("18", False, False)


def test_only_what_follows_the_last_block_counts():
    assert shown_text("<think>a</think>7<think>b</think>18").text == "18"
    assert shown_text("7</think>8</think>18").text == "18"


def test_the_prompt_may_have_opened_a_block():
    chat = ChatMarks(thinking="think")
    assert shown_text("7 pens", chat) == Shown("", False, True)
    assert shown_text("7</think>18", chat) == Shown("18", False, False)
    assert shown_text("Question: 7</think>18", chat).text == "18"


@pytest.mark.parametrize(
    ("before", "run_on"),
    [
        ("It is 18.", "<|im_end|>\n<|im_start|>user\n5"),
        ("It is 18.", "</s>5"),
        ("It is 18.", "<｜end▁of▁sentence｜>5"),
        ("It is 18.", "[INST]5"),
        ("It is 18.", "<eos>5"),
        ("18", "\n\nQuestion: 5?"),
        ("18", "\nQ: 5?"),
        ("18", "\n\n**Next Problem:** 5"),
        ("18", "\n\nProblem 2\n5"),
        ("18", "\n### Human: 5"),
        ("Problem: 7 pens, 11 more.\n7 + 11 = 18", "\n\nProblem: 5 pens"),
        ("Given: 7 pens\nQuestion: how many?\n#### 18", "\nQuestion: 5?"),
    ],
)
def test_a_run_on_is_cut_off_behind_an_answer(before: str, run_on: str):
    shown = shown_text(before + run_on)
    assert (shown.text.rstrip(), shown.runs_on) == (before, True)


@pytest.mark.parametrize(
    "text",
    [
        "Question: Ada has 7 pens.\n18",
        "<|im_start|>assistant\n18",
        "Sure.\n**Problem:** Ada has 7 pens.\n**Question:** How many?\n18",
        "Step 1: Read.\nProblem: 7 pens.\n18",
        "Facts:\n- 7 pens\nQuestion: how many?\n18",
        "18 pens and a question: why?",
    ],
)
def test_in_front_of_an_answer_nothing_is_cut_off(text: str):
    assert shown_text(text) == Shown(text, False, False)


def test_marks_of_the_tokenizer():
    assert shown_text("18 ~END~ 5", ChatMarks(("~END~", "~E"))).text == "18 "
    assert shown_text("18 ~END~ 5", PLAIN).text == "18 ~END~ 5"


@pytest.mark.parametrize(("opening", "closing"), MARKS)
def test_blocks_that_prompts_may_open_are_known_to_the_reader_of_answers(opening, closing):
    assert open_block(f"Solve it.{opening}\n") is not None
    assert open_block(f"Solve it.{opening}7{closing}") is None
    answer = shown_text(f"{opening}3+4 is 7{closing}It is 18.")
    assert answer.text.endswith("It is 18.")
    assert "7" not in answer.text
    assert not answer.thinking
    assert shown_text(f"{opening}3+4 is 7").thinking
