r"""An answer with its numbers written in one way, and without LaTeX that is only for the eye.

``1,080``, ``1,00,000``, ``1'080``, ``1{,}080``, ``1\,080`` and ``1 080`` with a narrow or no-break
space become digits without groups; full-width digits become ASCII, and ``½`` becomes ``1/2``.
Delimiters of formulas, ``\text{…}`` and the like go, and ``\times`` becomes ``×``. Fractions,
roots, powers and boxes stay. What reads answers needs to know one way of writing only.
"""

import re
import unicodedata

_SPACES = "\u00a0\u2000-\u200a\u202f\u205f\u3000"
_OTHERS = {
    **dict.fromkeys(map(ord, "−‐‑‒–﹣"), "-"),
    **dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\ufe0f"), ""),
    **dict.fromkeys(map(ord, "⁄∕"), "/"),
    **dict.fromkeys(map(ord, "’ʼ"), "'"),
    **dict.fromkeys(map(ord, "⋅∙"), "·"),
    **{ord("٬"): ",", ord("٫"): "."},
}
_KEYCAP = re.compile("[0-9]\ufe0f?\u20e3")  # 1️⃣ numbers a step
_GROUPED = re.compile(
    rf"(?<![\d.,'])(?<!\d[{_SPACES}])(?<!\d\\[,;: ])"  # no group of a longer row
    rf"[0-9]{{1,3}}(?P<sep>[,'{_SPACES}]|\\[,;: ])[0-9]{{3}}"
    r"(?:(?P=sep)[0-9]{3})*+(?!\d|(?P=sep)\d)"
    r"|(?<![\d.,])[0-9]{1,2}(?:,[0-9]{2}(?!\d))++,[0-9]{3}(?!\d|,\d)"  # Indian: 1,00,000
)
_NOT_A_DIGIT = re.compile(r"[^0-9]")
_RAISED = re.compile("(?<=[0-9)])[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,3}")
_SPACE = re.compile(rf"[{_SPACES}\t]|(?<!\\)\\[,;: ]")

_DOLLAR = re.compile(r"\\?\$(?! ?[-+]?[.0-9])")  # of a formula, or behind an amount
_WRAPPED = re.compile(
    r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mathit|mathsf|mbox|bm|boldsymbol"
    r"|operatorname)[ ]?\{([^{}]*)\}"
)
_FOR_THE_EYE = re.compile(
    r"(?<!\\)\\[()\[\]]|\\(?:displaystyle|left|right|q?quad|[bB]igg?[lr]?)(?![A-Za-z])"
    r"|\\(?:begin|end)\{[a-z]{1,12}\*?\}|\^\{?\\circ\}?|(?<=\s)&|&(?==)"
)
_OPERATORS = {"times": "×", "cdot": "·", "ast": "*", "div": "÷", "approx": "≈", "\\": "\n"}
_OPERATOR = re.compile(r"\\(times|cdot|ast|div|approx)(?![A-Za-z])|\\(\\)(?![A-Za-z])")
_BLANKS = re.compile(r"  +")


class _Characters(dict[int, str]):
    """What single characters become, found out when they are first seen."""

    def __missing__(self, code: int) -> str:
        self[code] = found = _ascii(code)
        return found


_CHARACTERS = _Characters()


def plain_text(text: str) -> str:
    """The text in one way of writing, see the module."""
    if not text.isascii():
        text = _RAISED.sub(lambda match: "^" + unicodedata.normalize("NFKC", match[0]), text)
        text = _KEYCAP.sub("", text).translate(_CHARACTERS)
    if "\\" in text:
        text = text.replace("{,}", ",").replace(r"{\,}", r"\,").replace(r"\!", "")
    text = _GROUPED.sub(lambda match: _NOT_A_DIGIT.sub("", match[0]), text)
    text = _SPACE.sub(" ", text)
    if "$" in text:
        text = _DOLLAR.sub("", text)
    if "\\" in text:
        for _ in range(3):  # wrapped in one another
            text = _WRAPPED.sub(r" \1 ", text)
        text = _FOR_THE_EYE.sub(" ", text)
        text = _OPERATOR.sub(lambda match: _OPERATORS[match[1] or match[2]], text)
    return _BLANKS.sub(" ", text)


def _ascii(code: int) -> str:
    if code in _OTHERS:
        return _OTHERS[code]
    if 0xFF01 <= code <= 0xFF5E:  # the full-width forms of ASCII
        return chr(code - 0xFEE0)
    char = chr(code)
    if code > 127 and (digit := unicodedata.decimal(char, None)) is not None:
        return str(digit)
    if unicodedata.decomposition(char).startswith("<fraction>"):
        return " " + unicodedata.normalize("NFKC", char).replace("⁄", "/")
    return char
