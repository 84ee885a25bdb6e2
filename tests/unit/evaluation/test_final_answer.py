"""Where the final answer stands, and what it is worth, over the formats of many models."""

import time
from decimal import Decimal
from fractions import Fraction

import pytest

from snakesteer.evaluation import final_answer as module
from snakesteer.evaluation.final_answer import final_answer
from snakesteer.evaluation.grading import grade, written
from snakesteer.evaluation.shown_text import ChatMarks
from tests.unit.evaluation.formats import FAMILIES, Written

# What an answer is like: its text, what it says (None: no one number), and what it does not say.
KINDS: dict[str, tuple[str, str | None, str]] = {
    "numbers, and a mark, inside a think block": (
        "<think>3+4 is 7. #### 7? no, I forgot the 11.</think>\nHe has 18.\n#### 18",
        "18",
        "7",
    ),
    "a think block that never ends": (
        "<think>7 + 11, the answer is 18. Let me check the 11 again",
        None,
        "18",
    ),
    "numbered headings behind `####`": (
        "#### 1. Count the pens\n3 + 4 = 7\n#### 2. Add\n7 + 11 = 18\nFinal answer: 18",
        "18",
        "1",
    ),
    "an equation behind `####`": ("#### 7 + 11 = 18", "18", "7"),
    "a box in a sentence with other numbers": (
        "So there are \\boxed{18} pens, which is 3 per box over 6 boxes.",
        "18",
        "6",
    ),
    "a check behind a bold answer": (
        "**Answer: 18**\n\nCheck: 7 + 11 = 18, and 18 - 11 = 7.",
        "18",
        "7",
    ),
    "an answer that is taken back": (
        "The answer is 26. Wait, I forgot the muffins. … So the answer is 18.",
        "18",
        "26",
    ),
    'an equation in LaTeX behind "the answer is"': (
        "The answer is $9 \\times 2 = 18$ dollars.",
        "18",
        "9",
    ),
    "`{,}` between digits": ("\\boxed{1{,}080}", "1080", "80"),
    "a no-break space between digits": ("#### 1\u00a0080", "1080", "1"),
    "Indian groups of digits": ("#### 1,00,000", "100000", "1"),
    "a fraction, where its numerator is the gold number": ("#### 3/4", "0.75", "3"),
    "a mixed number, where its whole part is the gold number": ("The answer is 3 1/2.", "3.5", "3"),
    "a time, where its hour is the gold number": ("#### 3:30", None, "3"),
    "a range, where its start is the gold number": ("#### 16-18", None, "16"),
    "an answer that tells the problem again": (
        "**Problem:** Ada has 7 pens and gets 11.\n7 + 11 = 18\n#### 18",
        "18",
        "7",
    ),
    "an answer that goes on with the next turn of a chat": (
        "7 + 11 = 18<end_of_turn>\n<start_of_turn>user\nBo has 5",
        "18",
        "5",
    ),
    "a box, and a gold number behind it": (
        "can spend \\(\\boxed{42}\\) days eating 3 boxes",
        "42",
        "3",
    ),
    "a box, and a larger number behind it": (
        "\\boxed{5} hours to travel an additional 2000 miles.",
        "5",
        "2000",
    ),
}


def read(case: Written) -> str | None:
    number = final_answer(case.text, case.finish, ChatMarks(case.turns, case.thinking))
    return None if number is None else written(number)


@pytest.mark.parametrize("name", KINDS)
def test_each_kind(name: str):
    text, number, other = KINDS[name]
    assert read(Written(text, number)) == number
    assert grade(text, "18" if number is None else number, "").numeric is (number is not None)
    assert not grade(text, other, "").numeric


@pytest.mark.parametrize("family", FAMILIES)
def test_the_format_of_a_family(family: str):
    wrong = {case.text: read(case) for case in FAMILIES[family] if read(case) != case.number}
    assert wrong == {}


def test_the_families_are_many():
    assert len(FAMILIES) >= 8
    assert sum(map(len, FAMILIES.values())) >= 100


PLAIN_TEXTS = [
    ("4*7 = 28 pens.\n#### 28", "28"),
    ("#### 18.", "18"),
    ("#### 18.00", "18"),
    ("####18", "18"),
    ("#### $1,080.", "1080"),
    ("#### **18**", "18"),
    ("#### 18\n#### 7", "7"),
    ("#### 18\n\nThis took 3 steps. The answer is 4.", "18"),
    ("3 steps. The answer is 18. 5 are left.", "18"),
    ("the final answer is: **$18.50**", "18.5"),
    ("The answer is 4*7 = 28 and 3 are left", "28"),
    ("The answer is 4*7. That makes 28", "28"),
    ("The answer is\n\n18 dollars", "18"),
    ("so 20 - 5 = 15", "15"),
    ("= 20-5", "15"),
    ("18 dollars...", "18"),
    ("4*7 = <<4*7=28>>28 pens", "28"),
    ("1,080 pens", "1080"),
    ("a version of 0.5", "0.5"),
]


@pytest.mark.parametrize(("text", "number"), PLAIN_TEXTS)
def test_plain_texts(text: str, number: str):
    assert read(Written(text, number)) == number


