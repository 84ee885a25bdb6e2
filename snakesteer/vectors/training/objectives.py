"""Losses of steering vectors on batches of lessons.

Every loss is a sum with a count behind it: their ratio is what is minimised and reported, and
batches of different sizes add up to the same as one large batch.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid

from snakesteer.vectors.training.lessons import Lesson
from snakesteer.vectors.training.reading import NOT_LEARNED, Batch, BatchReader

# Reader, numbers of the lessons, vectors ``[layers, hidden]`` → summed loss, and the count.
Loss = Callable[[BatchReader, Sequence[int], Tensor], tuple[Tensor, float]]


def numbered(lessons: Sequence[Lesson]) -> list[list[int]]:
    """Numbers of the examples of every lesson, among all examples in their order."""
    numbers: list[list[int]] = []
    count = 0
    for lesson in lessons:
        numbers.append([*range(count, count + len(lesson.examples))])
        count += len(lesson.examples)
    return numbers


def likelihood(lessons: Sequence[Lesson]) -> Loss:
    """Cross-entropy of what is to be said (nats per learned token, weighted by lesson)."""
    weights = torch.tensor([lesson.weight for lesson in lessons])

    def loss(reader: BatchReader, indices: Sequence[int], vectors: Tensor) -> tuple[Tensor, float]:
        batch = reader.batch(indices)
        weight = weights[list(indices)].to(batch.labels.device)
        learned = (batch.labels != NOT_LEARNED).sum(dim=1)
        said = log_likelihood(reader.logits(batch, vectors), batch)
        return -(weight * said).sum(), float((weight * learned).sum())

    return loss


def preference(lessons: Sequence[Lesson], beta: float) -> Loss:
    """BiPO: right answers gain over wrong ones under v, and lose under −v.

    Cao et al. 2024, "Personalized Steering of Large Language Models" (arXiv 2406.00045), equation
    2, with both directions in every step instead of one that is drawn. The first text of a lesson
    is the preferred one.

    Args:
        lessons: Two texts each.
        beta: Of the paper; how far the gain may grow.
    """
    numbers = numbered(lessons)
    weights = torch.tensor([lesson.weight for lesson in lessons])
    unsteered: dict[tuple[int, ...], Tensor] = {}

    def loss(reader: BatchReader, indices: Sequence[int], vectors: Tensor) -> tuple[Tensor, float]:
        key = tuple(number for index in indices for number in numbers[index])
        batch = reader.batch(key)
        if key not in unsteered:
            with torch.no_grad():
                unsteered[key] = log_likelihood(reader.logits(batch, None), batch)
        weight = weights[list(indices)].to(vectors.device)
        total = vectors.new_zeros(())
        for sign in (1.0, -1.0):
            said = log_likelihood(reader.logits(batch, sign * vectors), batch)
            gains = (said - unsteered[key]).unflatten(0, (-1, 2))  # [lessons, right and wrong]
            ahead = sign * beta * (gains[:, 0] - gains[:, 1])
            total = total - (weight * logsigmoid(ahead)).sum()
        return total, 2.0 * float(weight.sum())

    return loss


def log_likelihood(logits: Tensor, batch: Batch, temperature: float = 1.0) -> Tensor:
    """Log-probability of the learned tokens of every text, ``[rows]``, nats.

    Args:
        logits: ``[rows, columns, vocabulary]``.
        batch: Whose they are.
        temperature: At which tokens are drawn.
    """
    scaled = logits if temperature == 1.0 else logits / temperature
    flat = scaled.flatten(0, 1)  # [rows · columns, vocabulary]
    lost = cross_entropy(flat, batch.labels.flatten(), reduction="none", ignore_index=NOT_LEARNED)
    return -lost.unflatten(0, batch.labels.shape).sum(dim=1)  # [rows]


def divergence(steered: Tensor, unsteered: Tensor, batch: Batch, temperature: float) -> Tensor:
    """KL(steered ‖ unsteered) of the next token, summed over the learned tokens, nats.

    Args:
        steered: ``[rows, columns, vocabulary]`` logits.
        unsteered: The same without vectors.
        batch: Whose they are.
        temperature: At which tokens are drawn.
    """
    ours, theirs = (torch.log_softmax(x / temperature, dim=-1) for x in (steered, unsteered))
    each = (ours.exp() * (ours - theirs)).sum(dim=-1)  # [rows, columns]
    return each[batch.labels != NOT_LEARNED].sum()
