"""The texts of contrast pairs and the positions at which their activations are read."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from snakesteer.config import ReadPosition
from snakesteer.data.prompts import Ids, Prompter, common_prefix
from snakesteer.errors import UserError
from snakesteer.vectors.corruption import WRITTEN_NUMBER
from snakesteer.vectors.pairs import Pair, check_enough
from snakesteer.vectors.thoughts import THOUGHTS, Thought, thought_starts

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Text:
    """One text and the positions that are read.

    Attributes:
        token_ids: Prompt and response.
        read: Half-open span whose mean activation is kept.
        steered: Half-open span whose residual stream is averaged: where CAA would steer.
        thoughts: Positions within that span which are read, where not all of it is; one for each
            thought.
        group: What kind of thoughts they open; the mean of all of a kind is kept, too.
    """

    token_ids: Ids
    read: tuple[int, int]
    steered: tuple[int, int]
    thoughts: tuple[int, ...] = ()
    group: str = ""

    @property
    def positions(self) -> tuple[int, ...]:
        """All that are read, which weigh the same."""
        return self.thoughts or tuple(range(*self.read))

    @property
    def weight(self) -> int:
        """How much it counts among the texts of its side."""
        return len(self.thoughts) or 1


@dataclass(frozen=True)
class PairTexts:
    """The texts of one pair.

    Attributes:
        id: Of the pair.
        positive: Texts of the right side, whose activations are averaged.
        negative: Those of the wrong side.
    """

    id: str
    positive: tuple[Text, ...]
    negative: tuple[Text, ...]

    @property
    def texts(self) -> tuple[Text, ...]:
        """All of them, the right side's first."""
        return self.positive + self.negative


def texts_of_pairs(
    prompter: Prompter, pairs: Sequence[Pair], position: ReadPosition
) -> list[PairTexts]:
    """The texts of contrast pairs, each response behind its prompt.

    Args:
        prompter: Builds the prompts.
        pairs: The pairs.
        position: ``before_last_number`` is the token before the last number in which the two texts
            differ: the same token on both sides, behind texts that differ. ``first_difference`` is
            the first token at which the two differ, ``last_token`` the last one of each,
            ``response_mean`` all tokens behind the prompt, ``last_prompt_token`` the last one of
            the prompt behind an instruction, ``blank_lines`` the tokens at which the blank lines
            before thoughts end.

    Returns:
        Pairs in their order. One that has nothing to read at this position is left out, and how
        many these are is logged.
    """
    found = [texts for pair in pairs if (texts := _texts_of_pair(prompter, pair, position))]
    if len(found) < len(pairs):
        why = (
            "their solutions hold thoughts of one side alone"
            if position == "blank_lines"
            else "their texts differ in one number alone, so that nothing differs before it"
        )
        logger.info(
            "%d of %d pairs are left out: %s (pairs.read: %s)",
            len(pairs) - len(found),
            len(pairs),
            why,
            position,
        )
    return found


def readable_pairs(
    prompter: Prompter, pairs: Sequence[Pair], position: ReadPosition, minimum: int, split: str
) -> list[PairTexts]:
    """`texts_of_pairs`, where they are enough.

    Args:
        prompter: Builds the prompts.
        pairs: The pairs of one split, enough in themselves.
        position: Where they are read.
        minimum: ``pairs.min_pairs``.
        split: ``train`` or ``val``.

    Raises:
        UserError: Too few pairs can be read at this position.
    """
    found = texts_of_pairs(prompter, pairs, position)
    if position == "blank_lines" and len(found) < minimum:
        raise UserError(
            f"Of the {len(pairs)} questions of the {split} split, {len(found)} have solutions with "
            "thoughts that go on and thoughts that look back or change the way, behind blank "
            f"lines, fewer than pairs.min_pairs = {minimum}",
            "Take a model that writes its reasoning in paragraphs, raise pairs.samples or "
            f"data.{split}, or take another pairs.kind.",
        )
    if len(found) < min(minimum, len(pairs)):
        raise UserError(
            f"Of the {len(pairs)} contrast pairs of the {split} split, {len(found)} differ in more "
            f"than one number, fewer than pairs.min_pairs = {minimum}; pairs.read: {position} "
            "reads what a wrong number changed before the last one",
            "For solutions that are bare numbers set pairs.kind: own_right_vs_wrong with "
            "pairs.read: response_mean, or pairs.read: first_difference (the vector then says "
            f"which digit is written); otherwise raise data.{split}.",
        )
    check_enough(found, minimum, split)
    return found


