r"""The value of an expression, by math-verify.

A text of a model may hold anything, such as ``9^{9^{9}}``; only what is computed in no time is
given to the parser: short, of numbers, four operations, fractions, roots and small powers.
"""

import logging
import math
import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

_LONGEST = 120  # characters
_DEEPEST = 4  # open brackets; the parser's time grows fast with them
_LARGEST_POWER = 200  # product of all exponents
_LARGEST = 10**50  # of numerator and denominator
_SIDE_BY_SIDE = re.compile(r"[0-9]\s+[.0-9]")  # no product
_KNOWN = re.compile(
    r"(?:(?<![0-9])[0-9]{1,30}(?![0-9])|[\s.+*/×÷·⋅()\[\]{}-]"
    r"|\^\s*(?:-?[0-9]{1,3}|\{\s*-?[0-9]{1,3}\s*\}|\(\s*-?[0-9]{1,3}\s*\))(?!\s*\^)"
    r"|\\(?:[dtc]?frac|times|cdot|div|ast|sqrt|left|right)(?![A-Za-z]))++"
)
_POWER = re.compile(r"\^[\s{(]*(-?[0-9]{1,3})")
_DOT = re.compile("[·⋅]")


@lru_cache(maxsize=4096)
def expression_value(latex: str) -> Fraction | None:
    """The value of an expression without variables, or None if it is none or has no exact value.

    Args:
        latex: LaTeX, or plain text such as ``7 + 11``.
    """
    if not _computable(latex):
        return None
    parse, extraction, rational = _math_verify()
    boxed = rf"\boxed{{{_DOT.sub(lambda _: chr(92) + 'cdot ', latex)}}}"
    try:
        found = parse(boxed, extraction, fallback_mode="no_fallback", parsing_timeout=None)
        value = rational(found[0]) if found else None
    except (ArithmeticError, AttributeError, RecursionError, TypeError, ValueError):
        return None  # sympy's words for "this has no value"
    return value


def _computable(latex: str) -> bool:
    if len(latex) > _LONGEST or _KNOWN.fullmatch(latex) is None or _SIDE_BY_SIDE.search(latex):
        return False
    depth = 0
    for char in latex:
        depth += (char in "({[") - (char in ")}]")
        if not 0 <= depth <= _DEEPEST:
            return False
    powers = (max(1, abs(int(power))) for power in _POWER.findall(latex))
    return depth == 0 and math.prod(powers) <= _LARGEST_POWER


@lru_cache(maxsize=1)
def _math_verify() -> tuple[Any, Any, Any]:
    """Its parser, what it reads, and a function from what it finds to a fraction.

    Imported when first needed, as it takes a while, and most answers are plain numbers.
    """
    from math_verify import LatexExtractionConfig, parse
    from sympy import Float, Rational

    logging.getLogger("math_verify.parser").setLevel(logging.ERROR)  # no word on missing timeouts

    def rational(expression: Any) -> Fraction | None:
        exact = {number: Rational(str(number)) for number in expression.atoms(Float)}
        value = expression.xreplace(exact).doit()
        if not value.is_Rational or max(abs(int(value.p)), int(value.q)) > _LARGEST:
            return None
        return Fraction(int(value.p), int(value.q))

    return parse, [LatexExtractionConfig()], rational
