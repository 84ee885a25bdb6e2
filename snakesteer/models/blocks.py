"""Where the residual stream can be read and changed: the decoder blocks.

Layers are counted from 0, and "the output of layer L" is the residual stream after block L. In
HuggingFace's ``hidden_states`` that is entry L+1 (entry 0 holds the embeddings), except for the
last block, whose entry is taken after the final norm. Everything here hooks the blocks themselves,
so that offset appears in `hidden_states_index` alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from snakesteer.errors import UserError

# Reads activations ``[batch, seq, width]``; what it returns replaces them, None leaves them.
Callback = Callable[[Tensor], Tensor | None]


@dataclass(frozen=True)
class ActivationKind:
    """A kind of activation that every layer has.

    Attributes:
        tensor: What it is, in words.
        width: Of one position's activation.
        hooked: Layer → function of ``[batch, seq, width]`` in; a context out, in which the function
            is called with the layer's activations.
    """

    tensor: str
    width: int
    hooked: Callable[[Mapping[int, Callback]], AbstractContextManager[None]]


def num_layers(config: Any) -> int:
    """The number of decoder blocks that a HuggingFace config states.

    Raises:
        UserError: It states none, or has parts of which several read texts.
    """
    try:
        return int(config.get_text_config().num_hidden_layers)
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"The config of the model (kind {config.model_type!r}) does not say how many decoder "
            "blocks it has",
            "Use a decoder-only causal LM with one stack of blocks.",
        ) from error


def of_layers(config: Any, name: str) -> set[Any]:
    """The values that a setting of a HuggingFace config has in its layers; empty without any.

    Reading one that differs between layers (Gemma 4's ``head_dim``) is an error in transformers.
    """
    layers = config.per_layer_config if getattr(config, "is_heterogeneous", False) else [config]
    return {getattr(layer, name, None) for layer in layers} - {None}


def hidden_states_index(layer: int) -> int:
    """The entry of ``output_hidden_states`` that holds the output of a block (not the last)."""
    return layer + 1


def decoder_blocks(model: nn.Module) -> list[nn.Module]:
    """The model's decoder blocks in order.

    They are the outermost ``nn.ModuleList`` with as many members as the config has layers.

    Args:
        model: A HuggingFace causal LM.

    Raises:
        UserError: No such list, or several on the same level.
    """
    return blocks_of_depth(model, num_layers(model.config))


def blocks_of_depth(model: nn.Module, depth: int) -> list[nn.Module]:
    """The decoder blocks of any model that keeps so many of them in one list.

    Args:
        model: Of HuggingFace, or of another library.
        depth: Number of blocks.

    Raises:
        UserError: No such list, or several on the same level.
    """
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth
    ]
    outermost = min((name.count(".") for name, _ in lists), default=0)
    found = [module for name, module in lists if name.count(".") == outermost]
    if len(found) != 1:
        names = ", ".join(name for name, _ in lists) or "none"
        raise UserError(
            f"Cannot tell which modules of {type(model).__name__} are its {depth} decoder blocks "
            f"(lists of that length: {names})",
            "Use a decoder-only causal LM with one stack of blocks.",
        )
    return list(found[0])


def block_output(output: Any) -> Tensor:
    """The residual stream in what a block returned: a tensor, or a sequence that starts with it."""
    return output[0] if isinstance(output, tuple | list) else output


def replace_block_output(output: Any, hidden: Tensor) -> Any:
    """What the block returned, in the same form, with another residual stream."""
    return type(output)([hidden, *output[1:]]) if isinstance(output, tuple | list) else hidden


def on_block_outputs(
    blocks: list[nn.Module], callbacks: Mapping[int, Callback]
) -> AbstractContextManager[None]:
    """Call a function on the output of some blocks while the context is open.

    Args:
        blocks: All decoder blocks.
        callbacks: Layer → function of the residual stream ``[batch, seq, hidden]``. A returned
            tensor replaces the output; None leaves it. The input must not be edited in place.

    Raises:
        UserError: A layer that the model lacks, or a block that never ran (steering that silently
            does nothing would look like a result).
    """

    def hook(module: nn.Module, callback: Callback) -> RemovableHandle:
        def call(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            hidden = callback(block_output(output))
            return None if hidden is None else replace_block_output(output, hidden)

        return module.register_forward_hook(call)

    return on_layers(blocks, callbacks, hook)


@contextmanager
def blocks_computing(
    blocks: list[nn.Module], computing: Mapping[int, Callable[..., Any]]
) -> Iterator[None]:
    """Let some blocks compute something else while the context is open; hooks stay as they are.

    Args:
        blocks: All decoder blocks.
        computing: Layer → what stands in for the block's ``forward``, with the same arguments.
    """
    before = {layer: blocks[layer].__dict__.get("forward") for layer in computing}
    for layer, forward in computing.items():
        blocks[layer].__dict__["forward"] = forward
    try:
        yield
    finally:
        for layer, own in before.items():
            if own is None:
                del blocks[layer].__dict__["forward"]
            else:
                blocks[layer].__dict__["forward"] = own


@contextmanager
def blocks_up_to(blocks: list[nn.Module], last: int) -> Iterator[None]:
    """Let the blocks above one pass on what they get while the context is open, at no cost.

    Args:
        blocks: All decoder blocks.
        last: 0-based; this block and those below compute as ever.
    """
    forms: list[Any] = []  # what a block returns, as the last one that computes returned it

    def passing(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        return replace_block_output(forms[-1], hidden_states)

    handle = blocks[last].register_forward_hook(lambda module, inputs, out: forms.append(out))
    try:
        with blocks_computing(blocks, dict.fromkeys(range(last + 1, len(blocks)), passing)):
            yield
    finally:
        handle.remove()


@contextmanager
def on_layers(
    modules: list[nn.Module],
    callbacks: Mapping[int, Callback],
    hook: Callable[[nn.Module, Callback], RemovableHandle],
) -> Iterator[None]:
    """Hook one module per layer while the context is open.

    Args:
        modules: One per layer.
        callbacks: Layer → what `hook` calls.
        hook: Hooks a module so that it calls a function.

    Raises:
        UserError: As in `on_block_outputs`.
    """
    check_layers(callbacks, len(modules))
    ran: set[int] = set()

    def noting(layer: int) -> Callback:
        def call(hidden: Tensor) -> Tensor | None:
            ran.add(layer)
            return callbacks[layer](hidden)

        return call

    handles = [hook(modules[layer], noting(layer)) for layer in callbacks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    silent = sorted(set(callbacks) - ran)
    if silent:
        raise UserError(
            f"The hook on layer {silent[0]} never ran, so nothing was steered or read there",
            "This architecture does not call its blocks as modules; use another model.",
        )


def check_layers(layers: Iterable[int], count: int) -> None:
    """Refuse layers that a model of so many layers lacks.

    Raises:
        UserError: Names the first of them.
    """
    missing = [layer for layer in layers if not 0 <= layer < count]
    if missing:
        raise UserError(
            f"There is no hook point for layer {missing[0]}: the model has {count} layers "
            f"(0 to {count - 1})",
            "Choose steering.layers within the model.",
        )


def residual_norms(hidden: Tensor) -> Tensor:
    """Euclidean norm of every position: ``[batch, seq, hidden]`` → ``[batch, seq]`` float32."""
    return torch.linalg.vector_norm(hidden.float(), dim=-1)
