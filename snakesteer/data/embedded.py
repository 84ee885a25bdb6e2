"""Seeded word problems in the format of GSM8K, for runs without a network.

Number ranges are set so that a small instruction-tuned model (SmolLM2-135M-Instruct, four examples,
greedy) solves about half of the one-step problems: steering can then move accuracy either way.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from snakesteer.data.splits import mask_numbers, normalise

Numbers = tuple[int, ...]
T = TypeVar("T")

_NAMES = [
    "Tom",
    "Anna",
    "Ben",
    "Maria",
    "Sam",
    "Lily",
    "Jack",
    "Emma",
    "Max",
    "Nina",
    "Leo",
    "Sara",
    "Paul",
    "Kate",
    "Dan",
    "Ella",
    "Mike",
    "Rosa",
    "Adam",
    "Lucy",
    "Peter",
    "Julia",
    "Mark",
    "Alice",
    "Noah",
    "Mia",
    "David",
    "Clara",
    "Ryan",
    "Grace",
    "Omar",
    "Ruth",
    "Ivan",
    "Zoe",
    "Carl",
    "Amy",
    "Luis",
    "Eva",
    "Henry",
    "Jane",
]
_ITEMS = [
    "pens",
    "books",
    "coins",
    "shells",
    "cards",
    "apples",
    "stamps",
    "marbles",
    "stickers",
    "buttons",
    "beads",
    "cookies",
    "oranges",
    "photos",
    "candles",
    "flowers",
    "pencils",
    "balloons",
    "magnets",
    "crayons",
    "lemons",
    "keys",
    "ribbons",
    "puzzles",
    "peaches",
    "toys",
    "postcards",
    "badges",
    "eggs",
    "nuts",
]
_HOLDERS = ["boxes", "bags", "baskets", "jars", "drawers", "crates", "trays", "packs"]


@dataclass(frozen=True)
class _Template:
    """A kind of problem.

    Attributes:
        steps: Number of operations.
        question: Text with ``{name}``, ``{other}``, ``{item}``, ``{holder}`` and ``{a}``, ``{b}``,
            ``{c}``.
        draw: Draws the numbers of the question.
        solution: One sentence a step: text before and after, around the operation in between, which
            is written with ``{a}``, ``{b}``, ``{c}`` and ``{r}``, the result of the step before.
    """

    steps: int
    question: str
    draw: Callable[[random.Random], Numbers]
    solution: tuple[tuple[str, str, str], ...]


def _between(rng: random.Random, low: int, high: int) -> int:
    """A whole number, both ends included.

    Of all methods of `random.Random`, only ``random()`` is promised to give the same sequence in
    every Python version.
    """
    return low + int(rng.random() * (high - low + 1))


def _sum(rng: random.Random) -> Numbers:
    return _between(rng, 3, 12), _between(rng, 2, 7)


def _difference(rng: random.Random) -> Numbers:
    rest, taken = _between(rng, 2, 15), _between(rng, 2, 9)
    return rest + taken, taken


def _product(rng: random.Random) -> Numbers:
    return _between(rng, 2, 9), _between(rng, 2, 7)


def _quotient(rng: random.Random) -> Numbers:
    each, parts = _between(rng, 2, 9), _between(rng, 2, 5)
    return each * parts, parts


def _product_and_more(rng: random.Random) -> Numbers:
    return _between(rng, 3, 9), _between(rng, 3, 9), _between(rng, 3, 20)


def _product_and_less(rng: random.Random) -> Numbers:
    a, b = _between(rng, 3, 9), _between(rng, 3, 9)
    return a, b, _between(rng, 2, a * b - 2)


def _sum_and_less(rng: random.Random) -> Numbers:
    a, b = _between(rng, 8, 40), _between(rng, 5, 30)
    return a, b, _between(rng, 3, a + b - 3)


def _sum_and_quotient(rng: random.Random) -> Numbers:
    each, parts = _between(rng, 3, 9), _between(rng, 2, 6)
    a = _between(rng, 2, each * parts - 2)
    return a, each * parts - a, parts


def _difference_and_quotient(rng: random.Random) -> Numbers:
    each, parts, taken = _between(rng, 3, 9), _between(rng, 2, 6), _between(rng, 2, 20)
    return each * parts + taken, taken, parts


def _two_differences(rng: random.Random) -> Numbers:
    rest, b, c = _between(rng, 3, 30), _between(rng, 3, 20), _between(rng, 3, 20)
    return rest + b + c, b, c


_TEMPLATES = (
    # Addition
    _Template(
        1,
        "{name} has {a} {item} and finds {b} more {item}. How many {item} does {name} have now?",
        _sum,
        (("{name} has", "{a}+{b}", "{item} now"),),
    ),
    _Template(
        1,
        "There are {a} {item} on the table and {b} {item} on the shelf. {name} counts all of them. "
        "How many {item} does {name} count?",
        _sum,
        (("{name} counts", "{a}+{b}", "{item}"),),
    ),
    _Template(
        1,
        "{name} sold {a} {item} on Monday and {b} {item} on Tuesday. How many {item} did {name} "
        "sell on both days?",
        _sum,
        (("{name} sold", "{a}+{b}", "{item}"),),
    ),
    _Template(
        1,
        "{name} owns {a} {item}. {other} owns {b} more {item} than {name}. How many {item} does "
        "{other} own?",
        _sum,
        (("{other} owns", "{a}+{b}", "{item}"),),
    ),
    _Template(
        1,
        "{name} put {a} {item} on a shelf. Then {other} put {b} more {item} on it. How many {item} "
        "are on the shelf?",
        _sum,
        (("There are", "{a}+{b}", "{item} on the shelf"),),
    ),
    # Subtraction
    _Template(
        1,
        "{name} had {a} {item} and gave {b} of them to {other}. How many {item} does {name} have "
        "left?",
        _difference,
        (("{name} has", "{a}-{b}", "{item} left"),),
    ),
    _Template(
        1,
        "{name} collected {a} {item} and {other} collected {b}. How many more {item} did {name} "
        "collect than {other}?",
        _difference,
        (("{name} collected", "{a}-{b}", "more {item}"),),
    ),
    # Multiplication
    _Template(
        1,
        "{name} has {a} {holder} with {b} {item} in each. How many {item} does {name} have?",
        _product,
        (("{name} has", "{a}*{b}", "{item}"),),
    ),
    _Template(
        1,
        "{name} buys {b} {item} every day for {a} days. How many {item} does {name} buy?",
        _product,
        (("{name} buys", "{a}*{b}", "{item}"),),
    ),
    _Template(
        1,
        "{name} pays {b} dollars for each of {a} {item}. How many dollars does {name} pay?",
        _product,
        (("{name} pays", "{a}*{b}", "dollars"),),
    ),
    _Template(
        1,
        "{other} has {b} {item}. {name} has {a} times as many {item}. How many {item} does {name} "
        "have?",
        _product,
        (("{name} has", "{a}*{b}", "{item}"),),
    ),
    _Template(
        1,
        "{name} can pack {b} {item} in one hour. How many {item} can {name} pack in {a} hours?",
        _product,
        (("{name} can pack", "{a}*{b}", "{item}"),),
    ),
    _Template(
        1,
        "There are {a} children and each of them brings {b} {item} to {name}. How many {item} does "
        "{name} get?",
        _product,
        (("{name} gets", "{a}*{b}", "{item}"),),
    ),
    _Template(
        1,
        "{name} eats {b} {item} a week. How many {item} does {name} eat in {a} weeks?",
        _product,
        (("{name} eats", "{a}*{b}", "{item}"),),
    ),
    _Template(
        1,
        "{name} fills {a} {holder}. Each holds {b} {item}. How many {item} are there in all?",
        _product,
        (("There are", "{a}*{b}", "{item}"),),
    ),
    _Template(
        1,
        "{name} gives {b} {item} to each of {a} friends. How many {item} does {name} give away?",
        _product,
        (("{name} gives away", "{a}*{b}", "{item}"),),
    ),
    _Template(
        1,
        "{name} sees {a} rows of {b} {item}. How many {item} does {name} see?",
        _product,
        (("{name} sees", "{a}*{b}", "{item}"),),
    ),
    # Division
    _Template(
        1,
        "{name} shares {a} {item} equally among {b} friends. How many {item} does each friend get?",
        _quotient,
        (("Each friend gets", "{a}/{b}", "{item}"),),
    ),
    _Template(
        1,
        "{name} puts {a} {item} into {holder}, {b} in each. How many {holder} does {name} fill?",
        _quotient,
        (("{name} fills", "{a}/{b}", "{holder}"),),
    ),
    # Two steps
    _Template(
        2,
        "{name} has {a} {holder} with {b} {item} in each and finds {c} more {item}. How many "
        "{item} does {name} have now?",
        _product_and_more,
        (("The {holder} hold", "{a}*{b}", "{item}"), ("{name} has", "{r}+{c}", "{item}")),
    ),
    _Template(
        2,
        "{name} packs {a} {holder} with {b} {item} each and gives {c} {item} to {other}. How many "
        "{item} are left?",
        _product_and_less,
        (("{name} packs", "{a}*{b}", "{item}"), ("There are", "{r}-{c}", "left")),
    ),
    _Template(
        2,
        "{name} buys {a} {item} for {b} dollars each and a bag for {c} dollars. How many dollars "
        "does {name} pay?",
        _product_and_more,
        (("The {item} cost", "{a}*{b}", "dollars"), ("{name} pays", "{r}+{c}", "dollars")),
    ),
    _Template(
        2,
        "{name} had {a} {item}, got {b} more from {other} and lost {c}. How many {item} does "
        "{name} have now?",
        _sum_and_less,
        (("{name} got to", "{a}+{b}", "{item}"), ("Now there are", "{r}-{c}", "{item}")),
    ),
    _Template(
        2,
        "{name} has {a} {item} and {other} has {b}. They share all {item} equally among {c} "
        "children. How many {item} does each child get?",
        _sum_and_quotient,
        (("Together they have", "{a}+{b}", "{item}"), ("Each child gets", "{r}/{c}", "{item}")),
    ),
    _Template(
        2,
        "{name} picked {a} {item}, kept {b} and put the others equally into {c} {holder}. How many "
        "{item} are in each of the {holder}?",
        _difference_and_quotient,
        (("The others are", "{a}-{b}", "{item}"), ("Each holds", "{r}/{c}", "{item}")),
    ),
    _Template(
        2,
        "{name} had {a} {item}. {name} gave {b} to {other} and sold {c}. How many {item} are left?",
        _two_differences,
        (("After giving there were", "{a}-{b}", "{item}"), ("There are", "{r}-{c}", "left")),
    ),
    _Template(
        2,
        "{other} makes {b} {item} a day. {name} makes {c} more a day than {other}. How many {item} "
        "does {name} make in {a} days?",
        _product_and_more,
        (("{name} makes", "{b}+{c}", "a day"), ("That is", "{r}*{a}", "{item}")),
    ),
)


def generate(count: int, steps: Literal[1, 2], seed: int) -> list[dict[str, str]]:
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
    by_steps = {n: [each for each in _TEMPLATES if each.steps == n] for n in (1, 2)}
    rows: list[dict[str, str]] = []
    seen: set[str] = set()
    while len(rows) < count:
        question, answer = _fill(_pick(rng, by_steps[_between(rng, 1, steps)]), rng)
        masked = mask_numbers(normalise(question))
        if masked not in seen:
            seen.add(masked)
            rows.append({"question": question, "answer": answer})
    return rows


def _pick(rng: random.Random, options: Sequence[T]) -> T:
    return options[_between(rng, 0, len(options) - 1)]


def _fill(template: _Template, rng: random.Random) -> tuple[str, str]:
    name = _pick(rng, _NAMES)
    values: dict[str, str | int] = {
        "name": name,
        "other": _pick(rng, [other for other in _NAMES if other != name]),
        "item": _pick(rng, _ITEMS),
        "holder": _pick(rng, _HOLDERS),
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
