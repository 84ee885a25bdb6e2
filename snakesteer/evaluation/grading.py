"""Is a generated solution right? Three answers: our numeric match and lm-evaluation-harness's two.

The numeric match is the objective everywhere: it compares the value of the final answer, however it
is written. ``strict`` and ``flexible`` are the filters of the task ``gsm8k`` (version 3.0) of
EleutherAI/lm-evaluation-harness, reproduced to the letter with their quirks, so that results can be
set beside published ones. The harness also stops generation at ``Question:``, ``</s>`` and
``<|im_end|>``; a text cut elsewhere may be graded differently by its filters, not by ours.
"""

import re
from dataclasses import dataclass
from decimal import Decimal

from snakesteer.data.problem import NUMBER, canonical, number_of

# lm_eval/tasks/gsm8k/gsm8k.yaml
_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_LAST_DOT = re.compile(r"\.$")
_INVALID = "[invalid]"

# What follows a finished answer when a model goes on: the next question, or the end of a chat turn.
# "Question:" is the harness's stop string and counts anywhere, the other labels at a line's start.
_RUN_ON = re.compile(
    r"Question[ \t]*[0-9]*[ \t]*:|\[MATH_TASK\]|</s>|<\|[a-z_]+\|>"
    r"|^[ \t*#>]*(?:Q|Problem|Exercise|Instruction|User|Human)[ \t]*[0-9]*[ \t]*:",
    re.MULTILINE,
)
# What may stand before a number, in so few characters that "####" repeated takes no n² steps.
_GAP = r"[^\w\n]{0,50}?"
_MARKED = re.compile(rf"####{_GAP}{NUMBER}")
# "The answer is 4*7 = 28" states 28; in "the answer is 4*7" no number is stated yet.
_STATED = re.compile(
    rf"\banswer\s+is\b{_GAP}(?:[0-9 .,$()+*/x×÷−-]+=)*{_GAP}"
    rf"{NUMBER}(?![ \t]*[-+*/x×÷−=][ \t]*\$?[0-9])",
    re.IGNORECASE,
)
_ANY = re.compile(NUMBER)


@dataclass(frozen=True)
class Grade:
    """The three verdicts on a text.

    Attributes:
        numeric: The final answer equals the gold number. The objective.
        strict: The harness's strict-match.
        flexible: The harness's flexible-extract.
        extracted: The final answer as the numeric match reads it, in canonical form, or None.
    """

    numeric: bool
    strict: bool
    flexible: bool
    extracted: str | None


def grade(text: str, gold: str, answer: str) -> Grade:
    """Grade a generated solution.

    Args:
        text: What the model wrote after the prompt.
        gold: The gold number in canonical form (`Problem.gold`).
        answer: The full gold solution, which is the harness's reference (`Problem.answer`).
    """
    number = extract_number(text)
    return Grade(
        numeric=number is not None and number == Decimal(gold),
        strict=_harness_match(harness_strict(text), answer),
        flexible=_harness_match(harness_flexible(text), answer),
        extracted=None if number is None else canonical(number),
    )


def extract_number(text: str) -> Decimal | None:
    """The final answer of a solution, or None.

    It is the first number behind a ``####``; without one, the first behind "the answer is"; without
    that, the last number. A run-on (the next question) is cut off first.
    """
    run_on = _RUN_ON.search(text)
    solution = text[: run_on.start()] if run_on else text
    match = _MARKED.search(solution) or _STATED.search(solution)
    if match is None:
        for match in _ANY.finditer(solution):  # noqa: B007 (the last one is wanted)
            pass
    return number_of(match) if match else None


def runs_on(text: str) -> bool:
    """Whether a text goes on with a next question, or with the next turn of a chat."""
    return _RUN_ON.search(text) is not None


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
