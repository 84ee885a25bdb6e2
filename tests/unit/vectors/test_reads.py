"""What is read of a pair: at which tokens, behind which contexts."""

import logging
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from snakesteer.config import PromptConfig
from snakesteer.data.embedded import generate_problems
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.data.rows import problem_from_row
from snakesteer.errors import UserError
from snakesteer.vectors.pairs import Pair, gold_vs_corrupted
from snakesteer.vectors.reads import readable_pairs, texts_of_pairs
from tests.chat_templates import CHATML, DEEPSEEK_R1, QWEN_3
from tests.tiny_models import tiny_tokenizer

PROMPTER = Prompter(PromptConfig(shots=0), (), tiny_tokenizer())
DECODE = PROMPTER.tokenizer.decode
RIGHT, WRONG = "2+2 = 4, so 4\n#### 4", "2+2 = 5, so 5\n#### 5"


def texts(right, wrong, position, prompter=PROMPTER):
    [pair] = texts_of_pairs(prompter, [Pair("a", "2+2?", right, wrong)], position)
    assert pair.id == "a"
    return pair


def shown(text, span):
    return DECODE(text.token_ids[slice(*span)])


@pytest.mark.parametrize(
    ("position", "right", "wrong"),
    [
        ("before_last_number", " ", " "),
        ("first_difference", "4", "5"),
        ("last_token", "4", "."),
        ("response_mean", f" {RIGHT}", f" {WRONG} Yes."),
    ],
)
def test_read_positions(position, right, wrong):
    other = WRONG if position in ("before_last_number", "first_difference") else f"{WRONG} Yes."
    pair = texts((RIGHT,), (other,), position)
    ([positive], [negative]) = pair.positive, pair.negative
    assert DECODE(positive.token_ids) == f"Question: 2+2?\nAnswer: {RIGHT}"
    assert DECODE(negative.token_ids) == f"Question: 2+2?\nAnswer: {other}"
    assert (shown(positive, positive.read), shown(negative, negative.read)) == (right, wrong)
    # Steered where CAA steers: from the last prompt token on.
    assert shown(positive, positive.steered) == f": {RIGHT}"
    assert pair.texts == (positive, negative)


@pytest.mark.parametrize("position", ["before_last_number", "response_mean", "last_token"])
@pytest.mark.parametrize(
    ("template", "closed"),
    [(QWEN_3, "<think>\n\n</think>\n\n"), (DEEPSEEK_R1, "\n</think>\n\n"), (CHATML, "")],
)
def test_gold_solutions_are_read_behind_a_closed_think_block(template, closed, position):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    chat = Prompter(PromptConfig(shots=0, chat=True), (), tokenizer)
    pair = texts((RIGHT,), (WRONG,), position, chat)
    for text, solution in zip(pair.texts, (RIGHT, WRONG), strict=True):
        prompt = chat.text("2+2?") + closed
        assert DECODE(text.token_ids) == prompt + solution
        # The block is the prompt's, not the solution's.
        assert shown(text, text.steered) == prompt[-1] + solution
        if position == "response_mean":
            assert shown(text, text.read) == solution


def test_an_own_solution_is_read_with_its_thoughts():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = DEEPSEEK_R1
    chat = Prompter(PromptConfig(shots=0, chat=True), (), tokenizer)
    pair = texts(("Hm.\n</think>\n\n4",), (WRONG,), "response_mean", chat)
    ([own], [gold]) = pair.positive, pair.negative
    assert shown(own, own.read) == "Hm.\n</think>\n\n4"
    assert shown(gold, gold.read) == WRONG


def test_the_read_before_the_last_number_is_at_the_same_token_behind_another_context():
    ([positive], [negative]) = (
        getattr(texts((RIGHT,), (WRONG,), "before_last_number"), side)
        for side in ("positive", "negative")
    )
    before = DECODE(positive.token_ids[: positive.read[1]])
    assert before == "Question: 2+2?\nAnswer: 2+2 = 4, so 4\n#### "
    assert DECODE(negative.token_ids[: negative.read[1]]) == before.replace("4", "5")


def test_every_text_of_a_side_is_read():
    pair = texts(("a 1", "b 22"), ("c 3",), "last_token")
    assert [shown(text, text.read) for text in pair.positive] == ["1", "2"]
    assert [shown(text, text.read) for text in pair.negative] == ["3"]
    assert len(pair.texts) == 3


