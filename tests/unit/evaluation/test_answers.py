"""Problems in, graded answers out: order, seeds, numbers, files."""

import dataclasses
import hashlib
import random

import pytest

from snakesteer.config import GenerationConfig, PromptConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.engine.interface import Generation
from snakesteer.engine.open import decoding_of
from snakesteer.errors import UserError
from snakesteer.evaluation.answers import (
    Answer,
    AnswerQueue,
    accuracy,
    answer_all,
    answer_in_chunks,
    chunks,
    make_request,
    read_answers,
    summary,
    write_answers,
)
from snakesteer.steering.residual import ResidualSteering
from tests.fake_engine import FakeSession, FunctionEngine
from tests.loaded_models import direction
from tests.tiny_models import tiny_tokenizer

PROBLEMS = [
    Problem(
        f"p{index}", f"{index}+{index}?", f"It is {2 * index}\n#### {2 * index}", str(2 * index)
    )
    for index in range(5)
]
PROMPTER = Prompter(PromptConfig(shots=0), (), tiny_tokenizer())
GENERATION = GenerationConfig(max_new_tokens=9)
STEERED = ResidualSteering(1, direction(), 0.5)
OTHER = ResidualSteering(2, direction(1), -0.5)


class Calculator(FunctionEngine):
    """Answers rightly without steering, one too much with it."""

    def answer(self, request):
        question = PROMPTER.tokenizer.decode(request.prompt_ids)
        number = 2 * int(question.removeprefix("Question: ").partition("+")[0])
        number += request.steering is not None
        text = f" So #### {number}.0" if request.steering is not OTHER else " I do not know"
        return Generation((1, 2), text, "length" if number > 6 else "eos", 3 + number)


def test_unsteered_answers_are_asked_for_chunk_by_chunk():
    engine = Calculator()
    answers = answer_in_chunks(engine, PROMPTER, GENERATION, 2, PROBLEMS)
    assert [len(requests) for requests in engine.calls] == [2, 2, 1]
    [together] = answer_all(Calculator(), PROMPTER, PROBLEMS, [None], GENERATION)
    assert answers == together
    shuffled = Calculator(rows=2, order=random.Random(0))
    assert answer_in_chunks(shuffled, PROMPTER, GENERATION, 2, PROBLEMS) == answers


def test_answers_are_graded_as_they_end_and_dropped_ones_never_come():
    with Calculator().session() as session:
        queue = AnswerQueue(session, PROMPTER, GENERATION)
        late = queue.add([(problem, None) for problem in PROBLEMS[:2]], priority=1)
        soon = queue.add([(PROBLEMS[2], STEERED), (PROBLEMS[2], None)])
        assert len({*late, *soon}) == 4
        first, second = queue.ended(), queue.ended()
        assert [ticket for ticket, _ in first + second] == soon
        assert [answer.correct for _, answer in first + second] == [False, True]
        queue.drop([late[0], soon[0]])
        assert [ticket for ticket, _ in queue.ended()] == [late[1]]
        assert queue.ended() == []


def test_what_ended_while_it_was_dropped_is_let_pass():
    class Deaf(FakeSession):
        def drop(self, tickets):
            """As if they had all just ended."""

    queue = AnswerQueue(Deaf(Calculator()), PROMPTER, GENERATION)
    tickets = queue.add([(problem, None) for problem in PROBLEMS[:3]])
    queue.drop(tickets[:2])
    assert [ticket for ticket, _ in queue.ended()] == tickets[2:]
    assert queue.ended() == []


def test_answers_come_by_steering_in_the_order_of_the_problems():
    engine = Calculator()
    plain, steered, other = answer_all(
        engine, PROMPTER, PROBLEMS, [None, STEERED, OTHER], GENERATION
    )
    assert len(engine.calls) == 1
    ids = [problem.id for problem in PROBLEMS]
    assert [[a.id for a in answers] for answers in (plain, steered, other)] == [ids] * 3
    assert [a.correct for a in plain] == [True] * 5
    assert [a.correct for a in steered] == [False] * 5
    assert [a.extracted for a in steered] == ["1", "3", "5", "7", "9"]
    assert [a.extracted for a in other] == [None] * 5
    # The harness compares texts: "4.0" is not "4".
    assert [a.strict for a in plain] == [False] * 5
    assert plain[1].prompt_tokens == len(PROMPTER.ids("1+1?"))
    assert plain[1].new_tokens == 5


