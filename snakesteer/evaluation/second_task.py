"""A second task with and without the tested steering: generated answers, or likelihoods of choices.

Choices are scored as lm-evaluation-harness scores them: the log-likelihood of the choice behind the
question, divided by its number of characters (``acc_norm`` there); the highest is the model's.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snakesteer.config import EvaluationConfig, GenerationConfig
from snakesteer.data.problem import Problem, one_line
from snakesteer.data.prompts import Prompter
from snakesteer.data.second_task import ChoiceProblem, read_second_task
from snakesteer.engine.interface import Engine
from snakesteer.engine.open import settled
from snakesteer.engine.reference.forced import GivenText, forced_logits
from snakesteer.errors import UserError
from snakesteer.evaluation.answers import answer_all
from snakesteer.evaluation.equivalence import equivalence_p
from snakesteer.evaluation.statistics import (
    Outcomes,
    mcnemar_exact,
    paired_bootstrap,
    verdict,
    wilson,
)
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.kinds import Steering

TaskRows = list[dict[str, Any]]


def second_task(
    path: str | Path,
    loaded: LoadedModel,
    engine: Callable[[], Engine],
    prompter: Prompter,
    steering: Steering,
    generation: GenerationConfig,
    evaluation: EvaluationConfig,
    test_questions: Iterable[str],
) -> tuple[dict[str, Any], TaskRows]:
    """Do a second task with and without steering.

    Args:
        path: Its file.
        loaded: The model.
        engine: Makes the engine, for generated answers.
        prompter: Of the run. Generated answers get the run's prompt; choices no few-shot examples,
            which belong to the other task.
        steering: The tested one.
        generation: Limit and seed.
        evaluation: Of the statistics.
        test_questions: Of the run's own test split, which it may not ask.

    Returns:
        What off_target.json says of the task, and rows of off_target.jsonl.

    Raises:
        UserError: A bad file, a question of the test split, or one that does not fit into the
            model's context.
    """
    problems = read_second_task(path)
    choices = [one for one in problems if isinstance(one, ChoiceProblem)]
    others = [one for one in problems if isinstance(one, Problem)]
    _check_apart(problems, test_questions)
    if choices:
        alone = replace(prompter, examples=())
        rows = choice_rows(loaded, alone, choices, steering)
    else:
        for problem in others:
            needed = len(prompter.ids(problem.question)) + generation.max_new_tokens
            _check_room(problem, needed, loaded)
        rows = answered_rows(engine(), prompter, others, steering, generation)
    before, after = ([row[f"{side}_correct"] for row in rows] for side in ("baseline", "steered"))
    told = {
        "file": str(path),
        "scored_by": "likelihood of the choices" if choices else "generated answers",
        **compare_outcomes(before, after, evaluation),
    }
    return told, [{"what": "second task", **row} for row in rows]


def _check_apart(
    problems: Sequence[Problem | ChoiceProblem], test_questions: Iterable[str]
) -> None:
    """Refuse what the run's own test split asks: it would be a second read that no ledger sees."""
    own = {one_line(question) for question in test_questions}
    for problem in problems:
        if one_line(problem.question) in own:
            raise UserError(
                f"off_target.task_file asks a problem of the run's own test split ({problem.id}, "
                "rows counted from 0), which is for the one evaluation of test_final.json",
                "Take it out of the file.",
            )


def _check_room(problem: Problem | ChoiceProblem, needed: int, loaded: LoadedModel) -> None:
    if loaded.context is not None and needed > loaded.context:
        raise UserError(
            f"off_target.task_file: {problem.id} (rows counted from 0) needs {needed} tokens, the "
            f"answer included, and the model reads {loaded.context}",
            "Shorten it, or take it out of the file.",
        )


