"""Activations of contrast pairs: one forward pass per text, all wanted layers at once, into HDF5.

What is read is the block output (0-based layers, the last one before the final norm). Each layer
has a file of its own: datasets ``positive`` and ``negative`` (``[pairs, hidden]`` float32, gzip;
where a side has several texts, their mean), ``residual_norm`` (``[pairs, 2]`` float32: mean norm of
the residual stream from the last prompt token on, for the right and the wrong side),
``residual_mean`` (``[hidden]`` float32: the residual stream at those positions, averaged over each
text, each side and then over all sides), ``tokens`` (which tokens were read, `TOKEN_ENTRY`) and
``id``; of thoughts also ``groups/{kind}`` (``[hidden]`` float32: the mean of all thoughts of a
kind, with their ``count``). Attributes say where the numbers come from.
"""

import copy
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm
from transformers import DynamicCache

from snakesteer.data.prompts import Prompter, common_prefix
from snakesteer.errors import UserError
from snakesteer.models.arguments import cache_argument, takes
from snakesteer.models.blocks import (
    ActivationKind,
    blocks_up_to,
    on_block_outputs,
    residual_norms,
)
from snakesteer.models.loading import LoadedModel, check_ids
from snakesteer.records.files import atomic_path, read_json
from snakesteer.vectors.activations import TOKEN_ENTRY
from snakesteer.vectors.reads import PairTexts, Text

TOKENS_PER_BATCH = 4096
SIDES = ("positive", "negative")


class Reading(NamedTuple):
    """What was read of a batch of texts at one layer; float32 on the CPU.

    Attributes:
        activation: ``[batch, hidden]`` mean activation over the read span.
        residual_norm: ``[batch]`` mean residual norm over the steered span.
        residual_mean: ``[batch, hidden]`` mean residual stream over the steered span.
    """

    activation: Tensor
    residual_norm: Tensor
    residual_mean: Tensor


def token_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices grouped by length so that no padded batch exceeds a budget of tokens.

    Args:
        lengths: Tokens of each text.
        budget: Rows × longest row of a batch; a single longer text makes a batch of its own.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if batches and (len(batches[-1]) + 1) * lengths[index] <= budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def block_outputs(loaded: LoadedModel) -> ActivationKind:
    """The residual stream behind every block."""
    width = loaded.model.config.get_text_config().hidden_size
    return ActivationKind("block output", width, partial(on_block_outputs, loaded.blocks))


@torch.inference_mode()
def capture(
    loaded: LoadedModel,
    texts: Sequence[Text],
    layers: Sequence[int],
    budget: int = TOKENS_PER_BATCH,
    progress: bool = False,
    site: ActivationKind | None = None,
) -> Iterator[tuple[list[int], dict[int, Reading]]]:
    """Read block outputs batch by batch; memory does not grow with the number of texts.

    Args:
        loaded: The model.
        texts: What to read.
        layers: 0-based layers.
        budget: Tokens in one padded batch.
        progress: Show a progress bar on the terminal.
        site: What is read; block outputs if None.

    Yields:
        Indices of the texts of a batch, and what was read of them at each layer.

    Raises:
        UserError: A text that is longer than the model's context, or has tokens that the model
            does not know.
    """
    site = site or block_outputs(loaded)
    for batch, ids, start, cache in _batches(loaded, texts, max(layers), budget, progress):
        chosen = [texts[index] for index in batch]
        read = _weights([text.positions for text in chosen], start, ids.shape[1])
        spans = [range(*text.steered) for text in chosen]
        steered = _weights(spans, start, ids.shape[1])
        found: dict[int, Reading] = {}

        def reader(
            layer: int,
            read: Tensor = read,
            steered: Tensor = steered,
            found: dict[int, Reading] = found,
        ) -> Any:
            def keep(hidden: Tensor) -> None:
                stream, where = hidden.float(), steered.to(hidden.device)
                activation = torch.einsum("bth,bt->bh", stream, read.to(hidden.device))
                norm = (residual_norms(hidden) * where).sum(dim=-1)
                mean = torch.einsum("bth,bt->bh", stream, where)
                found[layer] = Reading(activation.cpu(), norm.cpu(), mean.cpu())

            return keep

        with site.hooked({layer: reader(layer) for layer in layers}):
            _run_blocks(loaded, ids, cache, start, max(layers))
        yield batch, found


@torch.inference_mode()
def capture_positions(
    loaded: LoadedModel, texts: Sequence[Text], layers: Sequence[int], progress: bool = False
) -> Iterator[tuple[int, dict[int, Tensor]]]:
    """Read block outputs, position by position in place of their mean: see `capture`.

    Yields:
        The index of each text, and ``[positions, hidden]`` float32 of its read span at each layer,
        on the CPU; those of similar length come together.
    """
    for batch, ids, start, cache in _batches(
        loaded, texts, max(layers), TOKENS_PER_BATCH, progress
    ):
        found: dict[int, Tensor] = {}
        keeping = {layer: partial(_keep, found, layer) for layer in layers}
        with on_block_outputs(loaded.blocks, keeping):
            _run_blocks(loaded, ids, cache, start, max(layers))
        for row, index in enumerate(batch):
            first, end = (position - start for position in texts[index].read)
            yield index, {layer: one[row, first:end].float().cpu() for layer, one in found.items()}