def test_randomness_never_depends_on_steering():
    def seed(problem, steering=None, generation=GENERATION, sample=0):
        return make_request(PROMPTER, problem, steering, generation, sample).seed

    assert seed(PROBLEMS[0]) == seed(PROBLEMS[0], STEERED) == seed(PROBLEMS[0], OTHER)
    different = {
        *(seed(problem) for problem in PROBLEMS),
        *(seed(PROBLEMS[0], sample=sample) for sample in (1, 2)),
        seed(PROBLEMS[0], generation=GENERATION.model_copy(update={"seed": 1})),
    }
    assert len(different) == 8
    # The same on every machine and in every process: Python's own hash is not.
    assert seed(PROBLEMS[0]) == int(hashlib.sha256(b"0 p0 0").hexdigest()[:16], 16)
    longer = GENERATION.model_copy(update={"max_new_tokens": 50})
    assert seed(PROBLEMS[0]) == seed(PROBLEMS[0], generation=longer)


def test_a_request_holds_what_the_config_says():
    request = make_request(PROMPTER, PROBLEMS[0], STEERED, GENERATION)
    assert request.prompt_ids == PROMPTER.ids("0+0?")
    assert request.max_new_tokens == 9
    assert request.steering is STEERED


def test_decoding_of_a_config():
    sampling = GenerationConfig(do_sample=True, temperature=0.7, top_p=0.9, top_k=5)
    decoding = decoding_of(sampling, PromptConfig(stop=["X"]))
    assert dataclasses.astuple(decoding) == (0.7, 0.9, 5, ("X",))
    assert decoding_of(GENERATION, PromptConfig(stop=[])).temperature == 0.0


def test_chunks_hold_every_problem_once_in_order():
    parts = chunks(PROBLEMS, 2)
    assert [len(part) for part in parts] == [2, 2, 1]
    assert [problem for part in parts for problem in part] == PROBLEMS


ANSWERS = [
    Answer("a", True, True, True, "4", "#### 4", "eos", 10, 4),
    Answer("b", True, False, True, "4", "4", "stop", 10, 6),
    Answer("c", False, False, False, None, "?", "length", 10, 9),
    Answer("d", False, False, False, "5", "ä\n5", "length", 10, 9),
    Answer("e", False, False, True, "5", "5 5 5 5 5 5", "eos", 10, 2),
]


def test_summary():
    assert accuracy(ANSWERS) == 0.4
    assert summary(ANSWERS) == {
        "accuracy": 0.4,
        "total_samples": 5,
        "correct": 2,
        "incorrect": 3,
        "strict_match": 0.2,
        "flexible_extract": 0.6,
        "invalid_rate": 0.2,
        "truncated_rate": 0.4,
        "unfinished_rate": 0.2,
        "mean_new_tokens": 6.0,
        "repetition_rate": 0.2,
    }


def test_answers_survive_a_file(tmp_path):
    write_answers(tmp_path / "a.jsonl", ANSWERS)
    assert read_answers(tmp_path / "a.jsonl") == ANSWERS
    dynamic = [dataclasses.replace(answer, alpha_t=0.25) for answer in ANSWERS]
    write_answers(tmp_path / "d.jsonl", dynamic)
    assert [answer.alpha_t for answer in read_answers(tmp_path / "d.jsonl")] == [0.25] * 5
    assert "alpha_t" not in (tmp_path / "a.jsonl").read_text()


@pytest.mark.parametrize("row", ['{"id": "a"}', '{"id": "a", "more": 1}', "[]"])
def test_rows_that_are_no_answers(tmp_path, row):
    (tmp_path / "a.jsonl").write_text(row + "\n")
    with pytest.raises(UserError, match=r"a\.jsonl"):
        read_answers(tmp_path / "a.jsonl")
