"""What a vLLM worker saw, as a watch of an engine has it."""

from collections.abc import Mapping

from snakesteer.engine.vllm.worker import Sight
from snakesteer.engine.watch import Pass, Watch


def show(watch: Watch, seen: Mapping[int, Sight]) -> None:
    """Tell a watch what was seen.

    Args:
        watch: Who looks on; its sites are all blocks' outputs, or none.
        seen: By ticket. Requests are numbered on from those that the watch has.
    """
    first = len(watch.logits)
    for index, ticket in enumerate(sorted(seen)):
        sight = seen[ticket]
        watch.logits[first + index] = {"real": sight.logits}
        watch.oddities |= sight.oddities
        for chooses, (start, ids, before, held, after) in zip(
            sight.chooses, sight.passes, strict=False
        ):
            watch.passes.append(Pass("real", start, chooses, ids, before, held, after))
