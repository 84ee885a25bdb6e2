"""What the tokens that were read predict of activations, and activations without that part.

A token's effect is what its occurrences add to the mean activation, right and wrong sides alike:
labels are not used. Of a side that is read at single tokens it is the token's mean; of spans it is
a ridge regression on the tokens' shares in the span. Effects that are applied to a side were always
estimated on other pairs, or a token that was read once would take its whole activation with it, and
one that stands on the right side alone would take the difference.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold

from snakesteer.records.files import atomic_path
from snakesteer.records.tensors import Array, read_tensors, write_tensors
from snakesteer.vectors.activations import Activations, read_activations

FOLDS = 5
# Weak enough to leave the mean of a single token what it is.
MEAN_PENALTY = 1e-6
# Of spans, whose shares are small numbers; the one that predicts other pairs best is taken.
SPAN_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)

Rows = NDArray[np.float64]  # one for each side of each pair, right sides first
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TokenEffects:
    """What tokens add to the mean activation of one layer.

    Attributes:
        tokens: ``[vocabulary]`` ids, ascending.
        effect: ``[vocabulary, hidden]`` float32.
    """

    tokens: tuple[int, ...]
    effect: Array

    def part(self, entries: NDArray[Any], pairs: int) -> tuple[Rows, Rows]:
        """What the tokens of right and wrong sides add, each ``[pairs, hidden]``.

        Args:
            entries: `TOKEN_ENTRY` records of the tokens that were read; one without an effect here
                adds nothing.
            pairs: Their number.
        """
        shares = token_shares(entries, pairs, self.tokens)
        right, wrong = np.split(shares @ self.effect.astype(np.float64), 2)
        return right, wrong


def token_effects(activations: Activations) -> TokenEffects:
    """The effects of all tokens that were read, to be applied to other pairs.

    Args:
        activations: Of the train pairs.
    """
    tokens, shares, outputs = _examples_of(activations)
    effect = _fit(shares, outputs, _penalty(shares, outputs))
    return TokenEffects(tokens, effect.astype(np.float32))


def crossed_part(activations: Activations) -> tuple[Rows, Rows]:
    """What the tokens of right and wrong sides add, by effects estimated on other pairs.

    Every fifth of the pairs is predicted by the other four.

    Returns:
        For right and for wrong sides, ``[pairs, hidden]``.
    """
    _, shares, outputs = _examples_of(activations)
    penalty = _penalty(shares, outputs)
    part = np.empty_like(outputs)
    for fitted, held_out in _folds(len(outputs)):
        part[held_out] = shares[held_out] @ _fit(shares[fitted], outputs[fitted], penalty)
    right, wrong = np.split(part, 2)
    return right, wrong


def without_part(activations: Activations, part: tuple[Rows, Rows]) -> Activations:
    """Activations less what their tokens add; the mean over all sides stays about where it was."""
    right, wrong = part
    return replace(
        activations,
        positive=(activations.positive - right).astype(np.float32),
        negative=(activations.negative - wrong).astype(np.float32),
    )


def token_shares(entries: NDArray[Any], pairs: int, tokens: Sequence[int]) -> Rows:
    """The share of each token in what was read of each side, ``[2 · pairs, vocabulary]``.

    Args:
        entries: `TOKEN_ENTRY` records.
        pairs: Their number.
        tokens: The vocabulary, ascending; others are passed over.
    """
    known = entries[np.isin(entries["token"], tokens)]
    shares = np.zeros((2 * pairs, len(tokens)))
    rows = known["side"] * pairs + known["pair"]
    shares[rows, np.searchsorted(tokens, known["token"])] = known["share"]
    return shares


def _examples_of(activations: Activations) -> tuple[tuple[int, ...], Rows, Rows]:
    """All tokens that were read, their shares, and the activations ``[2 · pairs, hidden]``."""
    tokens = tuple(np.unique(activations.tokens["token"]).tolist())
    shares = token_shares(activations.tokens, len(activations.ids), tokens)
    outputs = np.concatenate([activations.positive, activations.negative]).astype(np.float64)
    return tokens, shares, outputs


def _fit(shares: Rows, outputs: Rows, penalty: float) -> Rows:
    """Effects ``[vocabulary, hidden]``; 0 for a token that these sides lack."""
    model = Ridge(alpha=penalty, fit_intercept=False)
    model.fit(shares, outputs - outputs.mean(axis=0))
    effects: Rows = model.coef_.T
    return effects


def _penalty(shares: Rows, outputs: Rows) -> float:
    """How strongly effects are drawn towards 0."""
    if (shares.max(axis=1) == 1.0).all():
        return MEAN_PENALTY

    def error(penalty: float) -> float:
        total = 0.0
        for fitted, held_out in _folds(len(outputs)):
            predicted = shares[held_out] @ _fit(shares[fitted], outputs[fitted], penalty)
            wanted = outputs[held_out] - outputs[fitted].mean(axis=0)
            total += float(np.square(wanted - predicted).sum())
        return total

    return min(SPAN_PENALTIES, key=error)


def _folds(rows: int) -> Iterator[tuple[Indices, Indices]]:
    """Rows to fit and rows held out; both sides of a pair are always in one part."""
    pairs = rows // 2
    folds = KFold(min(FOLDS, pairs), shuffle=True, random_state=0)
    for fitted, held_out in folds.split(np.arange(pairs)):
        yield tuple(np.concatenate([part, pairs + part]) for part in (fitted, held_out))  # type: ignore[misc]


def remove_token_means(
    train: str | Path,
    val: str | Path,
    new_train: str | Path,
    new_val: str | Path,
    effects: str | Path | None = None,
) -> None:
    """Write the activation files of a layer anew, without what their tokens add.

    Train pairs are predicted by one another (`crossed_part`), validation pairs by all train pairs:
    a probe that is made on train meets new questions in this way, too.

    Args:
        train: Activations of the train pairs.
        val: Those of the validation pairs.
        new_train: Written.
        new_val: Written.
        effects: Written, if given: what was taken off validation pairs.
    """
    own, unseen = read_activations(train), read_activations(val)
    found = token_effects(own)
    for path, source, activations, part in (
        (new_train, train, own, crossed_part(own)),
        (new_val, val, unseen, found.part(unseen.tokens, len(unseen.ids))),
    ):
        _write_like(path, source, without_part(activations, part))
    if effects is not None:
        header = {**own.attributes, "tokens": found.tokens}
        write_tensors(effects, {"effect": found.effect}, header)


def _write_like(path: str | Path, source: str | Path, activations: Activations) -> None:
    """A copy of an activation file with other activations."""
    with atomic_path(path) as temporary:
        shutil.copyfile(source, temporary)
        with h5py.File(temporary, "r+", libver="v110") as file:
            for name in ("positive", "negative"):
                file[name][:] = getattr(activations, name)


def read_token_effects(path: str | Path) -> TokenEffects:
    """Read effects.

    Raises:
        UserError: The file is missing, damaged, or something else.
    """
    tensors, header = read_tensors(path, "effect")
    return TokenEffects(tuple(header["tokens"]), tensors["effect"])