def before_last_number(
    prompter: Prompter, question: str, right: str, wrong: str
) -> tuple[int, int] | None:
    """Where two responses are read that differ in the value of digits only.

    Args:
        prompter: Builds the prompts.
        question: The question that both answer.
        right: A response as it follows the prompt.
        wrong: The other one.

    Returns:
        Positions of the last token that ends before the last differing number, in either text. None
        where only one number differs (up to there the texts would be the same), or the tokenizer
        makes different tokens of what is the same text.
    """
    numbers = (match.span() for match in WRITTEN_NUMBER.finditer(right))
    differing = [start for start, end in numbers if right[start:end] != wrong[start:end]]
    if len(differing) < 2:
        return None
    wholes = [prompter.ids(question, text) for text in (right, wrong)]
    befores = [prompter.ids(question, text[: differing[-1]]) for text in (right, wrong)]
    # A tokenizer may join what stands before the number with its first digit.
    shared = [common_prefix(ids) for ids in zip(wholes, befores, strict=True)]
    if not all(shared) or shared[0][-1] != shared[1][-1] or shared[0] == shared[1]:
        return None
    return len(shared[0]) - 1, len(shared[1]) - 1


def first_difference(right: Ids, wrong: Ids) -> tuple[int, int]:
    """The first position at which two texts differ; where one goes on from the other, its end."""
    shared = len(common_prefix([right, wrong]))
    return min(shared, len(right) - 1), min(shared, len(wrong) - 1)


def _texts_of_pair(prompter: Prompter, pair: Pair, position: ReadPosition) -> PairTexts | None:
    """The texts of a pair; None where there is nothing to read."""
    sides = pair.positive, pair.negative
    if position == "last_prompt_token":
        prompts = ([prompter.instructed(t).ids(pair.question) for t in side] for side in sides)
        right, wrong = (tuple(map(_prompt, side)) for side in prompts)
        return PairTexts(pair.id, right, wrong)
    if position == "blank_lines":
        return _thoughts_of_pair(prompter, pair)
    responses = [[prompter.response(text) for text in side] for side in sides]
    wholes = [[prompter.with_response(pair.question, text) for text in side] for side in responses]
    if position in ("last_token", "response_mean"):
        text_of = _whole if position == "response_mean" else _last
        right, wrong = (tuple(text_of(*each) for each in side) for side in wholes)
        return PairTexts(pair.id, right, wrong)
    # What is left are positions in two texts that differ in digits.
    [right_whole], [wrong_whole] = wholes
    [one], [other] = responses
    reads = (
        first_difference(right_whole[0], wrong_whole[0])
        if position == "first_difference"
        else before_last_number(prompter, pair.question, one, other)
    )
    if reads is None:
        return None
    right, wrong = (
        (_read_at(*each, read),)
        for each, read in zip((right_whole, wrong_whole), reads, strict=True)
    )
    return PairTexts(pair.id, right, wrong)


def _thoughts_of_pair(prompter: Prompter, pair: Pair) -> PairTexts | None:
    """The solutions of a question, each once for every kind of thoughts that it holds."""
    found: dict[Thought, list[Text]] = {kind: [] for kind in THOUGHTS}
    for text in pair.positive:
        ids, response = prompter.with_response(pair.question, prompter.response(text))
        for kind, starts in thought_starts(prompter.tokenizer, ids, response).items():
            read = (starts[0], starts[-1] + 1)
            one = replace(_whole(ids, response), read=read, thoughts=starts, group=kind)
            found[kind].append(one)
    others = (*found["reflection"], *found["transition"])
    if not found["execution"] or not others:
        return None
    return PairTexts(pair.id, tuple(found["execution"]), others)


def _prompt(ids: Ids) -> Text:
    """A prompt that is read at its end, where steering starts."""
    last = (len(ids) - 1, len(ids))
    return Text(ids, last, last)


def _last(ids: Ids, response: int) -> Text:
    return _read_at(ids, response, len(ids) - 1)


def _read_at(ids: Ids, response: int, position: int) -> Text:
    """A text that is read at one token."""
    return replace(_whole(ids, response), read=(position, position + 1))


def _whole(ids: Ids, response: int) -> Text:
    """A text whose response is read, from its first token on."""
    end = len(ids)
    response = min(response, end - 1)
    return Text(ids, (response, end), (max(response - 1, 0), end))
