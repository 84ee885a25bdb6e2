"""What is learned from: solutions behind their prompts, ends included, split by problem."""

import pytest

from snakesteer.config import PromptConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.errors import UserError
from snakesteer.vectors.training.lessons import (
    Example,
    Lesson,
    gold_lessons,
    held_out_problems,
    lessons_sha256,
    own_lessons,
    preference_lessons,
    split_lessons,
)
from tests.chat_templates import QWEN_3
from tests.tiny_models import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
SHOT = Problem("s", "1+1?", "1+1 = <<1+1=2>>2\n#### 2", "2")
PROMPTER = Prompter(PromptConfig(shots=1), (SHOT,), TOKENIZER)
PROBLEMS = [Problem(f"p{n}", f"{n}+1?", f"#### {n + 1}", str(n + 1)) for n in range(4)]


def rows(**by_problem):
    """Samples: a text with ``+`` in front is right."""
    return [
        {"id": name, "question": "", "text": text.lstrip("+"), "correct": text.startswith("+")}
        for name, texts in by_problem.items()
        for text in texts
    ]


def learned(example):
    return TOKENIZER.decode(list(example.token_ids[example.prompt_tokens :]))


def test_gold_solutions_are_learned_with_their_end():
    lessons = gold_lessons(PROMPTER, PROBLEMS)
    assert [lesson.problem for lesson in lessons] == ["p0", "p1", "p2", "p3"]
    [example] = lessons[2].examples
    prompt = TOKENIZER.decode(list(example.token_ids[: example.prompt_tokens]))
    assert prompt == PROMPTER.text("2+1?")
    assert learned(example) == " #### 3\n\nQuestion:"


def test_gold_solutions_of_a_thinking_model_are_learned_without_the_think_block():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = QWEN_3
    chat = Prompter(PromptConfig(shots=1, chat=True), (SHOT,), tokenizer)
    [example] = gold_lessons(chat, PROBLEMS[2:3])[0].examples
    prompt = TOKENIZER.decode(list(example.token_ids[: example.prompt_tokens]))
    assert prompt == chat.text("2+1?") + "<think>\n\n</think>\n\n"
    assert learned(example) == "#### 3<|im_end|>"
    own = rows(p2=["+<think>\nHm.\n</think>\n\n3"])
    [example] = own_lessons(chat, PROBLEMS, own)[0].examples
    assert learned(example) == "<think>\nHm.\n</think>\n\n3<|im_end|>"


def test_own_right_solutions_count_once_and_a_problem_weighs_one():
    solutions = rows(p0=["+ a \n", "+ a", "+ b", " wrong"], p2=["no"], p3=["+ c", "  ", "+ c"])
    lessons = own_lessons(PROMPTER, PROBLEMS, solutions)
    said = [(one.problem, learned(one.examples[0]), one.weight) for one in lessons]
    end = "\n\nQuestion:"
    assert said == [("p0", f" a{end}", 0.5), ("p0", f" b{end}", 0.5), ("p3", f" c{end}", 1.0)]
    with pytest.raises(UserError, match="None of the model's own solutions to 4"):
        own_lessons(PROMPTER, PROBLEMS, rows(p0=["wrong"]))


def test_wrong_solutions_stand_beside_right_ones_of_the_same_problem():
    solutions = rows(p0=["+ a", "+ b", " x", " y", " z"], p1=[" w"], p2=["+ c"])
    lessons = preference_lessons(PROMPTER, PROBLEMS, solutions)
    end = "\n\nQuestion:"
    said = [(one.problem, *map(learned, one.examples), one.weight) for one in lessons]
    assert said == [
        ("p0", f" a{end}", f" x{end}", pytest.approx(1 / 3)),
        ("p0", f" b{end}", f" y{end}", pytest.approx(1 / 3)),
        ("p0", f" a{end}", f" z{end}", pytest.approx(1 / 3)),
        ("p1", f" #### 2{end}", f" w{end}", 1.0),  # no right one: the gold solution
    ]
    with pytest.raises(UserError, match="is wrong"):
        preference_lessons(PROMPTER, PROBLEMS, rows(p0=["+ a"]))


def test_all_lessons_of_a_problem_are_learned_or_held_out():
    lessons = [Lesson(f"p{n % 10}", (Example((1, 2, n), 2),)) for n in range(40)]
    learned_ones, kept = split_lessons(lessons, 0.3, 5)
    assert len({one.problem for one in kept}) == 3
    assert {one.problem for one in kept}.isdisjoint(one.problem for one in learned_ones)
    assert len(learned_ones) + len(kept) == 40
    assert split_lessons(lessons, 0.3, 5) == (learned_ones, kept)
    assert split_lessons(lessons, 0.3, 6) != (learned_ones, kept)
    assert split_lessons(lessons, 0.0, 5) == (lessons, [])
    names = [lesson.problem for lesson in lessons]
    assert held_out_problems(names, 0.3, 5) == {one.problem for one in kept}


def test_what_cannot_be_learned_is_refused():
    for examples in ((Example((5, 6), 2),), (Example((5, 6), 0),)):
        with pytest.raises(UserError, match="nothing to learn"):
            split_lessons([Lesson("a", examples)], 0.0, 0)
    with pytest.raises(UserError, match="nothing to learn"):
        split_lessons([], 0.0, 0)
    with pytest.raises(UserError, match="none is left to learn"):
        split_lessons([Lesson("a", (Example((5, 6), 1),))], 0.9, 0)


def test_a_hash_tells_lessons_apart():
    lessons = gold_lessons(PROMPTER, PROBLEMS)
    hashes = {lessons_sha256(lessons), lessons_sha256(lessons[:3]), lessons_sha256(lessons[::-1])}
    assert len(hashes) == 3
    assert lessons_sha256(gold_lessons(PROMPTER, PROBLEMS)) in hashes
