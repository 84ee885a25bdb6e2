r"""Which number an answer ends in.

The evidence, the best first: the last ``\boxed{}``, the last ``####`` with a number behind it, the
last "answer is" or "answer:", the last number in bold, the last number. Where a piece of evidence
holds something that is not one number, there is no answer; where it holds nothing, the next counts.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice

from snakesteer.engine.interface import Finish
from snakesteer.evaluation.expressions import expression_value
from snakesteer.evaluation.plain_text import plain_text
from snakesteer.evaluation.quantities import (
    EXPRESSION,
    SMALLER_UNIT,
    UNCLEAR,
    Stated,
    expression_in,
    stated_value,
)
from snakesteer.evaluation.shown_text import PLAIN, ChatMarks, shown_text

_MOST = 30  # marks of one sort that are looked at, from the end
_PIECE = 300  # characters behind a mark that are looked at

_BRACES = re.compile(r"\\*\bf?boxed ?\{|\\*\x08oxed ?\{|(?<!\\)[{}]")
_BARE_BOX = re.compile(r"\\f?boxed ?(?=[-$]?[0-9])")
_BOLD = re.compile(r"\*\*([^*\n]{1,100})\*\*")
_BOLD_MARK = re.compile(r"(?<!\d)\*\*|\*\*(?!\d)")

# What may stand between a mark and its number.
_DECORATION = re.compile(r"(?:[^\w\\$€£¥₹₩₽.(+-]|-(?= )){0,40}")
_HASHES = re.compile(r"#{4,}")
_ANSWER = (
    r"(?:(?:the |my |our )?(?:final |correct )?(?:answer|result|total|solution)(?: is)?"
    r"|so|therefore|thus|hence)"
)
_ANSWER_WORDS = re.compile(
    rf"{_ANSWER}(?:[ ,:=]{{1,3}}|\n)|(?:[^\W\d_]{{1,20}} ){{0,3}}[^\W\d_]{{1,20}} ?= ?",
    re.IGNORECASE,
)
_HEADING = re.compile(r"\(?([0-9]{1,2})([.):]{1,2}|(?= [-—])|(?= [A-Z]))[ *—-]{0,4}(?=[^\W\d_])")
_STATED = re.compile(
    r"\banswers?\b[^.:\n=0-9]{0,80}?\b(?:is|are|was|be|equals|becomes)\b(?! not\b)[ :=]{0,3}"
    r"|\banswer of (?=\W{0,3}[0-9])"
    r"|(?P<final>final )?\b(?:answer|ans\.?)(?!\w)"
    r"(?P<colon>[^\w.\n:=]{0,5}(?:\([^()\n]{0,40}\)|(?:to|in|for)\b[^.:\n=]{0,60})?"
    r"[^\w.\n:=]{0,5}(?:[:=→]|->)|[^\w.\n]{0,5}\n)|<(?:final_)?answer>|答案(?:是|为|:)",
    re.IGNORECASE,
)
_IS_THE_ANSWER = re.compile(
    r"\b(?:is|as|being|was|would be) (?:the|our|my|your) (?:final |correct |right )?answer\b",
    re.IGNORECASE,
)
# Behind a statement, what takes it back.
_CORRECTED = re.compile(
    r"\b(?:it|that|this) should (?:actually |really |instead |rather )?(?:be|have been)\b"
    r"|\bcorrection\b[ :]{0,3}|\bactually,? (?:it|that)(?:'s| is)\b",
    re.IGNORECASE,
)
_UP_TO_IT = re.compile(r"\W*(?:[^\W\d_]{1,20}\W*){0,2}")
# Words that tell how the answer is found, with numbers that are not it.
_METHOD = re.compile(
    r"\b(?:by|from|not|if|sum|difference|product|quotient|ratio|add\w*|subtract\w*"
    r"|multipl\w*|divid\w*|calculat\w*|find\w*|comput\w*|when|after|before|than)\b",
    re.IGNORECASE,
)
# Words that judge an answer which was stated before.
_JUDGED = re.compile(
    r"\b(?:wrong|incorrect|correct|right|true|reasonable|consistent|because|since)\b", re.IGNORECASE
)
_BETWEEN = re.compile(r"\bbetween \W{0,3}[0-9.]+[^.]{0,20} and \W{0,3}[0-9]", re.IGNORECASE)
# Behind the first number of a sentence, what tells that it is not the last.
_GOES_ON = re.compile(
    r"\b(?:is|are|was|were|has|have|had|makes?|gives?|gets?|leaves?|costs?|so|then|and|total)\b",
    re.IGNORECASE,
)
_BRACKETS = re.compile(r"\([^()]*\)")
_SENTENCE = re.compile(r"[.!?](?=\s|$)|\n")
_BOLD_LABEL = re.compile(
    r"(?:step|part|problem|question|day|week|case|example|exercise|option|round|note|method|phase"
    r"|stage|section|chapter|task|point|solution|equation|scenario)\b|.*:\W*$|\(?[0-9]{1,2}[.):]",
    re.IGNORECASE,
)

_LATEX = re.compile(r"\\[dtc]?frac|\\sqrt|\^")
_LATEX_UNIT = re.compile(r"\\?[$%]|(?<![\\A-Za-z])[A-Za-z][A-Za-z .]{0,40}(?:\^\{?[0-9]\}?)?$")


def final_answer(text: str, finish: Finish = "eos", chat: ChatMarks = PLAIN) -> Fraction | None:
    """The number that an answer ends in, or None.

    Args:
        text: What the model wrote after the prompt.
        finish: Why it ended. At the token limit only the first three sorts of evidence count: the
            last number of half a calculation is no answer.
        chat: What the model's format adds.
    """
    shown = shown_text(text, chat)
    plain = plain_text(shown.text)
    flat = _BOLD_MARK.sub("", plain)
    cut = finish == "length" and not shown.runs_on
    evidence = [_boxes(flat, cut), _hashes(flat), _statements(flat)]
    if not cut and not shown.thinking:
        evidence += [_bold(plain), _last_number(flat)]
    for readings in evidence:
        for reading in islice(readings, _MOST):
            if reading is UNCLEAR:
                return None
            if isinstance(reading, Fraction):
                return reading
    return None


def _boxes(text: str, cut: bool) -> Iterator[Stated]:
    r"""What the boxes hold, the last first; one that is never closed ends with its line."""
    found, opened = [], list[tuple[bool, int]]()
    for brace in _BRACES.finditer(text):
        if brace[0] != "}":
            opened.append((len(brace[0]) > 1, brace.end()))
        elif opened:
            is_box, start = opened.pop()
            if is_box:
                found.append((start, brace.start()))
    if not cut:
        lines = ((start, text.find("\n", start)) for is_box, start in opened if is_box)
        found += [(start, end if end >= 0 else len(text)) for start, end in islice(lines, _MOST)]
        found += [(box.end(), box.end() + 20) for box in _BARE_BOX.finditer(text)]
    for start, end in sorted(found, reverse=True):
        yield _in_box(text[start:end].strip()) if end - start <= _PIECE else None


def _in_box(content: str) -> Stated:
    if _LATEX.search(content):
        value = expression_value(_LATEX_UNIT.sub("", content).strip(" ."))
        if value is not None:
            return value
    reading = _right_here(content)
    if reading is None and (number := EXPRESSION.search(content, content.rfind("=") + 1)):
        return stated_value(content[number.start() :])
    return reading


def _hashes(text: str) -> Iterator[Stated]:
    """What stands behind ``####``, the last first; headings such as ``#### 2. Add`` are passed."""
    marks = list(_HASHES.finditer(text))
    pieces = [text[mark.end() : mark.end() + _PIECE] for mark in marks]
    headings = [_HEADING.match(_undecorated(piece)) for piece in pieces]
    steps = {0, *(int(heading[1]) for heading in headings if heading)}
    for piece, heading in zip(reversed(pieces), reversed(headings), strict=True):
        if heading and int(heading[1]) - 1 in steps and (heading[2] or {1, 2} <= steps):
            yield None
        else:
            yield _behind_hashes(piece)


