"""A wrong twin of a gold solution: one wrong intermediate number, carried to the end.

GSM8K marks every calculation: ``48/2 = <<48/2=24>>24 tickets``. The marks tell which number is a
result and which later calculations use it. One result is replaced by a wrong number, all that
follows from it is recomputed exactly, and every number in the text that stands for a changed
result is rewritten. What is left is a solution with one wrong step.

The twin must differ from the gold text in nothing but its being wrong, or a direction between the
two would point at the difference in format. So every rewritten number keeps its shape (digits,
decimals, commas) and, where possible, its trailing zeros; and the wrong result is drawn as gold
results are distributed, so that neither its size nor its direction gives it away.
"""

import ast
import operator
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import accumulate

ANNOTATION = re.compile(r"<<([^<>]*)>>")
WRITTEN_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+")
FINAL_MARK = "####"
FINAL = re.compile(rf"{FINAL_MARK}[^\d.]*(?:{WRITTEN_NUMBER.pattern})\D*$")
_AFTER = re.compile(rf"[\s$]*({WRITTEN_NUMBER.pattern})")
DRAWS = 100  # wrong numbers tried per step
_LONGEST = 1000  # characters of a number; Python writes no more than 4300 digits
# So that pairs have as many equal numbers on either side, measured on GSM8K's train split.
COINCIDENCES_REFUSED = 0.7

_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True)
class Step:
    """One annotated calculation.

    Args:
        position: Where its annotation stood, counted in the text without annotations.
        shown: The number right after the annotation; None if that is not the result.
        result: The gold result.
        operands: The numbers in the calculation.
        expression: The calculation; None if it cannot be recomputed, because it is not arithmetic
            or does not give the result.
        decimals: To how many places the gold result was rounded; None if it is exact.
    """

    position: int
    shown: str | None
    result: Fraction
    operands: frozenset[Fraction]
    expression: ast.expr | None
    decimals: int | None


@dataclass(frozen=True)
class Number:
    """A number in the text, and the step whose result it is (None: it is a given)."""

    start: int
    text: str
    source: int | None


@dataclass(frozen=True)
class Solution:
    """A gold solution without its annotations.

    Args:
        text: The visible text.
        steps: Its calculations, in order.
        numbers: Its numbers, in order; the last one is the final answer.
        ambiguous: Steps whose result stands in the text before, meaning something else: it is not
            certain which of the two a later occurrence refers to.
    """

    text: str
    steps: tuple[Step, ...]
    numbers: tuple[Number, ...]
    ambiguous: frozenset[int]


def corrupt(answer: str, rng: random.Random) -> str | None:
    """A wrong version of a gold solution, of the same length and the same shape.

    Intermediate steps are tried in random order, then the step that gives the final number; first
    strictly, then not (see `propagate`). If no step will do, or there are no annotations, the final
    number alone is replaced.

    Args:
        answer: A solution in GSM8K's format: annotated calculations, then ``#### 72``.
        rng: The source of every choice.

    Returns:
        The solution without annotations and with another final number; None if there is none.
    """
    solution = parse(answer)
    if solution is None:
        return None
    distinct = _distinct(solution.text)
    last = solution.numbers[-1].source
    order = [index for index in range(len(solution.steps)) if index != last]
    rng.shuffle(order)
    if last is not None:
        order.append(last)
    for strict in (True, False):
        for index in order:
            shown = solution.steps[index].shown
            if shown is None:
                continue
            for wrong in wrong_numbers(shown, rng):
                text = propagate(solution, index, value(wrong), strict=strict)
                if text is None:
                    continue
                # Wrong numbers happen to equal others in the text more often than gold ones do.
                if _distinct(text) < distinct and rng.random() < COINCIDENCES_REFUSED:
                    continue
                return text
    return _corrupt_final(solution, rng)


def parse(answer: str) -> Solution | None:
    """Strip the annotations and find out which number comes from which step.

    A number belongs to the latest step before it with that result, or else, as in "He eats 32
    because 2 x 16 = 32", to the next such step on its own line.

    Returns:
        None if the solution does not end in ``#### <number>``, or a number is absurdly long.
    """
    text = ANNOTATION.sub("", answer)
    if not FINAL.search(text):
        return None
    found = list(WRITTEN_NUMBER.finditer(text))
    if any(len(number.group()) > _LONGEST for number in found):
        return None
    steps: list[Step] = []
    removed = 0
    for mark in ANNOTATION.finditer(answer):
        step = _parse_step(mark, mark.start() - removed, text)
        if step is not None:
            steps.append(step)
        removed += len(mark.group())
    numbers = [Number(m.start(), m.group(), _source(m, text, steps)) for m in found]
    ambiguous = frozenset(
        index
        for index, step in enumerate(steps)
        for number in numbers
        if number.start < step.position
        and number.source != index
        and value(number.text) == step.result
    )
    return Solution(text, tuple(steps), tuple(numbers), ambiguous)


