import ast
import random
import re
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakesteer.data.problem import strip_calculator
from snakesteer.vectors.corruption import (
    WRITTEN_NUMBER,
    corrupt,
    evaluate,
    parse,
    propagate,
    reshape,
    value,
    wrong_numbers,
)

TICKETS = (
    "Half of 48 tickets are 48/2 = <<48/2=24>>24 tickets.\n"
    "With them it makes 48+24 = <<48+24=72>>72 tickets.\n#### 72"
)
PRICES = (
    "Rent is 12 * $1,100 = $<<12*1100=13200>>13,200 a year.\n"
    "He pays 13,200 + 1,500 = <<13200+1500=14700>>14,700 with the fees, so $14,700.00.\n"
    "#### 14,700"
)


def shape(text: str) -> str:
    return re.sub(r"\d", "9", text)


def corruptions(answer: str, count: int = 200) -> list[str]:
    texts = [corrupt(answer, random.Random(seed)) for seed in range(count)]
    assert None not in texts
    return [text for text in texts if text is not None]


def numbers(text: str) -> list[Fraction]:
    return [value(number) for number in WRITTEN_NUMBER.findall(text)]


def solutions() -> st.SearchStrategy[str]:
    """Chains of one to four annotated steps, each of which uses the result before."""

    @st.composite
    def build(draw: st.DrawFn) -> str:
        current = draw(st.integers(2, 300))
        lines = []
        for _ in range(draw(st.integers(1, 4))):
            other = draw(st.integers(2, 60))
            kind = draw(st.sampled_from("+-*/"))
            if (kind == "-" and other >= current) or (kind == "/" and current % other):
                kind = "+"
            before = current
            current = {
                "+": before + other,
                "-": before - other,
                "*": before * other,
                "/": before // other,
            }[kind]
            step = f"{before}{kind}{other}"
            lines.append(f"That is {step} = <<{step}={current}>>{current} so far.")
        return "\n".join([*lines, f"#### {current:,}"])

    return build()


@given(solutions(), st.integers(0, 1000))
def test_only_digits_change_and_the_final_number_is_wrong(answer, seed):
    gold, wrong = strip_calculator(answer), corrupt(answer, random.Random(seed))
    assert wrong is not None
    assert shape(wrong) == shape(gold)
    assert numbers(wrong)[-1] not in (numbers(gold)[-1], 0)


@given(solutions(), st.integers(0, 1000))
def test_at_most_one_visible_equation_is_wrong(answer, seed):
    wrong = corrupt(answer, random.Random(seed))
    assert wrong is not None
    broken = 0
    for left, right in re.findall(r"That is (\S+) = (\S+) so far", wrong):
        broken += evaluate(ast.parse(left, mode="eval").body, {}) != int(right)
    assert broken <= 1


def test_an_intermediate_error_is_carried_to_the_end():
    for text in corruptions(TICKETS):
        may, total = map(int, re.findall(r"= (\d+)", text))
        assert may != 24
        assert total == 48 + may
        assert text == (
            f"Half of 48 tickets are 48/2 = {may} tickets.\n"
            f"With them it makes 48+{may} = {total} tickets.\n#### {total}"
        )


def test_commas_and_decimals_stay_and_all_restatements_agree():
    for text in corruptions(PRICES):
        rent, again, total, restated, final = (numbers(text)[i] for i in (2, 3, 5, 6, 7))
        assert rent == again != 13200
        assert total == restated == final == rent + 1500
        assert shape(text) == shape(strip_calculator(PRICES))


def test_a_result_stated_before_its_calculation_changes_too():
    answer = (
        "He eats 32 slices because 2 x 16 = <<2*16=32>>32\n"
        "He eats 8 more so 32 + 8 = <<32+8=40>>40\n#### 40"
    )
    for text in corruptions(answer, 50):
        first, stated = numbers(text)[0], numbers(text)[3]
        assert first == stated != 32


def test_a_given_number_of_the_same_value_stays():
    # 5 is a given and a result: the step is taken last, and the givens before it never change.
    answer = "He has 5 cats.\nHe buys 2+3 = <<2+3=5>>5 dogs.\nSo 5+5 = <<5+5=10>>10 pets.\n#### 10"
    for text in corruptions(answer, 50):
        assert text.startswith("He has 5 cats.\nHe buys 2+3 = ")


def test_rounded_results_are_rounded_again():
    answer = "Each gets 10*2 = <<10*2=20>>20.\nA third is 20/3 = <<20/3=6.67>>6.67.\n#### 6.67"
    seen = set()
    for text in corruptions(answer, 50):
        first, last = numbers(text)[2], numbers(text)[-1]
        if first != 20:
            assert last == Fraction(round(first / 3, 2))
            seen.add(first)
    assert seen


def test_a_step_that_cannot_be_recomputed_is_not_reached_with_a_wrong_operand():
    answer = "He has 3*4 = <<3*4=12>>12.\nHe finds 12 x 2 = <<12 and 2=24>>24.\n#### 24"
    for text in corruptions(answer, 50):
        assert text.startswith("He has 3*4 = 12.\nHe finds 12 x 2 = ")
        assert numbers(text)[-2] == numbers(text)[-1] != 24


