"""Activations with known statistics."""

import numpy as np

from snakesteer.vectors.activations import TOKEN_ENTRY, Activations


def one_token_each(read):
    """The records of single tokens that were read: ``[pairs, 2]`` ids."""
    entries = [(pair, side, token, 1.0) for (pair, side), token in np.ndenumerate(read)]
    return np.array(entries, dtype=TOKEN_ENTRY)


def activations(pairs=40, hidden=8, gap=1.5, seed=0, layer=3):
    """Two noisy classes ``gap`` apart along the first axes, features of very different scale."""
    draw = np.random.default_rng(seed)
    scale = np.logspace(-1, 1, hidden)
    base = draw.normal(size=(pairs, hidden))
    shift = gap * np.linspace(1, 0, hidden)
    positive = (base + shift + draw.normal(size=base.shape)) * scale + 3.0
    negative = (base - shift + draw.normal(size=base.shape)) * scale + 3.0
    return Activations(
        ids=tuple(f"p{index}" for index in range(pairs)),
        positive=positive.astype(np.float32),
        negative=negative.astype(np.float32),
        residual_norm=draw.uniform(5, 15, size=(pairs, 2)).astype(np.float32),
        residual_mean=np.concatenate([positive, negative]).mean(axis=0).astype(np.float32) - 1.0,
        tokens=one_token_each(np.arange(2 * pairs).reshape(pairs, 2) % 7),
        attributes={"layer": layer, "model": "tiny", "commit": ""},
    )