def propagate(solution: Solution, index: int, wrong: Fraction, *, strict: bool) -> str | None:
    """The solution's text if step ``index`` had resulted in ``wrong``.

    Args:
        solution: The gold solution.
        index: The step to be wrong.
        wrong: Its result.
        strict: Also refuse ambiguous references and changed numbers of trailing zeros.

    Returns:
        None if a later step cannot be recomputed, a number does not fit its shape, or the final
        number stays what it was.
    """
    results = [step.result for step in solution.steps]
    results[index] = wrong
    current = {solution.steps[index].result: wrong}  # gold result → result after the change
    for later in range(index + 1, len(results)):
        step = solution.steps[later]
        if any(current.get(operand, operand) != operand for operand in step.operands):
            recomputed = _recompute(step, current)
            if recomputed is None:
                return None
            results[later] = recomputed
        current[step.result] = results[later]

    changed = {i for i, step in enumerate(solution.steps) if results[i] != step.result}
    if solution.numbers[-1].source not in changed:
        return None
    if any(solution.steps[i].shown is None for i in changed):
        return None
    if strict and changed & solution.ambiguous:
        return None
    replaced = {}
    for number in solution.numbers:
        if number.source in changed:
            new = reshape(results[number.source], number.text)
            if new is None or (strict and _zeros(new) != _zeros(number.text)):
                return None
            replaced[number.start] = new
    return _replace(solution.text, replaced)


def reshape(number: Fraction, shape: str) -> str | None:
    """Write a number with the digits, decimals and commas of another one.

    Args:
        number: What to write.
        shape: A number as it stands in a text, such as ``1,080`` or ``0.25``.

    Returns:
        None if the number is negative or needs more or fewer digits.
    """
    digits = re.sub(r"\D", "", shape)
    scaled = number * 10 ** _decimals(shape)
    if scaled.denominator != 1 or scaled < 0:
        return None
    new = str(scaled.numerator).zfill(len(digits))
    if len(new) != len(digits):
        return None
    if (new[0] == "0") != (digits[0] == "0") and (len(digits) > 1 or digits != "0"):
        return None  # 07 for 12, 1.25 for 0.25, or nothing left where something was
    return _fill(shape, new)


def wrong_numbers(gold: str, rng: random.Random) -> Iterator[str]:
    """Random numbers of the same shape as a gold number, with as many trailing zeros.

    Drawn from about the distribution of gold results (see `_cores`), so that gold and wrong number
    are two draws from one distribution. Of a number with more than three digits before the
    trailing zeros only the first three are redrawn.
    """
    digits = re.sub(r"\D", "", gold)
    stem = digits.rstrip("0") or "0"
    core = stem.lstrip("0") or "0"
    kept = core[3:] + digits[len(stem) :]
    cores, cumulative = _cores(min(len(core), 3), len(digits) == 1)
    for drawn in rng.choices(cores, cum_weights=cumulative, k=DRAWS):
        new = f"{drawn}{kept}".zfill(len(digits))
        if new != digits:
            yield _fill(gold, new)


@cache
def _cores(length: int, whole: bool) -> tuple[list[int], list[float]]:
    """The numbers of a length that end in no zero, and how often they are results, cumulated.

    Fitted by eye to the results in GSM8K's train split: a result m is the more frequent the more
    divisors it has, the smaller it is (about 1/m², but not so for whole numbers of one digit), and
    three times as frequent if 5 divides it.
    """
    numbers = [m for m in range(10 ** (length - 1), 10**length) if m % 10]
    divisors = [sum(m % d == 0 for d in range(1, m + 1)) for m in numbers]
    return numbers, list(
        accumulate(
            count if whole else count * (1 if m % 5 else 3) / m**2
            for m, count in zip(numbers, divisors, strict=True)
        )
    )