MORE: list[tuple[str, str | None]] = [
    ("#### 1 080", "1080"),
    ("#### 1 Count\n3 + 4 = 7\n#### 2 Add\n7 + 11 = 18\nFinal answer: 18", "18"),
    ("#### 1 Pen", "1"),
    ("#### 18 Pens", "18"),
    ("#### half", None),
    ("#### _18_", "18"),
    ("#### Solution\n3 + 4 = 7\n7 + 11 = 18", "18"),
    ("#### Answer\n\n18 pens\n\nCheck: 18 - 11 = 7", "18"),
    ("#### 1. Count\n3 + 4 = 7\n#### 2. Result: 18 pens", "18"),
    ("Answer: She has a total of 18 pens after 7 days.", "18"),
    ("Answer: Ada has 7 pens and gets 11, so 18", "18"),
    ("The answer is 18.\n\nThe answer is correct since 18 - 11 = 7.", "18"),
    ("18 pens\n\n### Response:\n5", "18"),
    ("#### 18,5", None),
    ("#### 1,0800", None),
    ("#### 1.080,50", None),
    ("#### 2 hours and 30 minutes", None),
    ("It takes 2 hours and 30 minutes.", None),
    ("The answer is 3 and three quarters.", None),
    ("#### ≈ 18", "18"),
    ("#### about 18 pens", "18"),
    ("#### y = 18", "18"),
    ("#### 18x", "18"),
    ("#### 3 x 6", "18"),
    ("#### ١٨", "18"),
    ("The answer is 3:2", None),
    ("The answer is between 16 and 18 pens.", None),
    ("The answers are 18 and 20.", None),
    ("The answer is negative 5.", "-5"),
    ("The answer is 26. Wait: it should be 18, as 11 was missed.", "18"),
    ("The answer is 18. This is reasonable because 7 < 18.", "18"),
    ("We get an answer of 18 from 7 + 11.", "18"),
    ("The answer is 7 + 11 = 18 because 18 - 11 = 7.", "18"),
    ("The answer is \\[\n36.\n\\]\nwith 2", "36"),
    ("\\[\n\\begin{aligned}\n7 + 11 &= 18 \\\\\n18 \\times 2 &= 36\n\\end{aligned}\n\\]", "36"),
    ("It is \\[ \\frac{9}{2} \\text{ m}^2 \\]", "4.5"),
    ("2^{10} = 1024", "1024"),
    ("1.8×10³ grams", "1800"),
    ("The answer is \\$18 for 2.", "18"),
    ("\\boxed{9^{9^{9}}}", None),
    ("#### 9**9**9", None),
    ("\\boxed{\\text{no}} but 5", "5"),
    ("\\boxed{0.\\overline{3}}", None),
]


@pytest.mark.parametrize(("text", "number"), MORE)
def test_more_of_the_same_kinds(text: str, number: str | None):
    assert read(Written(text, number)) == number


def test_numbers_longer_than_any_answer_are_none():
    assert final_answer("#### " + "9" * 51) is None
    assert final_answer("#### " + "9" * 50) == Fraction("9" * 50)
    assert final_answer("#### 1e99") == 10**99
    assert Decimal(written(Fraction(10) ** 99)) == 10**99


def test_an_answer_cut_at_the_limit_needs_a_mark():
    for text in ("so 7 + 11 = 18", "**18**", "\\boxed{18"):
        assert final_answer(text) == 18
        assert final_answer(text, "length") is None
        assert final_answer(text, "stop") == 18
    for text in ("#### 18", "The answer is 18", "\\boxed{18}", "Answer: 18"):
        assert final_answer(text + "\nCheck: 7", "length") == 18
    # The answer had ended, and what is cut is the next question.
    assert final_answer("7 + 11 = 18\n\nQuestion: Bo has 5", "length") == 18


HOSTILE = (
    *("####", "#### ", "{", "}", "\\boxed{", "\\boxed{1", "(", "((", "9", "9,", "999,", "1,00,"),
    *("999\u00a0", "$", "$1", "$a", "\\(", "\\[", "\\text{", "\\text{a", "<think>", "</think>"),
    *("<think></think>", "<|im_end|>", "1<|", "Question:", "\nQ:", "\n#*", "answer", "answer: "),
    *("The answer is -", "**", "**a", "**1**", "1 + ", "1-", "1 = ", "1 a + ", "a ", "1 x ", "9^"),
    *("\\frac{1", "\\frac{1}{2}", "\\sqrt{", "1%", "\\", "\n", " ", "½", "１", "1:", "1/", "1 1/"),
    *("1 is the answer ", "answer is 1. it should be ", "Step 1 ", "1 hour 2 ", "18 to ", "Rs. 1"),
)


@pytest.mark.timeout(120)
def test_long_hostile_texts_cost_no_square_of_their_length():
    for part in HOSTILE:
        seconds = []
        for size in (25_000, 100_000):
            text = "18 " + part * (size // len(part))
            start = time.process_time()
            final_answer(text)
            seconds.append(time.process_time() - start)
        assert seconds[1] < 5, part
        assert seconds[1] < 0.5 + 10 * seconds[0], part  # a square would be 16 times


def test_plain_numbers_have_the_value_that_math_verify_gives(monkeypatch: pytest.MonkeyPatch):
    """The fast path is fast, not different."""
    from snakesteer.evaluation import quantities
    from snakesteer.evaluation.expressions import expression_value

    plain = [
        "18",
        "0.5",
        ".5",
        "18.",
        "1080",
        "-7",
        "+7",
        "007",
        "12345678.25",
        "99999999",
        "-0.125",
    ]
    texts = [f"#### {number}" for number in plain] + [f"\\boxed{{{number}}}" for number in plain]
    fast = [final_answer(text) for text in texts]
    asked = []

    def asked_for(latex: str) -> Fraction | None:
        asked.append(latex)
        return expression_value(latex)

    monkeypatch.setattr(quantities, "_PLAIN", quantities.re.compile("(?!)"))
    monkeypatch.setattr(quantities, "expression_value", asked_for)
    assert [final_answer(text) for text in texts] == fast
    assert len(asked) == len(texts)
    assert module.final_answer("18") == 18