def test_without_annotations_the_last_line_and_the_final_number_change():
    for text in corruptions("There are 18 ducks.\nSo he needs 18 beds.\n#### 18", 50):
        ducks, beds, final = numbers(text)
        assert ducks == 18
        assert beds == final != 18


@pytest.mark.parametrize("answer", ["", "no number", "It is 18.", "#### none", "18 #### 3 or 4"])
def test_without_a_final_number_there_is_none(answer):
    assert corrupt(answer, random.Random(0)) is None


def test_a_unit_behind_the_final_number_stays():
    for text in corruptions("So it is 4*5 = <<4*5=20>>20 ducks.\n#### $20 ducks.", 20):
        assert re.fullmatch(r"So it is 4\*5 = (\d0) ducks.\n#### \$\1 ducks.", text)


@pytest.mark.parametrize("mark", ["<<4*5>>", "<<=>>", "<<20>>", "<<4*5=1/0>>", "<<four times=20>>"])
def test_odd_annotations_are_stripped_all_the_same(mark):
    answer = f"So it is 4*5 = {mark}20 ducks.\n#### 20"
    for text in corruptions(answer, 20):
        assert shape(text) == shape(strip_calculator(answer))


def test_a_negative_final_number_keeps_its_sign():
    for text in corruptions("He has 5 - 8 = <<5-8=-3>>-3 dollars.\n#### -3", 50):
        assert re.fullmatch(r"He has 5 - 8 = -(\d) dollars.\n#### -\1", text)


def test_the_same_stream_gives_the_same_text():
    assert corrupt(PRICES, random.Random(4)) == corrupt(PRICES, random.Random(4))
    assert len(set(corruptions(PRICES))) > 10


def test_propagation_refuses_what_does_not_fit():
    solution = parse(TICKETS)
    assert solution is not None
    assert "= 74" in (propagate(solution, 0, Fraction(26), strict=True) or "")
    assert propagate(solution, 0, Fraction(60), strict=False) is None  # 108 has three digits
    assert propagate(solution, 0, Fraction(12), strict=True) is None  # 60 ends in a zero, 72 not
    assert "= 60" in (propagate(solution, 0, Fraction(12), strict=False) or "")
    assert propagate(solution, 0, Fraction(-24), strict=False) is None
    assert propagate(solution, 0, Fraction(49, 2), strict=False) is None


@pytest.mark.parametrize(
    ("number", "like", "text"),
    [
        ("18", "24", "18"),
        ("8", "24", None),
        ("118", "24", None),
        ("18.5", "24", None),
        ("2080", "1,080", "2,080"),
        ("0.75", "0.25", "0.75"),
        ("1.25", "0.25", None),
        ("0.5", ".2", ".5"),
        ("3", "4.00", "3.00"),
        ("0", "4", None),
        ("4", "0", "4"),
        ("-18", "24", None),
    ],
)
def test_reshape(number, like, text):
    assert reshape(Fraction(number), like) == text


@given(st.from_regex(r"([1-9]\d{0,5}|[1-9]\d{0,2}(,\d{3}){1,2}|0)(\.\d{1,2})?", fullmatch=True))
def test_wrong_numbers_have_the_shape_and_the_zeros_of_the_gold_one(gold):
    if not gold.isascii():
        return
    drawn = list(wrong_numbers(gold, random.Random(0)))
    assert drawn
    digits = re.sub(r"\D", "", gold)
    zeros = len(digits) - len(digits.rstrip("0")) if digits.strip("0") else None
    for wrong in drawn:
        assert shape(wrong) == shape(gold)
        assert value(wrong) not in (0, value(gold))
        new = re.sub(r"\D", "", wrong)
        assert zeros is None or len(new) - len(new.rstrip("0")) == zeros


def test_wrong_numbers_are_neither_larger_nor_smaller_as_a_rule():
    # Gold and wrong number drawn alike: as many pairs go up as down.
    rng = random.Random(0)
    for start in ("7", "24", "125"):
        gold = list(wrong_numbers(start, rng))
        directions = Counter(
            value(wrong) > value(number) for number in gold for wrong in wrong_numbers(number, rng)
        )
        assert 0.4 < directions[True] / directions.total() < 0.6


@pytest.mark.parametrize("text", ["2**3", "x+1", "f(2)", "1 if 2 else 3", "'a'", "5 % 2"])
def test_evaluate_takes_plain_arithmetic_only(text):
    with pytest.raises(ValueError, match="not arithmetic"):
        evaluate(ast.parse(text, mode="eval").body, {})


def test_evaluate_is_exact_and_replaces_numbers():
    node = ast.parse("(0.1+0.2)*10-24/(3+5)", mode="eval").body
    assert evaluate(node, {}) == 0
    assert evaluate(node, {Fraction(24): Fraction(8)}) == 2


@pytest.mark.parametrize(
    "calculation",
    ["(" * 5000 + "1" + ")" * 5000, "-" * 100_000 + "1", "+".join("1" * 20_000), "9" * 5000],
)
def test_absurd_calculations_are_passed_over(calculation):
    answer = f"x = <<{calculation}=1>>1\n#### 1"
    twin = corrupt(answer, random.Random(0))
    assert twin.startswith("x = ")
    assert len(twin) == len("x = 1\n#### 1")
    assert corrupt(f"#### {'7' * 5000}", random.Random(0)) is None