def compare_outcomes(
    baseline: Outcomes, steered: Outcomes, evaluation: EvaluationConfig
) -> dict[str, Any]:
    """Accuracy with and without steering on the same problems, each right or wrong.

    Returns:
        Both accuracies with Wilson's intervals, the difference with its paired bootstrap interval,
        McNemar's exact test, and the verdict, see `snakesteer.evaluation.statistics.verdict`.
    """
    n, confidence = len(baseline), evaluation.confidence
    settings = (evaluation.bootstrap_resamples, confidence, evaluation.seed)
    found = paired_bootstrap(baseline, steered, *settings)
    test = mcnemar_exact(baseline, steered)
    equivalence = equivalence_p(baseline, steered, evaluation.margin)
    accuracies: dict[str, Any] = {}
    for side, outcomes in (("baseline", baseline), ("steered", steered)):
        accuracies[f"{side}_accuracy"] = float(np.mean(outcomes))
        accuracies[f"{side}_accuracy_ci"] = list(wilson(int(np.sum(outcomes)), n, confidence))
    return {
        "n": n,
        **accuracies,
        "difference": found.estimate,
        "difference_ci": [found.low, found.high],
        "mcnemar": asdict(test),
        "verdict": verdict(found, test.p_value, equivalence, confidence),
    }


def answered_rows(
    engine: Engine,
    prompter: Prompter,
    problems: Sequence[Problem],
    steering: Steering,
    generation: GenerationConfig,
) -> TaskRows:
    """Answer problems with and without steering; a row a problem."""
    steerings = [None, steering]
    before, after = settled(
        engine, lambda: answer_all(engine, prompter, problems, steerings, generation)
    )
    rows: TaskRows = []
    for problem, *answers in zip(problems, before, after, strict=True):
        row: dict[str, Any] = {"id": problem.id, "question": problem.question, "gold": problem.gold}
        for side, answer in zip(("baseline", "steered"), answers, strict=True):
            for key in ("text", "extracted", "correct"):
                row[f"{side}_{key}"] = getattr(answer, key)
        rows.append(row)
    return rows


def choice_rows(
    loaded: LoadedModel,
    prompter: Prompter,
    problems: Sequence[ChoiceProblem],
    steering: Steering,
) -> TaskRows:
    """Score the choices of questions with and without steering; a row a question.

    A choice follows the question as a solution does in the run's prompt, and counts as generated.
    """
    asked = [(problem.question, choice) for problem in problems for choice in problem.choices]
    texts = [_chosen(prompter, question, choice) for question, choice in asked]
    owners = [problem for problem in problems for _ in problem.choices]
    for problem, text in zip(owners, texts, strict=True):
        _check_room(problem, len(text.token_ids) - 1, loaded)  # the last one is not read
    scores = np.zeros((2, len(texts)))  # [sides, choices]
    for at, forced in forced_logits(loaded, texts, steering):
        own = texts[at].generated
        for side, logits in enumerate((forced.unsteered, forced.steered)):
            likelihoods = logits.log_softmax(dim=-1)[range(len(own)), own]
            scores[side, at] = float(likelihoods.double().sum()) / len(asked[at][1])
    ends = np.cumsum([len(problem.choices) for problem in problems])[:-1]
    by_problem = np.split(scores, ends, axis=1)  # [problems][sides, choices]
    return [_choice_row(*one) for one in zip(problems, by_problem, strict=True)]


def _choice_row(problem: ChoiceProblem, scores: NDArray[np.float64]) -> dict[str, Any]:
    row: dict[str, Any] = asdict(problem)
    for side, own in zip(("baseline", "steered"), scores, strict=True):
        known = np.isfinite(own)  # steering may break the model's numbers
        chosen = int(np.argmax(np.where(known, own, -np.inf))) if known.any() else None
        row[f"{side}_choice"] = chosen
        row[f"{side}_correct"] = chosen == problem.answer
        row[f"{side}_scores"] = [
            float(x) if there else None for x, there in zip(own, known, strict=True)
        ]
    return row


def _chosen(prompter: Prompter, question: str, choice: str) -> GivenText:
    """A question with a choice behind it; a think block that stands between is no part of it."""
    return GivenText(*prompter.with_response(question, prompter.response(choice)))
