"""What of an answer is meant for the reader: behind the thinking, before the next turn.

Models think in blocks (``<think>…</think>`` and its kin, the channels of gpt-oss), and some go on
behind their answer with the next question or the next turn of the chat. Such a run-on is cut off
only *behind* an answer: a text may also begin with a turn's mark, or tell the problem again.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

_NAMES = (
    r"(?i:think|thinking|thoughts?|reason|reasoning|reasoning_(?:process|content)|analysis|reflection"
    r"|scratchpad|rationale|(?:inner|internal)_monologue|chain_of_thought|cot)"
)
# Each with the group that names its kind, so that a block ends only with a mark of its own kind.
_OPEN = (
    rf"<(?:[a-z]{{1,12}}:)?(?P<o1>{_NAMES})>|<\|(?:(?:start|begin)_)?(?:of_)?(?P<o2>{_NAMES})\|>"
    r"|<\|START_(?P<o4>THINKING)\|>|\[(?P<o5>THINK)\]|◁(?P<o6>think)▷|<\|(?P<o7>inner)_prefix\|>"
    r"|<\|(?P<o8>channel)\|>\s?(?:analysis|commentary)|<\|(?P<o9>channel)>\s?thought"
    r"|<unused94>(?P<o10>thought)|\A\s?(?P<o11>analysis)(?=[A-Z])"
)
_CLOSE = (
    rf"</(?:[a-z]{{1,12}}:)?(?P<c1>{_NAMES})>|<\|(?:/|end_)(?:of_)?(?P<c2>{_NAMES})\|>"
    r"|<\|END_(?P<c4>THINKING)\|>|\[/(?P<c5>THINK)\]|◁/(?P<c6>think)▷|<\|(?P<c7>inner)_suffix\|>"
    r"|<\|(?P<c8>channel)\|>\s?final|<(?P<c9>channel)\|>"
    r"|(?P<c10><unused95>)|(?P<c11>assistant\s?final)(?=[A-Z0-9*$\\#])"
)
_KINDS = {"<unused95>": "thought", "assistantfinal": "analysis", "assistant final": "analysis"}

# The end of a turn or of a text in the formats of many models, and the start of the next.
_TURN = (
    r"</?s>|<\|[A-Za-z][\w.-]{0,40}\|>|<｜[^｜<>\n]{1,40}｜>|<(?:start|end)_of_turn>|<turn\|>|<\|turn>"
    r"|</?(?:eos|bos|end_of_utterance)>|\[/?INST\]|<</?SYS>>|\[MATH_TASK\]"
)
# What a next question begins with: "Question:" is the harness's stop string and counts anywhere,
# the other labels at a line's start.
_LABEL = (
    r"Question[ \t]*[0-9]*[ \t]*\*{0,2}:"
    r"|^[ \t*#>]*(?:(?:Next |New |Another )?(?:[Qq]uestion|[Pp]roblem|[Ee]xercise)|Q"
    r"|Instruction|Input|Response|User|USER|Human|Assistant|ASSISTANT)"
    r"[ \t]*(?:[0-9]*[ \t]*\*{0,2}:|[0-9]+[ \t]*\*{0,2}\.?$)"
)

_ENUMERATED = re.compile(
    r"^[ \t*#>(-]{0,10}[0-9]{1,2}[.):](?![0-9])|(?:step|part)[ \t*#]{0,4}[0-9]{1,2}\b",
    re.MULTILINE | re.IGNORECASE,
)
_DIGIT = re.compile("[0-9]")
_SOLVED = re.compile(
    r"boxed|####[^\n]{0,20}[0-9]|\banswer\b[^\n]{0,60}[0-9]|<answer>|[=≈][^\w\n]{0,10}[0-9]",
    re.IGNORECASE,
)
_FACTS = re.compile(
    r"\b(?:given|know|known|facts?|data|information|details?)\b[^\n:]{0,30}:", re.IGNORECASE
)


@dataclass(frozen=True)
class ChatMarks:
    """What a model's own format adds to an answer.

    Attributes:
        turns: Marks that end a turn or start one, such as the tokenizer's special tokens.
        thinking: The kind of the think block that the prompt has opened (see `open_block`).
    """

    turns: tuple[str, ...] = ()
    thinking: str | None = None


PLAIN = ChatMarks()  # no format is known


@dataclass(frozen=True)
class Shown:
    """What is meant for the reader.

    Attributes:
        text: Behind the last closed think block, before the run-on.
        runs_on: A run-on was cut off: the answer itself had ended.
        thinking: A think block follows the text that never ends.
    """

    text: str
    runs_on: bool
    thinking: bool


def shown_text(text: str, chat: ChatMarks = PLAIN) -> Shown:
    """Cut off thinking and run-on.

    Args:
        text: What the model wrote after the prompt.
        chat: What its format adds.
    """
    kind, start, end = chat.thinking, 0, 0
    if kind is None and (first := _THINKING.search(text)) and _is_close(first):
        start = first.end()  # of a block that the prompt has opened
    checked, number, solved, told_again = start, False, False, False
    for match in _marks(chat.turns).finditer(text, start):
        opened = _is_open(match)
        if kind is not None or _is_close(match):
            if _is_close(match) and kind in (None, _kind(match)):
                kind, start, checked = None, match.end(), match.end()
                number = solved = told_again = False
            continue
        piece = text[checked : match.start()]
        number = number or _DIGIT.search(_ENUMERATED.sub("", piece)) is not None
        solved = solved or _SOLVED.search(piece) is not None
        checked = match.end()
        if opened:
            kind, end = _kind(match), match.start()
        elif match["turn"] is not None:
            if number or solved:
                return Shown(text[start : match.start()], True, False)
        elif solved or (number and not told_again and not _FACTS.search(text[start:checked])):
            return Shown(text[start : match.start()], True, False)
        else:
            told_again = True
    return Shown(text[start:] if kind is None else text[start:end], False, kind is not None)


def open_block(text: str) -> str | None:
    """The kind of the think block that a text ends in, or None."""
    kind = None
    for match in _THINKING.finditer(text):
        if kind is None and _is_open(match):
            kind = _kind(match)
        elif kind == _kind(match) and _is_close(match):
            kind = None
    return kind


_THINKING = re.compile(f"{_OPEN}|{_CLOSE}")


@lru_cache(maxsize=16)
def _marks(turns: tuple[str, ...]) -> re.Pattern[str]:
    """All that may end the reader's text or begin it, thinking first."""
    own = "".join(f"|{re.escape(turn)}" for turn in sorted(turns, key=len, reverse=True))
    return re.compile(f"{_OPEN}|{_CLOSE}|(?P<turn>{_TURN}{own})|(?P<label>{_LABEL})", re.MULTILINE)


def _is_open(match: re.Match[str]) -> bool:
    return match.lastgroup is not None and match.lastgroup.startswith("o")


def _is_close(match: re.Match[str]) -> bool:
    return match.lastgroup is not None and match.lastgroup.startswith("c")


def _kind(match: re.Match[str]) -> str:
    name = match[match.lastgroup or 0].lower()
    return _KINDS.get(name, name)
