"""Gold answers: the one number of a solution's last line, or of a field of its own.

A text is one number only if nothing of it could change the number's value: ``9 (apples)`` is 9, but
``1.5 million``, ``3 ½ (miles)`` and ``16-18`` are no numbers here, since half of each would be a
wrong gold answer. What is not plainly one number is refused, never read in part.
"""

import re
import unicodedata
from decimal import Decimal

from snakesteer.data.problem import GOLD_MARK, canonical

# Digits in groups: of three behind commas, apostrophes, lines (1_080) or unbreakable
# blanks, or Indian (1,00,000).
# An ordinary blank may stand between two numbers, so that it joins no group.
_GROUPS = "|".join(
    rf"[1-9][0-9]{{0,2}}(?:{mark}[0-9]{{3}})+"
    for mark in (",", "['’]", "_", r"[\xa0\u2007\u2009\u202f]")
)
_INDIAN = r"[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}"
_NUMBER = re.compile(
    r"\s*(?:(?P<minus>[-−])|\+)?\\?(?P<currency>[$€£])?(?P<minus_inside>(?<=[$€£])[-−])?"
    rf"(?P<digits>(?:{_GROUPS}|{_INDIAN}|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
    r"(?P<behind>.*)",
    re.DOTALL,
)
_PLAIN = re.compile(
    r"[^\d.]*(?:[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)[^\d²³]*"
)
_SEPARATORS = re.compile(r"[^0-9.]")

# What may stand behind: letters, blanks, signs of currencies and things, and these marks. A stroke
# or a minus needs a word behind it ("5-pound bags", "60 miles / hour"), a ² a letter before it.
_MARKS = frozenset(".,;:!?'\"’”()[]%‰。、،।")
_CATEGORIES = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Sc", "So"})
_JOINED = re.compile(r"/ ?(?=[^\W\d_])|-(?=[^\W\d_])|(?<=[^\W\d_])[²³]|\\(?=[%$])")
# More digits to come ("0.333…"), or a factorial.
_GOES_ON = re.compile(r"\.\.|[!?]")
_WORD = re.compile(r"[^\W\d_]+")

# Units of one letter; every other one is a variable or a factor: 3x, 2n, 5k, 5M.
_LETTER = re.compile("[acdghlmopstyCFLNJVW]")
# Factors and conjunctions, if they are the first word behind the number; the next, behind a price.
_FIRST = re.compile("and|by|mil|mn|or|over|plus|minus|till|to|until")
_FIRST_OF_A_PRICE = re.compile("b|mm?|t")
_PART = re.compile("quarters?|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|hundredth")
# Words that change a number wherever they stand.
_CHANGING = re.compile(
    "bl?n|crores?|cr|do?z|dzn|grand|gross|lac|lacs|lakhs?|mille|mio|ml[nd]|mrd|pi|π|score|tn|"
    "half|halves|(?:third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|hundredth)s|halbe?|squared|"
    "cubed|zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|"
    "(?:thir|four|fif|six|seven|eigh|nine)teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty|"
    "(?:(?:b|m|tr|quadr)illi[oó]n|milliard|mill[oó]n|thousand|hundred|tausend|hundert|dozen|"
    "dutzend|docena|douzaine).*"
)


def parse_number(text: str) -> Decimal | None:
    """Read a text that is one number and nothing else but its unit.

    Signs, decimals, a currency sign in front and a dot, ``%`` or words behind are allowed, and
    thousands in groups: ``-$1,080.50``, ``1'080``, ``1_080``, ``1,00,000``, ``18.``, ``50%`` and
    ``18 dollars`` are numbers. Digits of every script are read.

    Returns:
        The exact value; nothing where the text holds no number, more than one (``1/2``, ``3:30``,
        ``16-18``, ``3 or 4``, ``10³``) or a word that changes it (``1.5 million``, ``2 dozen``).
    """
    match = _NUMBER.fullmatch(_plain(text))
    if not match or not _is_unit(match["behind"], money=match["currency"] is not None):
        return None
    value = Decimal(_SEPARATORS.sub("", match["digits"]))
    return value.copy_negate() if match["minus"] or match["minus_inside"] else value


def parse_gold(answer: str) -> str:
    """The canonical form of the number after the last ``####`` of a gold solution.

    Raises:
        ValueError: There is no ``####``, or what follows is not one number.
    """
    _, mark, tail = answer.rpartition(GOLD_MARK)
    number = parse_number(tail) if mark else None
    if number is None:
        raise ValueError(
            f"no number after {GOLD_MARK}" if mark else f"no {GOLD_MARK} in the answer"
        )
    return canonical(number)


def gold_solution(value: str | float | Decimal) -> str:
    """The gold solution that a source's answer stands for.

    Args:
        value: A solution with ``####``, or one number: a JSON number, or a text as `parse_number`
            reads it.

    Returns:
        The solution, or ``#### n`` for a bare number. In a solution, a last number that is written
        in another way than ``1080`` or ``1,080`` becomes canonical, for those who read it next.

    Raises:
        ValueError: It is neither.
    """
    if isinstance(value, str) and GOLD_MARK in value:
        head, _, tail = value.rpartition(GOLD_MARK)
        gold = parse_gold(value)
        return value if _PLAIN.fullmatch(tail) else f"{head}{GOLD_MARK} {gold}"
    number = parse_number(value) if isinstance(value, str) else Decimal(str(value))
    if number is None:
        raise ValueError(f"no {GOLD_MARK} in the answer, which is not one number either")
    if not number.is_finite():
        raise ValueError("the answer is not a finite number")
    return f"{GOLD_MARK} {canonical(number)}"


def _plain(text: str) -> str:
    """Digits of other scripts and wide signs as ASCII has them; invisible marks away."""
    return "".join(_plain_sign(sign) for sign in text if unicodedata.category(sign) != "Cf")


def _plain_sign(sign: str) -> str:
    if sign.isdecimal():
        return str(unicodedata.decimal(sign))
    wide = unicodedata.decomposition(sign).startswith(("<wide>", "<small>"))
    return unicodedata.normalize("NFKC", sign) if wide else sign


def _is_unit(behind: str, money: bool) -> bool:
    """Whether what stands behind a number leaves its value as it is.

    Args:
        behind: The text behind.
        money: Whether a currency stands in front.
    """
    rest = _JOINED.sub(" ", behind)
    if _GOES_ON.match(rest) or unicodedata.category(rest[:1] or " ") == "Mn":
        return False
    if not all(_is_harmless(sign) for sign in rest):
        return False
    words = _WORD.findall(rest)
    if any(_CHANGING.fullmatch(word.casefold()) for word in words):
        return False
    if not words:
        return True
    first = words[0].casefold()
    if len(first) == 1 and first.isascii() and not _LETTER.fullmatch(words[0]):
        return False
    if _PART.fullmatch(first):  # in brackets it is what was asked for: 3 (quarters)
        return "(" in rest
    return not (_FIRST.fullmatch(first) or (money and _FIRST_OF_A_PRICE.fullmatch(first)))


def _is_harmless(sign: str) -> bool:
    """Whether a sign behind a number says nothing of its value.

    A numeric one is a further number, a fraction, a power or a number word such as 万, 10,000.
    """
    if unicodedata.numeric(sign, None) is not None or sign == "半":  # a half
        return False
    return sign in _MARKS or sign.isspace() or unicodedata.category(sign) in _CATEGORIES
