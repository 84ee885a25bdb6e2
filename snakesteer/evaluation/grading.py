"""Is a generated solution right? Three answers: our numeric match and lm-evaluation-harness's two.

The numeric match is the objective everywhere: it compares the value of the final answer, wherever
and however it is written (`snakesteer.evaluation.final_answer`). ``strict`` and ``flexible`` are
the filters of the task ``gsm8k`` (version 3.0) of EleutherAI/lm-evaluation-harness, reproduced to
the letter with their quirks, so that results can be set beside published ones. The harness also
stops generation at ``Question:``, ``</s>`` and ``<|im_end|>``; a text cut elsewhere may be graded
differently by its filters, not by ours.
"""

import re
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction

from snakesteer.data.problem import canonical
from snakesteer.engine.interface import Finish
from snakesteer.evaluation.final_answer import final_answer
from snakesteer.evaluation.shown_text import PLAIN, ChatMarks, shown_text

_DIGITS = 400  # as many as any value has that is read

# lm_eval/tasks/gsm8k/gsm8k.yaml
_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_LAST_DOT = re.compile(r"\.$")
_INVALID = "[invalid]"


@dataclass(frozen=True)
class Grade:
    """The three verdicts on a text.

    Attributes:
        numeric: The final answer equals the gold number. The objective.
        strict: The harness's strict-match.
        flexible: The harness's flexible-extract.
        extracted: The final answer as the numeric match reads it (see `written`), or None.
    """

    numeric: bool
    strict: bool
    flexible: bool
    extracted: str | None


def grade(
    text: str, gold: str, answer: str, finish: Finish = "eos", chat: ChatMarks = PLAIN
) -> Grade:
    """Grade a generated solution.

    Args:
        text: What the model wrote after the prompt.
        gold: The gold number in canonical form (`Problem.gold`).
        answer: The full gold solution, which is the harness's reference (`Problem.answer`).
        finish: Why the text ended (`Generation.finish`).
        chat: What the model's format adds to a text.
    """
    number = final_answer(text, finish, chat)
    return Grade(
        numeric=number is not None and number == Fraction(gold),
        strict=_harness_match(harness_strict(text), answer),
        flexible=_harness_match(harness_flexible(text), answer),
        extracted=None if number is None else written(number),
    )


def written(number: Fraction) -> str:
    """A number in canonical form if it is a decimal: ``4.5``; else as a fraction: ``1/3``."""
    rest = number.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest != 1:
        return str(number)
    with localcontext(prec=_DIGITS):
        return canonical(Decimal(number.numerator) / Decimal(number.denominator))


def runs_on(text: str, chat: ChatMarks = PLAIN) -> bool:
    """Whether a text goes on with a next question, or with the next turn of a chat."""
    return shown_text(text, chat).runs_on


def harness_strict(text: str) -> str:
    """What the harness's filter ``strict-match`` extracts."""
    matches = _STRICT.findall(text)
    return matches[0] if matches else _INVALID


def harness_flexible(text: str) -> str:
    """What the harness's filter ``flexible-extract`` extracts."""
    matches = _FLEXIBLE.findall(text)
    return next(group for group in matches[-1] if group) if matches else _INVALID


def _harness_match(extracted: str, answer: str) -> bool:
    """The harness's metric ``exact_match`` with the options of its task."""
    return _without_ignored(extracted) == _without_ignored(answer)


def _without_ignored(text: str) -> str:
    """What the task's ``regexes_to_ignore`` leave of a text.

    By hand, as its pattern ``(?s).*#### `` takes the square of a text's length.
    """
    text = text.replace(",", "").replace("$", "").rpartition("#### ")[2]
    return _LAST_DOT.sub("", text).lower()
