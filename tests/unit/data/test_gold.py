from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakesteer.data.gold import gold_solution, parse_gold, parse_number
from snakesteer.data.problem import canonical


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("18", "18"),
        (" 18. ", "18"),
        ("18.00", "18"),
        ("1,080", "1080"),
        ("12,345,678.5", "12345678.5"),
        ("$18", "18"),
        ("\\$18", "18"),
        ("-5", "-5"),
        ("−5", "-5"),
        ("+5", "5"),
        ("-$1,080.50", "-1080.5"),
        ("$-5", "-5"),
        (".5", "0.5"),
        ("-0", "0"),
        ("007", "7"),
        ("50%", "50"),
        ("18 dollars", "18"),
        ("18 dollars.", "18"),
        ("9" * 40, "9" * 40),  # exact, not rounded to a float or a decimal context
        # Groups of other countries; a blank that does not break a line joins, an ordinary one not.
        ("1\u00a0080", "1080"),
        ("12\u202f345\u202f678.5", "12345678.5"),
        ("1\u2009080 km", "1080"),
        ("1'080", "1080"),
        ("1’080.50", "1080.5"),
        ("1_080", "1080"),
        ("1,00,000", "100000"),
        ("12,34,567", "1234567"),
        # Digits and signs of other scripts, and marks that nobody sees.
        ("１８", "18"),
        ("１，０８０．５", "1080.5"),
        ("－５", "-5"),
        ("＄18", "18"),
        ("٣٤", "34"),
        ("१८", "18"),
        ("1\u200b8\u200e", "18"),
        # Units.
        ("9 (apples)", "9"),
        ("18 (boys and girls)", "18"),
        ("3 (quarters)", "3"),
        ("12 (third graders)", "12"),
        ("5 m²", "5"),
        ("5 ㎡", "5"),
        ("5cm³", "5"),
        ("5 kg", "5"),
        ("5m", "5"),
        ("5 mm", "5"),
        ("5 °C", "5"),
        ("3 p.m.", "3"),
        ("3 o'clock", "3"),
        ("5 a day", "5"),
        ("60 miles/hour", "60"),
        ("60 miles / hour", "60"),
        ("5-pound bags", "5"),
        ("3 times", "3"),
        ("18\\%", "18"),
        ("18 €", "18"),
        ("18 apples!", "18"),
        ("18個", "18"),
        ("18 яблок", "18"),
        ("2 pairs", "2"),
        ("7 billiard balls", "7"),
    ],
)
def test_number_is_read(text, number):
    parsed = parse_number(text)
    assert parsed is not None
    assert canonical(parsed) == number
    assert parsed == Decimal(number)


# Kind → texts of which a part is a number, but the wrong one.
NO_NUMBERS = {
    "nothing": ["", "dollars", "$", "x5", "--5", "±5", "~5", "None", "NaN", "(5)", "‐5"],
    "fractions": ["1/2", "1 / 2", "1⁄2", "1 1/2", "3/four", "1/x"],
    "fractions in one sign": ["1½", "½", "3 ½ (miles)", "⅓", "2¼ cups"],
    "fractions in words": [
        "3 and a half",
        "3 halves",
        "2 thirds",
        "1 third",
        "3 quarters",
        "2 tenths",
    ],
    "large numbers in words": [
        *("1.5 million", "1.5-million", "2 millones", "2 Millionen", "1.5 Mio.", "1.5 bn", "1.5bn"),
        *(
            "5 hundred",
            "5 thousand dollars",
            "3 billion",
            "5 lakh",
            "5 crore",
            "5 grand",
            "3万",
            "3億",
        ),
    ],
    "factors in letters": [
        "5k",
        "5 K",
        "5M",
        "5 B",
        "$5m",
        "$5MM",
        "$5 b",
        "$5 T",
        "3x",
        "2n",
        "2π",
        "2 pi",
    ],
    "dozens": ["2 dozen", "2 dozens", "7 (dozen)", "2 dz", "2 score", "2 gross"],
    "powers": ["3e5", "3E", "10³", "10^3", "5²", "5 squared", "3×10^5", "2√3", "5!"],
    "times and ratios": ["3:30", "1:5", "3点半"],
    "ranges": ["16-18", "16–18", "16 - 18", "16 to 18", "3 to four", "3 till four", "5+", "5-"],
    "several numbers": [
        "3 or 4",
        "3 or four",
        "3, 4",
        "3; 4",
        "3 hours 30 minutes",
        "5 m2",
        "3 times four",
    ],
    "feet and inches": ["5'10\"", "5 feet 10 inches"],
    "separators that are none": [
        "1,08",
        "1,0800",
        "1.2.3",
        "1 080",
        "1.080,50",
        "0,500",
        "1,080,00",
        "1'08",
    ],
    "digits that go on": ["0.333...", "0.33…", "0.3\u0305"],
    "signs for numbers": ["①", "Ⅳ", "五", "18 ①"],
}


@pytest.mark.parametrize("kind", NO_NUMBERS)
def test_what_is_not_one_number_is_none(kind):
    read = {text: parse_number(text) for text in NO_NUMBERS[kind]}
    assert read == dict.fromkeys(read)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3))
def test_canonical_round_trips(number):
    assert parse_number(canonical(number)) == number


@given(st.integers())
def test_thousands_separators_change_nothing(number):
    assert parse_number(f"{number:,}") == number
    assert parse_number(f"${number:,}.00") == number


@given(st.text())
def test_parse_number_never_raises(text):
    parse_number(text)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("4*7 = <<4*7=28>>28 pens.\n#### 28", "28"),
        ("#### 3 in a text\n#### 1,080", "1080"),
        ("####-5", "-5"),
        ("#### $18.00", "18"),
        ("#### 2.50 dollars\n", "2.5"),
    ],
)
def test_gold_is_the_number_after_the_last_mark(answer, gold):
    assert parse_gold(answer) == gold


@pytest.mark.parametrize(
    ("answer", "solution"),
    [
        ("4*7 = <<4*7=28>>28\n#### 28", None),
        ("#### 1,080.5 dollars", None),
        ("####-5", None),
        ("x\n#### 1'080", "x\n#### 1080"),
        ("x\n#### 1,00,000 rupees", "x\n#### 100000"),
        ("x\n#### १८", "x\n#### 18"),
    ],
)
def test_an_odd_last_number_of_a_solution_becomes_canonical(answer, solution):
    """Few-shot examples and contrast pairs look for a number as GSM8K writes it."""
    assert gold_solution(answer) == (solution or answer)


def test_a_solution_without_a_number_is_refused():
    with pytest.raises(ValueError, match="no number after ####"):
        gold_solution("It is\n#### 1½")