def evaluate(node: ast.expr, current: Mapping[Fraction, Fraction]) -> Fraction:
    """Compute an arithmetic expression exactly.

    Args:
        node: Numbers, parentheses, signs and the four operations.
        current: Numbers to be replaced, each with the number to take in its place.

    Raises:
        ValueError: Anything else in the expression.
        ZeroDivisionError: A division by zero.
    """
    match node:
        case ast.Constant(value=int() | float() as constant):
            number = Fraction(str(constant))
            return current.get(number, number)
        case ast.BinOp(left, kind, right) if type(kind) in _OPERATORS:
            return _OPERATORS[type(kind)](evaluate(left, current), evaluate(right, current))
        case ast.UnaryOp(ast.USub(), operand):
            return -evaluate(operand, current)
        case _:
            raise ValueError(f"not arithmetic: {ast.unparse(node)}")


def value(number: str) -> Fraction:
    """The exact value of a number as it stands in a text: ``1,080.50``."""
    return Fraction(number.replace(",", ""))


def _parse_step(mark: re.Match[str], position: int, text: str) -> Step | None:
    """A calculation from its annotation; None if its result is not a number to work with."""
    calculation, _, stated = mark[1].rpartition("=")
    if any(len(number) > _LONGEST for number in WRITTEN_NUMBER.findall(mark[1])):
        return None
    try:
        result = value(stated)
    except (ValueError, ZeroDivisionError):
        return None
    after = _AFTER.match(text, position)
    shown = after[1] if after and value(after[1]) == result else None
    operands = frozenset(value(number) for number in WRITTEN_NUMBER.findall(calculation))
    expression, decimals = None, None
    try:
        expression = ast.parse(calculation.strip(), mode="eval").body
        exact = evaluate(expression, {})
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        expression = None  # the last two are what Python says of a thousand brackets or terms
    else:
        if exact != result:
            decimals = _decimals(stated)
            if round(exact, decimals) != result:
                expression = None
    return Step(position, shown, result, operands, expression, decimals)


def _recompute(step: Step, current: Mapping[Fraction, Fraction]) -> Fraction | None:
    """A step's result from changed operands, rounded if the gold result was; None if unknown."""
    if step.expression is None:
        return None
    try:
        exact = evaluate(step.expression, current)
    except ZeroDivisionError:
        return None
    return exact if step.decimals is None else Fraction(round(exact, step.decimals))


def _source(number: re.Match[str], text: str, steps: list[Step]) -> int | None:
    """The step that a number in the text is the result of."""
    same = [i for i, step in enumerate(steps) if step.result == value(number.group())]
    before = [i for i in same if steps[i].position <= number.start()]
    if before:
        return before[-1]
    line_end = text.find("\n", number.start())
    for i in same:
        ahead = line_end == -1 or steps[i].position <= line_end
        if ahead and steps[i].result not in steps[i].operands:
            return i
    return None


def _corrupt_final(solution: Solution, rng: random.Random) -> str | None:
    """Replace the final number where it stands on the last line and after ``####``."""
    final = solution.numbers[-1]
    before_mark = solution.text[: solution.text.rindex(FINAL_MARK)].rstrip()
    last_line = before_mark.rfind("\n") + 1
    same = [
        number
        for number in solution.numbers
        if number.start >= last_line and value(number.text) == value(final.text)
    ]
    for wrong in wrong_numbers(final.text, rng):
        replaced = {}
        for number in same:
            new = reshape(value(wrong), number.text)
            if new is not None:
                replaced[number.start] = new
        if len(replaced) == len(same):
            return _replace(solution.text, replaced)
    return None


def _replace(text: str, replaced: Mapping[int, str]) -> str:
    """Overwrite the text at some positions."""
    chars = list(text)
    for start, new in replaced.items():
        chars[start : start + len(new)] = new
    return "".join(chars)


def _distinct(text: str) -> int:
    """How many different numbers a text has."""
    return len(set(WRITTEN_NUMBER.findall(text)))


def _fill(shape: str, digits: str) -> str:
    """Put digits in the place of a number's digits."""
    fill = iter(digits)
    return "".join(next(fill) if char.isdigit() else char for char in shape)


def _decimals(number: str) -> int:
    """How many decimals a number is written with."""
    return len(number.partition(".")[2])


def _zeros(number: str) -> int:
    """How many zeros a number ends in."""
    digits = re.sub(r"\D", "", number)
    return len(digits) - len(digits.rstrip("0"))
