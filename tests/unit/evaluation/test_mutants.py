"""Graders with one fault each: the tables of texts catch every one."""

import re
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any

import pytest

from snakesteer.evaluation import expressions, final_answer, plain_text, quantities, shown_text
from snakesteer.evaluation.grading import written
from snakesteer.evaluation.shown_text import PLAIN, ChatMarks
from tests.unit.evaluation.formats import FAMILIES, Written
from tests.unit.evaluation.test_final_answer import KINDS, MORE, PLAIN_TEXTS

CASES = [
    *(Written(text, number) for text, number, _ in KINDS.values()),
    *(Written(text, number) for text, number in (*PLAIN_TEXTS, *MORE)),
    *(case for family in FAMILIES.values() for case in family),
]
SORTS = ("_boxes", "_hashes", "_statements", "_bold", "_last_number")
REAL = {name: getattr(final_answer, name) for name in SORTS}

Patch = Callable[[pytest.MonkeyPatch], None]


def put(module: Any, name: str, value: Any) -> Patch:
    return lambda patch: patch.setattr(module, name, value)


def blind(module: Any, name: str) -> Patch:
    """One pattern finds nothing."""
    real = getattr(module, name)
    groups = "".join(f"(?P<{group}>)" for group in real.groupindex)
    groups += "()" * (real.groups - len(real.groupindex))
    return put(module, name, re.compile(f"(?!){groups}"))


def readings(name: str, text: str) -> Iterator[Any]:
    given = (text, False) if name == "_boxes" else (text,)
    found: Iterator[Any] = REAL[name](*given)
    return found


