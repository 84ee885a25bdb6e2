"""How often an independent grader, math-verify, gives the verdict that our own gives.

It reads the whole answer by its own rules (https://github.com/huggingface/Math-Verify) and knows
neither think blocks nor run-ons nor the token limit. So it is no truth; but where the two differ
often, one of them does not understand the model's format.
"""

import logging
import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from snakesteer.data.problem import Problem
from snakesteer.evaluation.answers import Answer

_LONGEST = 8000  # characters that are read, from the end
_SECONDS = 5  # for one answer; what takes longer counts as wrong


def math_verify_agreement(answers: Sequence[Answer], problems: Sequence[Problem]) -> float:
    """Share of answers on which math-verify's verdict is that of the numeric match.

    Args:
        answers: At least one.
        problems: Those that are answered, among others.
    """
    golds = {problem.id: problem.gold for problem in problems}
    same = (math_verify_verdict(a.text, golds[a.id]) == a.correct for a in answers)
    return sum(same) / len(answers)


@lru_cache(maxsize=4096)
def math_verify_verdict(text: str, gold: str) -> bool:
    """Whether math-verify, with its own rules, finds the gold number in an answer."""
    parse, verify = _math_verify()
    # Its clock is a signal, which only the main thread may set.
    seconds = _SECONDS if threading.current_thread() is threading.main_thread() else None
    found = parse(text[-_LONGEST:], parsing_timeout=seconds)
    return bool(verify(parse(gold, parsing_timeout=seconds), found, timeout_seconds=seconds))


@lru_cache(maxsize=1)
def _math_verify() -> tuple[Any, Any]:
    """Its parser and its comparison; imported when first needed, as it takes a while."""
    from math_verify import parse, verify

    for name in ("math_verify.parser", "math_verify.grader"):
        logging.getLogger(name).setLevel(logging.ERROR)  # no word on timeouts
    return parse, verify
