"""What a steering vector is to learn from: texts, alone or side by side."""

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Ids, Prompter
from snakesteer.errors import UserError


@dataclass(frozen=True)
class Example:
    """A prompt with what follows it.

    Attributes:
        token_ids: Prompt and response.
        prompt_tokens: How many of these are the prompt, at least one; the others are learned from.
    """

    token_ids: Ids
    prompt_tokens: int


@dataclass(frozen=True)
class Lesson:
    """Texts that are learned from together.

    Attributes:
        problem: Id of the problem; all lessons of a problem are learned, or all are held out.
        examples: One text to be said, or one to be said and one not to be said.
        weight: Of the lesson in the loss.
    """

    problem: str
    examples: tuple[Example, ...]
    weight: float = 1.0


def example(prompter: Prompter, question: str, response: str) -> Example:
    """A response as it follows the prompt, the end of the answer included."""
    return Example(*prompter.with_response(question, response.rstrip() + prompter.end()))


def gold_lessons(prompter: Prompter, problems: Sequence[Problem]) -> list[Lesson]:
    """The gold solutions."""
    return [
        Lesson(
            problem.id, (example(prompter, problem.question, prompter.response(problem.answer)),)
        )
        for problem in problems
    ]


def own_lessons(
    prompter: Prompter, problems: Sequence[Problem], solutions: Sequence[Mapping[str, Any]]
) -> list[Lesson]:
    """The model's own right solutions, no text twice; each problem that has some weighs the same.

    Args:
        prompter: Builds the prompts.
        problems: Which may be learned from.
        solutions: Samples ``{id, question, text, correct}``.

    Raises:
        UserError: No solution is right.
    """
    lessons, samples = [], _samples_of_problems(solutions)
    for problem in problems:
        right = list(samples[problem.id, True])
        lessons += [
            Lesson(problem.id, (example(prompter, problem.question, text),), 1.0 / len(right))
            for text in right
        ]
    if not lessons:
        raise UserError(
            f"None of the model's own solutions to {len(problems)} train problems is right, and "
            "training.objective own_correct learns from right ones",
            "Raise training.samples or data.train, or use training.objective: sft.",
        )
    return lessons


def preference_lessons(
    prompter: Prompter, problems: Sequence[Problem], solutions: Sequence[Mapping[str, Any]]
) -> list[Lesson]:
    """Right solutions beside wrong ones of the same problem.

    The wrong ones are the model's own. So are the right ones, each used as often as it takes; where
    the model has none, it is the gold solution. Each problem weighs the same.

    Args:
        prompter: Builds the prompts.
        problems: Which may be learned from.
        solutions: Samples ``{id, question, text, correct}``.

    Raises:
        UserError: No solution is wrong.
    """
    lessons, samples = [], _samples_of_problems(solutions)
    for problem in problems:
        wrong = samples[problem.id, False]
        preferred = list(samples[problem.id, True]) or [prompter.response(problem.answer)]
        for number, text in enumerate(wrong):
            both = (preferred[number % len(preferred)], text)
            texts = tuple(example(prompter, problem.question, one) for one in both)
            lessons.append(Lesson(problem.id, texts, 1.0 / len(wrong)))
    if not lessons:
        raise UserError(
            f"None of the model's own solutions to {len(problems)} train problems is wrong, and "
            "training.objective preference learns from right and wrong ones",
            "Raise training.samples or data.train, or use training.objective: sft.",
        )
    return lessons


def _samples_of_problems(
    solutions: Sequence[Mapping[str, Any]],
) -> defaultdict[tuple[str, bool], dict[str, None]]:
    """Texts by problem and whether they are right, in the order drawn, none twice.

    Other than in contrast pairs, what a text starts with stays: it follows the prompt as it was
    drawn.
    """
    texts: defaultdict[tuple[str, bool], dict[str, None]] = defaultdict(dict)
    for row in solutions:
        if text := row["text"].rstrip():
            texts[row["id"], bool(row["correct"])][text] = None
    return texts


def split_lessons(
    lessons: Sequence[Lesson], held_out: float, seed: int
) -> tuple[list[Lesson], list[Lesson]]:
    """Lessons to learn, and those held out.

    Args:
        lessons: All of them.
        held_out: Share of the problems that are held out, rounded.
        seed: Of the draw.

    Raises:
        UserError: No lesson is left to learn, or one has no prompt or no response.
    """
    texts = [example for lesson in lessons for example in lesson.examples]
    if any(not 0 < one.prompt_tokens < len(one.token_ids) for one in texts) or not lessons:
        raise UserError(
            "There is nothing to learn: a text has no prompt or no solution, or there is no text",
            "Give prompts with the solutions that are to follow them.",
        )
    kept = held_out_problems([lesson.problem for lesson in lessons], held_out, seed)
    return (
        [lesson for lesson in lessons if lesson.problem not in kept],
        [lesson for lesson in lessons if lesson.problem in kept],
    )


def held_out_problems(problems: Sequence[str], held_out: float, seed: int) -> set[str]:
    """Ids of the problems that are not learned from.

    Args:
        problems: Ids; each counts once.
        held_out: Share of them, rounded.
        seed: Of the draw.

    Raises:
        UserError: None would be left to learn from.
    """
    names = list(dict.fromkeys(problems))
    count = round(held_out * len(names))
    if count >= len(names):
        raise UserError(
            f"Of {len(names)} problems {count} are held out, and none is left to learn from",
            "Hold out a smaller share (training.held_out), or give more problems (data.train).",
        )
    return {*random.Random(f"held out {seed}").sample(names, count)}


def lessons_sha256(lessons: Sequence[Lesson]) -> str:
    """A hash of everything that lessons hold."""
    rows = [
        [
            lesson.problem,
            lesson.weight,
            [[one.token_ids, one.prompt_tokens] for one in lesson.examples],
        ]
        for lesson in lessons
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