def swapped(one: str, other: str) -> Patch:
    """The evidence in another order."""

    def swap(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(final_answer, one, lambda text, *_: readings(other, text))
        patch.setattr(final_answer, other, lambda text, *_: readings(one, text))

    return swap


def first(name: str) -> Patch:
    """The first of its sort in place of the last."""
    return put(final_answer, name, lambda text, *_: reversed(list(readings(name, text))))


def none(name: str) -> Patch:
    return put(final_answer, name, lambda *_: iter(()))


def given(change: Callable[[Written], Written]) -> Patch:
    """The caller forgets something."""
    return put(final_answer, "final_answer", _forgetting(change))


def _forgetting(change: Callable[[Written], Written]) -> Callable[..., Any]:
    real = final_answer.final_answer

    def read(text: str, finish: Any, chat: ChatMarks) -> Any:
        case = change(Written(text, None, finish, chat.turns, chat.thinking))
        return real(case.text, case.finish, ChatMarks(case.turns, case.thinking))

    return read


def forgets(**values: Any) -> Patch:
    return given(lambda case: Written(**{**vars(case), **values}))


class Other(Enum):
    OTHER = "other"


def positive(patch: pytest.MonkeyPatch) -> None:
    real = quantities._value
    patch.setattr(
        quantities,
        "_value",
        lambda text: value if isinstance(value := real(text), Enum) else abs(value),
    )


def cut_everywhere(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(shown_text, "_DIGIT", re.compile(""))
    patch.setattr(shown_text, "_SOLVED", re.compile(""))


def whole_text(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        final_answer, "shown_text", lambda text, chat: shown_text.Shown(text, False, False)
    )


def no_run_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(shown_text, "_marks", lambda turns: shown_text._THINKING)


def no_label(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(shown_text, "_LABEL", "(?!)")
    shown_text._marks.cache_clear()


def no_turn(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(shown_text, "_TURN", "(?!)")
    shown_text._marks.cache_clear()


def open_blocks_count(patch: pytest.MonkeyPatch) -> None:
    real = shown_text.shown_text

    def shown(text: str, chat: ChatMarks = PLAIN) -> shown_text.Shown:
        found = real(text, chat)
        return shown_text.Shown(text, False, False) if found.thinking else found

    patch.setattr(final_answer, "shown_text", shown)


MUTANTS: dict[str, Patch] = {
    "the first box": first("_boxes"),
    "the first ####": first("_hashes"),
    "the first statement": first("_statements"),
    "the first in bold": first("_bold"),
    "no box": none("_boxes"),
    "no ####": none("_hashes"),
    "no statement": none("_statements"),
    "no bold": none("_bold"),
    "no last number": none("_last_number"),
    "#### before boxes": swapped("_boxes", "_hashes"),
    "statements before ####": swapped("_hashes", "_statements"),
    "bold before statements": swapped("_statements", "_bold"),
    "the last number before bold": swapped("_bold", "_last_number"),
    "thinking is read": put(shown_text, "_is_open", lambda match: False),
    "a block that the prompt opened is read": put(shown_text, "_is_close", lambda match: False),
    "blocks without an end are read": open_blocks_count,
    "any mark ends any block": put(shown_text, "_kind", lambda match: "think"),
    "the prompt's open block is forgotten": forgets(thinking=None),
    "the tokenizer's marks are forgotten": forgets(turns=()),
    "the token limit is forgotten": forgets(finish="eos"),
    "all answers count as cut": forgets(finish="length"),
    "nothing is cut off": whole_text,
    "no run-on is cut off": no_run_on,
    "no next question is cut off": no_label,
    "no next turn is cut off": no_turn,
    "cut off before an answer": cut_everywhere,
    "numbers of steps are answers": blind(shown_text, "_ENUMERATED"),
    "given facts are answers": blind(shown_text, "_FACTS"),
    "headings are answers": blind(final_answer, "_HEADING"),
    "words in front of a number hide it": blind(final_answer, "_ANSWER_WORDS"),
    "the way to the answer is the answer": blind(final_answer, "_METHOD"),
    "what judges an answer is one": blind(final_answer, "_JUDGED"),
    '"… is the answer" is not read': blind(final_answer, "_IS_THE_ANSWER"),
    'a solution behind "Answer:" is read at its start': put(
        final_answer, "_opening", lambda piece, behind: final_answer._in_sentence(piece)
    ),
    "labels in bold are answers": blind(final_answer, "_BOLD_LABEL"),
    "asterisks stay": blind(final_answer, "_BOLD_MARK"),
    "what is unclear falls through": put(final_answer, "UNCLEAR", Other.OTHER),
    "the first side of an equation": blind(quantities, "_CHAIN"),
    "half a range": blind(quantities, "_RANGE"),
    "half a time": blind(quantities, "_MORE"),
    "the first of a list": blind(quantities, "_LIST"),
    "hours without their minutes": blind(quantities, "SMALLER_UNIT"),
    "the first group of digits": blind(quantities, "_BY_BLANKS"),
    "what is between two numbers is the first": blind(final_answer, "_BETWEEN"),
    "corrections are not read": blind(final_answer, "_CORRECTED"),
    "no million": blind(quantities, "_FACTOR"),
    "no half": blind(quantities, "_AND_PART"),
    "no minus": positive,
    "expressions have no value": put(quantities, "expression_value", lambda latex: None),
    "fractions in fractions have no value": put(
        final_answer, "expression_value", lambda latex: None
    ),
    "groups of digits are apart": blind(plain_text, "_GROUPED"),
    "wrapped words hide numbers": blind(plain_text, "_WRAPPED"),
    "formulas keep their dollars": blind(plain_text, "_DOLLAR"),
    "formulas keep their delimiters": blind(plain_text, "_FOR_THE_EYE"),
    "raised digits are digits": blind(plain_text, "_RAISED"),
    "signs of LaTeX stay": blind(plain_text, "_OPERATOR"),
    "characters stay what they are": put(plain_text, "_CHARACTERS", {}),
    "numbers in keycaps are answers": blind(plain_text, "_KEYCAP"),
    "no powers": put(expressions, "_LARGEST_POWER", 0),
}


def misread(cases: Iterable[Written]) -> list[str]:
    wrong = []
    for case in cases:
        chat = ChatMarks(case.turns, case.thinking)
        number = final_answer.final_answer(case.text, case.finish, chat)
        if (None if number is None else written(number)) != case.number:
            wrong.append(case.text)
    return wrong


def test_the_grader_itself_reads_all():
    assert misread(CASES) == []


@pytest.mark.parametrize("name", MUTANTS)
def test_each_fault_is_caught(name: str, monkeypatch: pytest.MonkeyPatch):
    expressions.expression_value.cache_clear()
    MUTANTS[name](monkeypatch)
    wrong = misread(CASES)
    monkeypatch.undo()
    shown_text._marks.cache_clear()
    expressions.expression_value.cache_clear()
    assert wrong, name