def _keep(found: dict[int, Tensor], layer: int, hidden: Tensor) -> None:
    found[layer] = hidden


def _batches(
    loaded: LoadedModel, texts: Sequence[Text], last: int, budget: int, progress: bool
) -> Iterator[tuple[list[int], Tensor, int, DynamicCache | None]]:
    """Texts in padded batches: indices, ids ``[batch, new]``, and what they start with."""
    longest_text = max((len(text.token_ids) for text in texts), default=0)
    if loaded.context is not None and longest_text > loaded.context:
        raise UserError(
            f"A prompt with its solution has {longest_text} tokens and does not fit into the "
            f"model's context of {loaded.context}",
            "Lower prompt.shots.",
        )
    check_ids(loaded, (text.token_ids for text in texts))
    prefix, cache = _common_start(loaded, texts, last)
    batches = token_batches([len(text.token_ids) - len(prefix) for text in texts], budget)
    for batch in tqdm(batches, unit="batch", disable=None if progress else True, leave=False):
        owns = [texts[index].token_ids[len(prefix) :] for index in batch]
        ids = torch.full((len(batch), max(map(len, owns))), loaded.pad_id)
        for row, own in enumerate(owns):
            ids[row, : len(own)] = torch.tensor(own)
        yield batch, ids, len(prefix), cache


def _common_start(
    loaded: LoadedModel, texts: Sequence[Text], last: int
) -> tuple[tuple[int, ...], DynamicCache | None]:
    """Tokens that all texts start with, and their keys and values, computed once for all.

    They end before anything is read: they are the few-shot examples. Nothing and None for a single
    text, or where a model keeps no keys and values.
    """
    first_read = min((min(text.read[0], text.steered[0]) for text in texts), default=0)
    prefix = common_prefix(text.token_ids for text in texts)[:first_read]
    if len(texts) < 2 or not prefix:
        return (), None
    cache = DynamicCache(config=loaded.model.config)
    _run_blocks(loaded, torch.tensor([prefix]), cache, 0, last)
    return (prefix, cache) if cache.get_seq_length() == len(prefix) else ((), None)


def _run_blocks(
    loaded: LoadedModel, ids: Tensor, cache: DynamicCache | None, start: int, last: int
) -> None:
    """Run the stack of blocks alone: logits of every position would be the largest tensor here.

    Nothing is computed above the last block that is read.

    Args:
        loaded: The model.
        ids: ``[batch, new]``, padded on the right. Causal attention never looks there, so nothing
            is masked: that would leave padding with nothing to see in a sliding window, and NaN in
            some models.
        cache: Keys and values of a common start, extended if `start` is 0 and else left as it is.
        start: Tokens in the cache.
        last: 0-based.
    """
    blocks = loaded.model.base_model
    if cache is not None and start > 0:
        cache = copy.deepcopy(cache)
        cache.batch_repeat_interleave(ids.shape[0])
    arguments: dict[str, Any] = {"use_cache": False}
    if cache is not None:
        arguments = {"use_cache": True, cache_argument(blocks): cache}
    if takes(blocks, "position_ids"):
        positions = torch.arange(start, start + ids.shape[1], device=loaded.device)
        arguments["position_ids"] = positions.expand(ids.shape)
    with blocks_up_to(loaded.blocks, min(last, len(loaded.blocks) - 1)):
        blocks(
            input_ids=ids.to(loaded.device),
            attention_mask=torch.ones(ids.shape[0], start + ids.shape[1]).long().to(loaded.device),
            **arguments,
        )


def _weights(chosen: Sequence[Sequence[int]], offset: int, length: int) -> Tensor:
    """Averaging weights ``[batch, length]``: 1/n at the n chosen positions of a text, else 0.

    Args:
        chosen: Positions in the texts.
        offset: Position of the first column.
        length: Number of columns.
    """
    weights = torch.zeros(len(chosen), length)
    for row, positions in enumerate(chosen):
        weights[row, torch.tensor(positions) - offset] = 1.0 / len(positions)
    return weights