def test_two_instructions_are_read_at_the_end_of_the_prompt():
    pair = texts(("Think.",), ("Guess.",), "last_prompt_token")
    for [text], instruction in ((pair.positive, "Think."), (pair.negative, "Guess.")):
        assert DECODE(text.token_ids) == f"{instruction}\n\nQuestion: 2+2?\nAnswer:"
        assert text.read == text.steered == (len(text.token_ids) - 1, len(text.token_ids))


def test_a_text_that_goes_on_from_the_other_is_read_at_its_end():
    pair = texts(("It is",), ("It is 4",), "first_difference")
    assert shown(pair.positive[0], pair.positive[0].read) == "s"
    assert shown(pair.negative[0], pair.negative[0].read) == " "


class JoinedTokens:
    """A tokenizer whose tokens take the blank or bracket before them, as those of many models."""

    bos_token_id = eos_token_id = None
    words: tuple[str, ...] = ()

    def __call__(self, text, add_special_tokens=True):
        pieces = re.findall(r"[ (]?[A-Za-z]+|[ (]?\d+|.", text, re.S)
        return {"input_ids": [hash(piece) for piece in pieces]}


def test_a_number_that_is_joined_to_what_stands_before_it_is_not_read():
    prompter = Prompter(PromptConfig(shots=0), (), JoinedTokens())
    pair = texts((RIGHT,), (WRONG,), "before_last_number", prompter)
    for [text] in (pair.positive, pair.negative):
        assert text.token_ids[text.read[0]] == hash("#")
        assert text.read[1] == len(text.token_ids) - 1  # the last token is " 4"


def test_pairs_that_differ_in_one_number_are_left_out_and_counted(caplog):
    caplog.set_level(logging.INFO)
    pairs = [Pair("a", "?", (RIGHT,), (WRONG,)), Pair("b", "?", ("#### 12",), ("#### 13",))]
    assert [pair.id for pair in texts_of_pairs(PROMPTER, pairs, "before_last_number")] == ["a"]
    assert "1 of 2 pairs are left out" in caplog.text
    caplog.clear()
    assert len(texts_of_pairs(PROMPTER, pairs, "first_difference")) == 2
    assert not caplog.records


def test_too_few_that_can_be_read_name_what_to_do():
    bare = [Problem(f"b{n}", "How many?", f"#### {n}", str(n)) for n in range(12, 20)]
    pairs = gold_vs_corrupted(bare, 0)
    with pytest.raises(
        UserError, match=r"8 contrast pairs of the val split, 0 .* pairs.min_pairs = 4"
    ) as e:
        readable_pairs(PROMPTER, pairs, "before_last_number", 4, "val")
    for remedy in (
        "own_right_vs_wrong",
        "response_mean",
        "pairs.read: first_difference",
        "data.val",
    ):
        assert remedy in e.value.remedy
    assert len(readable_pairs(PROMPTER, pairs, "first_difference", 4, "val")) == 8


def generated_pairs(count, steps, seed):
    rows = generate_problems(count, steps, seed)
    problems = [problem_from_row(row, f"rows-{n}") for n, row in enumerate(rows)]
    return gold_vs_corrupted(problems, seed)


def check_read_before_numbers(prompter, pairs):
    """All of it is told by the tokens: the same one on both sides, contexts that differ, then a
    number that differs, and nothing but the end behind it."""
    found = texts_of_pairs(prompter, pairs, "before_last_number")
    assert len(found) == len(pairs)  # generated solutions write the result twice at least
    decode = prompter.tokenizer.decode
    for texts_, pair in zip(found, pairs, strict=True):
        befores, behinds = [], []
        for text in texts_.texts:
            start, end = text.read
            assert end == start + 1
            befores.append(text.token_ids[:end])
            behinds.append(decode(text.token_ids[end:]))
        assert befores[0][-1] == befores[1][-1]
        assert befores[0] != befores[1]
        for behind, [solution] in zip(behinds, (pair.positive, pair.negative), strict=True):
            assert behind.strip() == solution.rpartition("#### ")[2]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 2]))
def test_generated_problems_are_read_at_the_same_token(seed, steps):
    check_read_before_numbers(PROMPTER, generated_pairs(20, steps, seed))


@pytest.mark.embedded
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("chat", [False, True])
def test_so_are_those_of_the_embedded_models_tokenizer(embedded_model_folder, chat, steps):
    tokenizer = AutoTokenizer.from_pretrained(embedded_model_folder)
    prompter = Prompter(PromptConfig(shots=0, chat=chat), (), tokenizer)
    check_read_before_numbers(prompter, generated_pairs(200, steps, 7))