def _behind_hashes(piece: str) -> Stated:
    """The number on the line of a mark, or alone on the next ones; "Answer:" may be between."""
    left = _undecorated(piece)
    while words := _ANSWER_WORDS.match(left):
        left = _undecorated(left[words.end() :])
    if "\n" in piece[: len(piece) - len(left)]:
        _, _, more = re.split(r"\n\s*\n", left, maxsplit=1)[0].partition("\n")
        if re.search("[0-9]", more):
            return None  # the heading of a whole solution
    return stated_value(left)


def _statements(text: str) -> Iterator[Stated]:
    """What "the answer is", "answer:" and "… is the answer" state, the last first."""
    marks = [*_STATED.finditer(text), *_IS_THE_ANSWER.finditer(text)]
    if marks:
        marks += _CORRECTED.finditer(text, min(mark.end() for mark in marks))
    first = re.search("[0-9]", text)
    for mark in sorted(marks, key=re.Match.end, reverse=True):
        if mark.re is _IS_THE_ANSWER:
            yield _in_front(text[max(0, mark.start() - 60) : mark.start()])
        else:
            label = mark.re is _STATED and mark["colon"] is not None and mark["final"] is None
            opening = label and first is not None and mark.end() <= first.start()
            piece = _undecorated(text[mark.end() : mark.end() + _PIECE])
            yield _opening(piece, text[mark.end() :]) if opening else _in_sentence(piece)


