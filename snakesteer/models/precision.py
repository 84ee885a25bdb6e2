"""What rounding does to logits: a model that computes in float32, and a distance between logits.

A model in reduced precision has an error of its own: the distance of its logits from those that the
same weights give in float32. Another way to compute the same thing may be about as far from these
as the model itself is, and no further.
"""

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from snakesteer.models.loading import LoadedModel

# Relative error of logits for which rounding is no excuse in float32: it makes some 1e-6.
FLOAT32_BOUND = 1e-4
# How many times the model's own error another computation may have in reduced precision.
OWN_ERRORS = 3.0

_KEPT_BYTES = 2**30  # of converted weights, which stay converted: small models fit as a whole


def is_quantised(loaded: LoadedModel) -> bool:
    """Whether a model computes with quantised weights; GGUF files are unpacked when read."""
    return getattr(loaded.model, "quantization_method", None) not in (None, "gguf")


def is_float32(loaded: LoadedModel) -> bool:
    """Whether a model computes in float32, with weights that are not quantised."""
    return loaded.dtype == torch.float32 and not is_quantised(loaded)


def converts(loaded: LoadedModel) -> bool:
    """Whether `in_float32` can run a model: its weights are plain numbers, and are there."""
    offloaded = any(parameter.is_meta for parameter in loaded.model.parameters())
    return not is_quantised(loaded) and not offloaded


@contextmanager
def in_float32(loaded: LoadedModel) -> Iterator[LoadedModel]:
    """The same model with float32 weights and activations, while the context is open.

    Weights are converted when their block runs, and most are given back behind it, so that a large
    model needs little more memory than one of its blocks does. The tensors that the model holds are
    the same ones afterwards.

    Args:
        loaded: A model that `converts`.
    """
    if loaded.dtype == torch.float32:
        yield loaded
        return
    inside = {module for block in loaded.blocks for module in block.modules()}
    units = [_Unit([*block.modules()]) for block in loaded.blocks]
    others = [module for module in loaded.model.modules() if module not in inside]
    units += [_Unit([module]) for module in others]
    room = _KEPT_BYTES
    with ExitStack() as stack:
        for unit in units:
            if not unit.bytes:
                continue
            keep = unit.bytes <= room
            room -= unit.bytes if keep else 0
            stack.callback(unit.restore)
            module = unit.modules[0]
            for handle in (
                module.register_forward_pre_hook(unit.before),
                module.register_forward_hook(_nothing if keep else unit.after, always_call=True),
            ):
                stack.callback(handle.remove)
        yield dataclasses.replace(loaded, dtype=torch.float32)


def logits_error(found: Tensor, wanted: Tensor) -> float:
    """How far logits are off: the largest relative distance of a row, NaN where there is a NaN.

    What is common to all logits of a row changes no probability, and does not count.

    Args:
        found: ``[rows, vocab]``.
        wanted: Likewise.
    """
    ruled_out = wanted.isneginf()
    if not torch.equal(found.isneginf(), ruled_out):
        return torch.inf
    found, wanted = (_centred(logits.float(), ruled_out) for logits in (found, wanted))
    off = (found - wanted).norm(dim=-1)
    relative = off / wanted.norm(dim=-1)
    return float(torch.where(off == 0.0, 0.0, relative).max())  # 0 of 0 is not off


def _centred(logits: Tensor, ruled_out: Tensor) -> Tensor:
    logits = logits.masked_fill(ruled_out, 0.0)
    return (logits - logits.mean(dim=-1, keepdim=True)).masked_fill(ruled_out, 0.0)


class _Unit:
    """Weights and buffers that are converted together, when the first of their modules runs."""

    def __init__(self, modules: list[nn.Module]) -> None:
        self.modules = modules
        self.held = [
            (module, name, tensor)
            for module in modules
            for name, tensor in (
                *module.named_parameters(recurse=False),
                *module.named_buffers(recurse=False),
            )
            if tensor.dtype in (torch.float16, torch.bfloat16)
        ]
        self.bytes = sum(4 * tensor.numel() for _, _, tensor in self.held)
        self.converted = False

    def before(self, *_call: Any) -> None:
        if self.converted:
            return
        self.converted = True
        for module, name, tensor in self.held:
            wide = tensor.float()
            parameter = isinstance(tensor, nn.Parameter)
            setattr(module, name, nn.Parameter(wide, requires_grad=False) if parameter else wide)

    def after(self, *_call: Any) -> None:
        self.restore()

    def restore(self) -> None:
        if self.converted:
            self.converted = False
            for module, name, tensor in self.held:
                setattr(module, name, tensor)


def _nothing(*_call: Any) -> None:
    """Leaves a unit converted."""
