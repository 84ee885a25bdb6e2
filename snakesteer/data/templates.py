"""What the generated word problems are made of: names, things, and templates with their numbers.

Number ranges are set so that a small instruction-tuned model (SmolLM2-135M-Instruct, four examples,
greedy) solves about half of the one-step problems: steering can then move accuracy either way.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

Numbers = tuple[int, ...]

NAMES = [
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
ITEMS = [
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
HOLDERS = ["boxes", "bags", "baskets", "jars", "drawers", "crates", "trays", "packs"]


@dataclass(frozen=True)
class Template:
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


def between(rng: random.Random, low: int, high: int) -> int:
    """A whole number, both ends included.

    Of all methods of `random.Random`, only ``random()`` is promised to give the same sequence in
    every Python version.
    """
    return low + int(rng.random() * (high - low + 1))


def _sum(rng: random.Random) -> Numbers:
    return between(rng, 3, 12), between(rng, 2, 7)


def _difference(rng: random.Random) -> Numbers:
    rest, taken = between(rng, 2, 15), between(rng, 2, 9)
    return rest + taken, taken


def _product(rng: random.Random) -> Numbers:
    return between(rng, 2, 9), between(rng, 2, 7)


def _quotient(rng: random.Random) -> Numbers:
    each, parts = between(rng, 2, 9), between(rng, 2, 5)
    return each * parts, parts


def _product_and_more(rng: random.Random) -> Numbers:
    return between(rng, 3, 9), between(rng, 3, 9), between(rng, 3, 20)


def _product_and_less(rng: random.Random) -> Numbers:
    a, b = between(rng, 3, 9), between(rng, 3, 9)
    return a, b, between(rng, 2, a * b - 2)


def _sum_and_less(rng: random.Random) -> Numbers:
    a, b = between(rng, 8, 40), between(rng, 5, 30)
    return a, b, between(rng, 3, a + b - 3)


def _sum_and_quotient(rng: random.Random) -> Numbers:
    each, parts = between(rng, 3, 9), between(rng, 2, 6)
    a = between(rng, 2, each * parts - 2)
    return a, each * parts - a, parts


def _difference_and_quotient(rng: random.Random) -> Numbers:
    each, parts, taken = between(rng, 3, 9), between(rng, 2, 6), between(rng, 2, 20)
    return each * parts + taken, taken, parts


def _two_differences(rng: random.Random) -> Numbers:
    rest, b, c = between(rng, 3, 30), between(rng, 3, 20), between(rng, 3, 20)
    return rest + b + c, b, c


TEMPLATES = (
    # Addition
    Template(
        1,
        "{name} has {a} {item} and finds {b} more {item}. How many {item} does {name} have now?",
        _sum,
        (("{name} has", "{a}+{b}", "{item} now"),),
    ),
    Template(
        1,
        "There are {a} {item} on the table and {b} {item} on the shelf. {name} counts all of them. "
        "How many {item} does {name} count?",
        _sum,
        (("{name} counts", "{a}+{b}", "{item}"),),
    ),
    Template(
        1,
        "{name} sold {a} {item} on Monday and {b} {item} on Tuesday. How many {item} did {name} "
        "sell on both days?",
        _sum,
        (("{name} sold", "{a}+{b}", "{item}"),),
    ),
    Template(
        1,
        "{name} owns {a} {item}. {other} owns {b} more {item} than {name}. How many {item} does "
        "{other} own?",
        _sum,
        (("{other} owns", "{a}+{b}", "{item}"),),
    ),
    Template(
        1,
        "{name} put {a} {item} on a shelf. Then {other} put {b} more {item} on it. How many {item} "
        "are on the shelf?",
        _sum,
        (("There are", "{a}+{b}", "{item} on the shelf"),),
    ),
    # Subtraction
    Template(
        1,
        "{name} had {a} {item} and gave {b} of them to {other}. How many {item} does {name} have "
        "left?",
        _difference,
        (("{name} has", "{a}-{b}", "{item} left"),),
    ),
    Template(
        1,
        "{name} collected {a} {item} and {other} collected {b}. How many more {item} did {name} "
        "collect than {other}?",
        _difference,
        (("{name} collected", "{a}-{b}", "more {item}"),),
    ),
    # Multiplication
    Template(
        1,
        "{name} has {a} {holder} with {b} {item} in each. How many {item} does {name} have?",
        _product,
        (("{name} has", "{a}*{b}", "{item}"),),
    ),
    Template(
        1,
        "{name} buys {b} {item} every day for {a} days. How many {item} does {name} buy?",
        _product,
        (("{name} buys", "{a}*{b}", "{item}"),),
    ),
    Template(
        1,
        "{name} pays {b} dollars for each of {a} {item}. How many dollars does {name} pay?",
        _product,
        (("{name} pays", "{a}*{b}", "dollars"),),
    ),
    Template(
        1,
        "{other} has {b} {item}. {name} has {a} times as many {item}. How many {item} does {name} "
        "have?",
        _product,
        (("{name} has", "{a}*{b}", "{item}"),),
    ),
    Template(
        1,
        "{name} can pack {b} {item} in one hour. How many {item} can {name} pack in {a} hours?",
        _product,
        (("{name} can pack", "{a}*{b}", "{item}"),),
    ),
    Template(
        1,
        "There are {a} children and each of them brings {b} {item} to {name}. How many {item} does "
        "{name} get?",
        _product,
        (("{name} gets", "{a}*{b}", "{item}"),),
    ),
    Template(
        1,
        "{name} eats {b} {item} a week. How many {item} does {name} eat in {a} weeks?",
        _product,
        (("{name} eats", "{a}*{b}", "{item}"),),
    ),
    Template(
        1,
        "{name} fills {a} {holder}. Each holds {b} {item}. How many {item} are there in all?",
        _product,
        (("There are", "{a}*{b}", "{item}"),),
    ),
    Template(
        1,
        "{name} gives {b} {item} to each of {a} friends. How many {item} does {name} give away?",
        _product,
        (("{name} gives away", "{a}*{b}", "{item}"),),
    ),
    Template(
        1,
        "{name} sees {a} rows of {b} {item}. How many {item} does {name} see?",
        _product,
        (("{name} sees", "{a}*{b}", "{item}"),),
    ),
    # Division
    Template(
        1,
        "{name} shares {a} {item} equally among {b} friends. How many {item} does each friend get?",
        _quotient,
        (("Each friend gets", "{a}/{b}", "{item}"),),
    ),
    Template(
        1,
        "{name} puts {a} {item} into {holder}, {b} in each. How many {holder} does {name} fill?",
        _quotient,
        (("{name} fills", "{a}/{b}", "{holder}"),),
    ),
    # Two steps
    Template(
        2,
        "{name} has {a} {holder} with {b} {item} in each and finds {c} more {item}. How many "
        "{item} does {name} have now?",
        _product_and_more,
        (("The {holder} hold", "{a}*{b}", "{item}"), ("{name} has", "{r}+{c}", "{item}")),
    ),
    Template(
        2,
        "{name} packs {a} {holder} with {b} {item} each and gives {c} {item} to {other}. How many "
        "{item} are left?",
        _product_and_less,
        (("{name} packs", "{a}*{b}", "{item}"), ("There are", "{r}-{c}", "left")),
    ),
    Template(
        2,
        "{name} buys {a} {item} for {b} dollars each and a bag for {c} dollars. How many dollars "
        "does {name} pay?",
        _product_and_more,
        (("The {item} cost", "{a}*{b}", "dollars"), ("{name} pays", "{r}+{c}", "dollars")),
    ),
    Template(
        2,
        "{name} had {a} {item}, got {b} more from {other} and lost {c}. How many {item} does "
        "{name} have now?",
        _sum_and_less,
        (("{name} got to", "{a}+{b}", "{item}"), ("Now there are", "{r}-{c}", "{item}")),
    ),
    Template(
        2,
        "{name} has {a} {item} and {other} has {b}. They share all {item} equally among {c} "
        "children. How many {item} does each child get?",
        _sum_and_quotient,
        (("Together they have", "{a}+{b}", "{item}"), ("Each child gets", "{r}/{c}", "{item}")),
    ),
    Template(
        2,
        "{name} picked {a} {item}, kept {b} and put the others equally into {c} {holder}. How many "
        "{item} are in each of the {holder}?",
        _difference_and_quotient,
        (("The others are", "{a}-{b}", "{item}"), ("Each holds", "{r}/{c}", "{item}")),
    ),
    Template(
        2,
        "{name} had {a} {item}. {name} gave {b} to {other} and sold {c}. How many {item} are left?",
        _two_differences,
        (("After giving there were", "{a}-{b}", "{item}"), ("There are", "{r}-{c}", "left")),
    ),
    Template(
        2,
        "{other} makes {b} {item} a day. {name} makes {c} more a day than {other}. How many {item} "
        "does {name} make in {a} days?",
        _product_and_more,
        (("{name} makes", "{b}+{c}", "a day"), ("That is", "{r}*{a}", "{item}")),
    ),
)
