r"""The number that a piece of an answer states.

Where an expression ends is found here; what it is worth, math-verify says
(`snakesteer.evaluation.expressions`), but for a plain number, which is read at once. Of an equation
the last side counts. What states more than one number, such as a time, a range or a list, is
`Unclear`, never half of it. All texts have gone through `plain_text`.
"""

import re
from decimal import Decimal
from enum import Enum
from fractions import Fraction

from snakesteer.evaluation.expressions import expression_value


class Unclear(Enum):
    """Something stands there as an answer, but not one number."""

    UNCLEAR = "unclear"


Stated = Fraction | Unclear | None  # None: nothing stands there
UNCLEAR = Unclear.UNCLEAR

_LONGEST_NUMBER = 50  # characters; no answer has more, and larger ones take long

# Blanks, brackets and words are counted, so that no repetition of them takes n² steps.
_CURRENCY = r"(?:(?:US|[AC])?\\?\$|[€£¥₹₩₽]|\b(?:USD|EUR|GBP|INR|Rs\.?)(?=[ 0-9]))"
# A minus right behind a digit, a letter or a bracket is an operator or a hyphen.
_SIGN = r"(?:(?<![\w.)\]}])[-+]|\bnegative )?"
_NUMBER = r"(?:[0-9]++(?:\.[0-9]++)?|\.[0-9]++)(?:[eE][-+]?[0-9]{1,2}(?![\w.]))?"
_MIXED = r"[0-9]++ (?:and )?[0-9]++/[0-9]++(?![0-9/])"
_LATEX = (
    r"[0-9]{0,9} ?\\[dtc]?frac ?(?:\{[^{}\n]{1,40}\}|[0-9]) ?(?:\{[^{}\n]{1,40}\}|[0-9])"
    r"|\\sqrt(?:\[[0-9]\])? ?\{[^{}\n]{1,40}\}"
)
_POWER = r"(?:\^(?:\{-?[0-9]{1,3}\}|-?[0-9]{1,3}))?"
_TERM = (
    rf"(?:\( ?){{0,5}}{_SIGN}(?:{_CURRENCY} ?(?:-(?=[0-9.]))?)?(?:{_LATEX}|{_MIXED}|{_NUMBER})"
    rf"(?: ?\\?%)?{_POWER}(?:(?: ?\)){{1,5}}{_POWER})?"
)
_OPERATOR = (
    r" {0,3}(?:\*\*?|[-+/×÷·]|(?<![A-Za-z])x(?=[ 0-9$(])"
    r"|(?:plus|minus|times|divided by|multiplied by) ) {0,3}"
)
_WORD = r"[^\W\d_]{1,20}+(?:['./-][^\W\d_]{1,20}+)?+"
_UNIT = rf"(?: {{0,2}}{_WORD}(?: {_WORD}){{0,3}})?"
_SIDE = rf"{_TERM}{_UNIT}(?:{_OPERATOR}{_TERM}{_UNIT})*+"

