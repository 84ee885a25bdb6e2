"""How many answers change without any steering, because sums are rounded otherwise.

What a step computes together decides how its sums are split up, and so their last bits. Where two
tokens are almost equally likely, a last bit decides between them, and the text goes another way.
"""

from collections.abc import Callable, Sequence
from typing import Any

from snakesteer.engine.interface import Engine
from snakesteer.engine.open import settled
from snakesteer.engine.select import engine_record, halve
from snakesteer.evaluation.answers import Answer

AGAIN_AT_MOST = 100  # of the validation split, from its beginning, so that large ones cost no more


def noise_floor(
    engine: Engine, baseline: Sequence[Answer], again: Callable[[], Sequence[Answer]]
) -> dict[str, Any] | None:
    """Compare unsteered answers with those of the same engine at half as many slots.

    Args:
        engine: That of the baseline, whose record has been taken: it keeps the other number.
        baseline: Its unsteered answers.
        again: Answers the same problems, or the first of them, once more.

    Returns:
        ``setting`` in words, ``n`` answers compared, ``texts_changed``, and how many became right
        (``gained``) and wrong (``lost``). None where the engine cannot do with fewer slots, or the
        reference engine with smaller batches.
    """
    before = engine_record(engine)
    if not halve(engine):
        return None
    answers = settled(engine, again)
    after = engine_record(engine)
    pairs = list(zip(baseline, answers, strict=False))  # the first of them
    return {
        "setting": f"{after['slots']} slots instead of {before['slots']}"
        if "slots" in after
        else f"batches of {after['batch_size']} instead of {before['batch_size']}",
        "texts_changed": sum(one.text != other.text for one, other in pairs),
        "gained": sum(other.correct > one.correct for one, other in pairs),
        "lost": sum(other.correct < one.correct for one, other in pairs),
        "n": len(pairs),
    }
