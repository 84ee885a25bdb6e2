"""Answers that differ in the number, in how it is written and in what stands around it."""

import random
from dataclasses import dataclass

MANY = 2000

# Each with the number at {}; what stands around it holds other numbers.
FRAMES = (
    "7 + 11 is 18 at first. #### {}",
    "There are 3 boxes.\n#### {}",
    "There are 3 boxes.\nThe answer is {}.",
    "There are 3 boxes of 6 pens.\n\n**Answer:** {}",
    "There are 3 boxes.\n\nFinal answer: {}",
    "There are 3 boxes, so the final answer is {}.",
    "We add 3 and 4.\n\nSo the answer is: **{}**",
    "Ada has 3 boxes, 4 bags and {} pens",
    "At first 3, then 4.\nTotal: {}",
    "<think>3 or 4?</think>\n\nThe answer is {}.",
)
BOXES = (
    "We add 3 and 4. \\boxed{{{}}}",
    "So there are $\\boxed{{{}}}$ pens, which is 3 per box.",
    "\\[\n3 + 4 = 7\n\\]\n\nThe answer is \\(\\boxed{{{}}}\\).",
    "First $\\boxed{{3}}$. No, the bags are missing, so it is more: in fact $\\boxed{{{}}}$.",
    "Step 1: 3 + 4.\nThe final answer is: $\\boxed{{{}}}$. I hope it is correct.",
    "The answer is $\\boxed{{{}}}$\n\nCheck: 3 + 4 = 7.",
)
MANNERS = ("plain", "commas", "dollars", "cents", "unit", "half", "equation", "negative")

# What math-verify does not know, and where it therefore may read another number.
RUN_ON = "it reads on in the next turn"
CHECK = "it knows no ####, and takes the last number of all"
SPACES = "it knows no groups of digits behind narrow spaces"
TAILS = {
    "<|im_end|>\n<|im_start|>user\nBo has 5": RUN_ON,
    "\n\nQuestion: Bo has 5 pens. How many?\nAnswer: 5\n#### 5": RUN_ON,
    "\n\nCheck: 18 - 11 = 5": CHECK,
}


@dataclass(frozen=True)
class Variation:
    """An answer, the number that it states, another one, and what makes it hard for others."""

    text: str
    number: str
    other: str
    why: str | None = None


def variations(seed: int = 0) -> list[Variation]:
    """`MANY` of them."""
    draw = random.Random(seed)
    return [_variation(draw) for _ in range(MANY)]


def _variation(draw: random.Random) -> Variation:
    number = draw.choice((draw.randint(8, 99), draw.randint(100, 9999), draw.randint(10**4, 10**7)))
    other = str(number + draw.choice((-1, 1, 10)))
    box = draw.random() < 0.5
    frame = draw.choice(BOXES if box else FRAMES)
    hard = draw.random() < 0.1
    if hard and (number < 1000 or box):
        tail, why = draw.choice(list(TAILS.items()))
        frame = draw.choice(BOXES if box else FRAMES[:2]) + tail
        return Variation(frame.format(number), str(number), other, why)
    if hard:
        spaced = f"{number:,}".replace(",", draw.choice("\u00a0\u202f\u2009"))
        return Variation(frame.format(spaced), str(number), other, SPACES)
    written, value = _written(number, draw.choice(MANNERS), box, draw)
    return Variation(frame.format(written), value, other)


def _written(number: int, manner: str, box: bool, draw: random.Random) -> tuple[str, str]:
    """A number in a manner of writing, and its canonical form."""
    part = draw.randint(1, number - 1)
    if manner == "half":
        fraction = f"\\frac{{{2 * number + 1}}}{{2}}"
        return fraction if box else f"{number}.5", f"{number}.5"
    if manner == "negative":
        return f"-{number}", f"-{number}"
    if manner == "equation" and box and number % 2 == 0:
        return f"2 \\times {number // 2} = {number}", str(number)
    forms = {
        "plain": f"{number}",
        "commas": f"{number:,}",
        "dollars": f"\\${number:,}" if box else f"${number:,}",
        "cents": f"{number:,}.00",
        "unit": f"{number} \\text{{ pens}}" if box else f"{number} pens",
        "equation": f"{number - part} + {part} = {number}",
    }
    return forms[manner], str(number)
