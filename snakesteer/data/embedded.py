"""Seeded word problems in the format of GSM8K, for runs without a network."""

import random
import re
from collections.abc import Sequence
from typing import Literal, TypeVar

from snakesteer.data.duplicates import mask_numbers, normalise
from snakesteer.data.templates import HOLDERS, ITEMS, NAMES, TEMPLATES, Template, between

T = TypeVar("T")


def generate_problems(count: int, steps: Literal[1, 2], seed: int) -> list[dict[str, str]]:
    """Generate problems that differ in more than their numbers.

    A shorter list is the beginning of a longer one with the same seed, on every Python version.

    Args:
        count: How many.
        steps: 1, or 2 for an even mix of one- and two-step problems.
        seed: Draws templates, words and numbers.

    Returns:
        Rows ``{question, answer}`` as GSM8K has them.
    """
    rng = random.Random(seed)
    by_steps = {n: [each for each in TEMPLATES if each.steps == n] for n in (1, 2)}
    rows: list[dict[str, str]] = []
    seen: set[str] = set()
    while len(rows) < count:
        question, answer = _fill(_pick(rng, by_steps[between(rng, 1, steps)]), rng)
        masked = mask_numbers(normalise(question))
        if masked not in seen:
            seen.add(masked)
            rows.append({"question": question, "answer": answer})
    return rows


def _pick(rng: random.Random, options: Sequence[T]) -> T:
    return options[between(rng, 0, len(options) - 1)]


def _fill(template: Template, rng: random.Random) -> tuple[str, str]:
    name = _pick(rng, NAMES)
    values: dict[str, str | int] = {
        "name": name,
        "other": _pick(rng, [other for other in NAMES if other != name]),
        "item": _pick(rng, ITEMS),
        "holder": _pick(rng, HOLDERS),
        **dict(zip("abc", template.draw(rng), strict=False)),
    }
    sentences = []
    for before, operation, after in template.solution:
        term = operation.format(**values)
        values["r"] = _calculate(term)
        sentences.append(
            f"{before.format(**values)} {term} = <<{term}={values['r']}>>{values['r']} "
            f"{after.format(**values)}."
        )
    return template.question.format(**values), "\n".join([*sentences, f"#### {values['r']}"])


def _calculate(term: str) -> int:
    """The value of one operation on whole numbers, such as ``12/4``."""
    left, operator, right = re.split(r"([-+*/])", term)
    a, b = int(left), int(right)
    match operator:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case _:
            quotient, remainder = divmod(a, b)
            assert remainder == 0, term
            return quotient