def _in_front(piece: str) -> Stated:
    numbers = list(EXPRESSION.finditer(piece))
    if numbers and _UP_TO_IT.fullmatch(piece, numbers[-1].end()):
        return expression_in(numbers[-1])
    return None


def _in_sentence(piece: str) -> Stated:
    """The number right here, or the first one of the sentence if it is no step on the way."""
    reading = stated_value(piece)
    if reading is None:
        sentence = _sentence(piece)
        number = EXPRESSION.search(sentence)
        if number and _BETWEEN.search(sentence):
            return UNCLEAR
        words = sentence[: number.start()] if number else ""
        if _JUDGED.search(words) or (_METHOD.search(words) and "=" not in sentence):
            return None
        if number:
            return stated_value(sentence[number.start() :])
    return reading


def _opening(piece: str, behind: str) -> Stated:
    """What "Answer:" says in front of all numbers: the answer, if it says one number and ends.

    Otherwise a whole solution follows, whose first number is none of its answer.
    """
    sentence = _sentence(piece)
    number = EXPRESSION.search(sentence)
    if number is None:
        return None
    if _BETWEEN.search(sentence):
        return UNCLEAR
    reading = stated_value(sentence[number.start() :])
    if "=" in sentence:
        return reading if behind.count("=") == sentence.count("=") else None
    rest = _BRACKETS.sub("", sentence[number.end() :])
    if re.search("[0-9]", rest) and _GOES_ON.search(rest):
        return None
    if number.start() == 0 and not rest.strip():
        return reading  # "Answer: 18. Check: …"
    after = piece[len(sentence) :]
    ends = r"[^0-9\n]*(?:\n|$)" if number.start() == 0 else r"\W*(?:\n\s*\n|$)"
    return reading if re.match(ends, after) else None


def _bold(text: str) -> Iterator[Stated]:
    """What is set in bold and holds one number, the last first; labels are passed."""
    for match in reversed(list(_BOLD.finditer(text))):
        content = _undecorated(match[1])
        number = None if _BOLD_LABEL.match(content) else EXPRESSION.search(content)
        if number is None or ("=" not in content and EXPRESSION.search(content, number.end())):
            yield None
        else:
            yield stated_value(content[number.start() :])


def _last_number(text: str) -> Iterator[Stated]:
    """The last number or expression; no exponent of a unit."""
    last = max(text.rfind(digit) for digit in "0123456789")
    start = max(0, last - 200)
    if start:
        start = max(start, text.find(" ", start, last))
    numbers = list(EXPRESSION.finditer(text[: last + 60], start))
    pair = SMALLER_UNIT.match(text, numbers[-2].end()) if len(numbers) > 1 else None
    for number in reversed(numbers):
        of_a_time = re.search("[0-9]:$", text[max(0, number.start() - 2) : number.start()])
        if of_a_time or (pair and pair.start() < number.start() < pair.end()):
            yield UNCLEAR
        elif not re.search(r"[A-Za-z] ?\^\{?$", text[max(0, number.start() - 4) : number.start()]):
            yield expression_in(number)


def _right_here(piece: str) -> Stated:
    return stated_value(_undecorated(piece))


def _undecorated(piece: str) -> str:
    """A piece without what may stand in front of its number."""
    return piece[_DECORATION.match(piece).end() :]  # type: ignore[union-attr]


def _sentence(piece: str) -> str:
    end = _SENTENCE.search(piece)
    return piece[: end.start()] if end else piece