EXPRESSION = re.compile(rf"{_TERM}(?:{_OPERATOR}{_TERM})*+")
_CHAIN = re.compile(rf"{_SIDE}(?: {{0,3}}(?:[=≈]|equals) {{0,3}}(?P<side>{_SIDE}))++")
_RANGE = re.compile(rf"{_CURRENCY}?({_NUMBER})--?{_CURRENCY}?({_NUMBER})")
_MORE = re.compile(
    r"[_^](?=[0-9{])|\.?\\(?:pi|sqrt|overline|bar|dot|pm|[dtc]?frac|binom)"
    r"|:[0-9]|[.,'][0-9]|/[0-9]| ?(?:to|or|through|until|~) ?\\?\$?[0-9]"
    r"| and (?:two|three|2|3)[ -](?:thirds|quarters|fourths)"
)
_LIST = re.compile(rf"(?: ?(?:, and|,|;|and|&) ?{_TERM})++[\W_]*")
SMALLER_UNIT = re.compile(  # behind the 2 of "2 hours and 30 minutes"
    r" ?(?:years?|months?|weeks?|days?|hours?|hrs?|h|min(?:ute)?s?|feet|foot|ft|dollars?"
    r"|pounds?|lbs?|k[gm]|meters?|m),?(?: and)? ?[0-9.]{1,9}"
    r" ?(?:months?|weeks?|days?|hours?|min(?:ute)?s?|m|sec(?:ond)?s?|s|inch(?:es)?|in|cents?"
    r"|ounces?|oz|grams?|g|meters?|cm)\b",
    re.IGNORECASE,
)
_BY_BLANKS = re.compile(rf"{_CURRENCY}?([0-9]{{1,3}}(?: [0-9]{{3}})++)(?![\w./:,-][0-9]|[0-9])")
_FACTOR = re.compile(r"k\b|[ ](?:hundred|thousand|million|billion|trillion)\b", re.IGNORECASE)
_FACTORS = {"k": 3, "hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_AND_PART = re.compile(r" and (?:an? |one |1 )?(half|third|quarter|fourth)\b")
_PARTS = {"half": 2, "third": 3, "quarter": 4, "fourth": 4}

_MONEY = re.compile(_CURRENCY)
_PERCENT = re.compile(rf"({_NUMBER}) ?\\?%")
_MIXED_PARTS = re.compile(r"([0-9]+) (?:and )?([0-9]+/[0-9]+)")
_SYMBOLS = {"divided by": "/", "multiplied by": "×", "plus": "+", "minus": "-", "times": "×"}
_SYMBOLS |= {"x": "×", "**": "^"}
_WORD_OPERATOR = re.compile("divided by|multiplied by|plus|minus|times|x|\\*\\*")
_PARTS_OF_SIDE = re.compile(rf"{_OPERATOR}|{_TERM}")
_PLAIN = re.compile(rf"[-+]?{_NUMBER}")


def stated_value(text: str) -> Stated:
    """The number that a text begins with: a number, an expression or an equation.

    Args:
        text: A piece of at most a few hundred characters, in which words may follow.
    """
    if chain := _CHAIN.match(text):
        start, side = chain.start("side"), chain["side"]
        last = EXPRESSION.match(text, start)
        if last and EXPRESSION.search(side, last.end() - start) is None:
            return expression_in(last)
        return _value("".join(_PARTS_OF_SIDE.findall(side)))
    if groups := _BY_BLANKS.match(text):
        return Fraction(groups[1].replace(" ", ""))
    match = EXPRESSION.match(text)
    return None if match is None else expression_in(match)


def expression_in(match: re.Match[str]) -> Stated:
    """The value of a match of `EXPRESSION`, with what follows it in its text."""
    written = match[0]
    behind = match.string[match.end() : match.end() + 60]
    bounds = _RANGE.fullmatch(written)
    if bounds and Decimal(bounds[1]) < Decimal(bounds[2]):
        return UNCLEAR
    if _MORE.match(behind) or _LIST.fullmatch(behind) or SMALLER_UNIT.match(behind):
        return UNCLEAR
    value = _value(written)
    if isinstance(value, Fraction):
        if factor := _FACTOR.match(behind):
            return value * 10 ** _FACTORS[factor[0].strip().lower()]
        if part := _AND_PART.match(behind):
            return value + Fraction(1, _PARTS[part[1]])
    return value


def _value(written: str) -> Fraction | Unclear:
    """What an expression is worth; a lone percentage counts as its number."""
    written = _MONEY.sub("", written).replace("negative ", "-")
    bare = written.strip(" ()%\\")
    if _PLAIN.fullmatch(bare):
        return Fraction(Decimal(bare)) if len(bare) <= _LONGEST_NUMBER else UNCLEAR
    latex = _PERCENT.sub(r"(\1/100)", written)
    latex = _MIXED_PARTS.sub(r"(\1+\2)", latex)
    latex = _WORD_OPERATOR.sub(lambda match: _SYMBOLS[match[0]], latex)
    value = expression_value(_balanced(latex))
    return UNCLEAR if value is None else value


def _balanced(text: str) -> str:
    """The text without brackets that open or close nothing in it."""
    text = text.strip()
    while text.count(")") > text.count("(") and text.endswith(")"):
        text = text[:-1].rstrip()
    while text.count("(") > text.count(")") and text.startswith("("):
        text = text[1:].lstrip()
    return text