def write_activations(
    folder: str | Path,
    loaded: LoadedModel,
    pairs: Sequence[PairTexts],
    layers: Sequence[int],
    attributes: Mapping[str, str | int | float],
    progress: bool = False,
    site: ActivationKind | None = None,
) -> None:
    """Capture all layers of all pairs and write one HDF5 file per layer, atomically.

    Args:
        folder: Gets ``layer_{L}.h5`` for every layer.
        loaded: The model.
        pairs: The texts of every pair; those of a side are averaged, by their weights. The means
            of groups are over all texts of all pairs.
        layers: 0-based layers.
        attributes: Provenance, kept in every file beside the layer.
        progress: Show a progress bar on the terminal.
        site: What is read; block outputs if None. What files and `Reading` say of the residual
            stream then holds for the site's activations.

    Raises:
        UserError: An activation is not finite.
    """
    texts = [text for pair in pairs for text in pair.texts]
    places = [place for number, pair in enumerate(pairs) for place in _places(number, pair)]
    tokens = read_tokens(pairs)
    site = site or block_outputs(loaded)
    width = site.width
    with ExitStack() as stack:
        files = {}
        for layer in layers:
            path = stack.enter_context(atomic_path(Path(folder) / f"layer_{layer}.h5"))
            # With checksums on everything, HDF5 refuses a damaged file; without, it may crash or
            # hang. They leave out texts of variable length, so that there are none here.
            file = stack.enter_context(h5py.File(path, "w", libver="v110"))
            for key, value in {**attributes, "layer": layer, "tensor": site.tensor}.items():
                file.attrs[key] = _fixed_length(value) if isinstance(value, str) else value
            names = np.array([pair.id.encode() for pair in pairs])
            file.create_dataset("id", data=names, fletcher32=True)
            file.create_dataset("tokens", data=tokens, fletcher32=True)
            for name in SIDES:
                shape, chunk = (len(pairs), width), (1, width)
                file.create_dataset(
                    name, shape, "f4", chunks=chunk, compression="gzip", fletcher32=True
                )
            file.create_dataset("residual_norm", (len(pairs), 2), "f4", fletcher32=True)
            files[layer] = file
        totals = {layer: torch.zeros(width, dtype=torch.float64) for layer in layers}
        counts: Counter[str] = Counter()
        for text in texts:
            if text.group:
                counts[text.group] += text.weight
        groups = {
            layer: {group: torch.zeros(width, dtype=torch.float64) for group in counts}
            for layer in layers
        }
        for batch, found in capture(loaded, texts, layers, progress=progress, site=site):
            for layer, reading in found.items():
                _check_finite(reading, layer)
                for index, activation, norm, mean in zip(batch, *reading, strict=True):
                    pair, side, share = places[index]
                    files[layer][SIDES[side]][pair] += share * activation.numpy()
                    files[layer]["residual_norm"][pair, side] += share * float(norm)
                    totals[layer] += share * mean.double()
                    if group := texts[index].group:
                        groups[layer][group] += texts[index].weight * activation.double()
        for layer, file in files.items():
            mean = (totals[layer] / (2 * len(pairs))).float().numpy()
            file.create_dataset("residual_mean", data=mean, fletcher32=True)
            for group, total in groups[layer].items():
                own = (total / counts[group]).float().numpy()
                data = file.create_dataset(f"groups/{group}", data=own, fletcher32=True)
                data.attrs["count"] = counts[group]


def read_tokens(pairs: Sequence[PairTexts]) -> NDArray[Any]:
    """Which tokens are read of each side, `TOKEN_ENTRY` records in the order of pairs and sides.

    The share of a token is its frequency in the read span, averaged over the texts of the side.
    """
    entries = []
    for number, pair in enumerate(pairs):
        for side, texts in enumerate((pair.positive, pair.negative)):
            shares: dict[int, float] = defaultdict(float)
            whole = sum(text.weight for text in texts)
            for text in texts:
                tokens = [text.token_ids[at] for at in text.positions]
                for token in tokens:
                    shares[token] += text.weight / (len(tokens) * whole)
            entries += [(number, side, token, share) for token, share in sorted(shares.items())]
    return np.array(entries, dtype=TOKEN_ENTRY)


def _places(number: int, pair: PairTexts) -> list[tuple[int, int, float]]:
    """For each text of a pair: the pair, the side, and the text's share in the side's mean."""
    return [
        (number, side, text.weight / sum(one.weight for one in texts))
        for side, texts in enumerate((pair.positive, pair.negative))
        for text in texts
    ]


def _fixed_length(text: str) -> NDArray[Any]:
    """A text as HDF5 keeps it in place."""
    content = text.encode()
    return np.array(content, dtype=h5py.string_dtype("utf-8", max(len(content), 1)))


def _check_finite(reading: Reading, layer: int) -> None:
    if not all(torch.isfinite(numbers).all() for numbers in reading):
        raise UserError(
            f"Activations of layer {layer} are not finite",
            "The dtype is too small for this model; try model.dtype: bfloat16 or float32.",
        )


def source_of(info: str | Path, loaded: LoadedModel, prompter: Prompter) -> dict[str, str]:
    """Where activations come from, for the files that hold them.

    Args:
        info: ``model/info.json``.
        loaded: The model that was read.
        prompter: Its prompts' format and examples.
    """
    found = read_json(info)
    return {
        "model": found["name"],
        "commit": found["commit"] or "",
        "dtype": str(loaded.dtype),
        "device": loaded.device.type,
        "template_sha256": prompter.fingerprint(),
    }
