"""Where attention heads can be read and changed: the input of each block's output projection.

That is the heads' outputs side by side, ``[batch, seq, heads · head_dim]``, before the projection
mixes them. (In the DAC authors' repository the hook of GPT-2 and Pythia sits on the whole attention
module, so that it reads the normalised residual stream there; here it is the same tensor for every
architecture.)
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from snakesteer.errors import UserError
from snakesteer.models.blocks import (
    ActivationKind,
    Callback,
    decoder_blocks,
    of_layers,
    on_layers,
)

# Where a block keeps it; the shape is checked against the config.
PROJECTIONS = (
    "self_attn.o_proj",  # Llama, Qwen, Mistral, Mixtral, Gemma, SmolLM3, Phi-3, StableLM, OLMo …
    "attn.c_proj",  # GPT-2, GPT-BigCode
    "attn.attention.out_proj",  # GPT-Neo
    "attention.dense",  # GPT-NeoX
    "self_attn.dense",  # Phi
    "self_attn.out_proj",  # OPT
    "self_attention.dense",  # Falcon, BLOOM
    "attn.out_proj",  # GPT-J, CodeGen, MPT
)


@dataclass(frozen=True, eq=False)
class Heads:
    """A model's attention heads.

    Attributes:
        projections: The output projection of every block.
        number: Heads per block.
        head_dim: Width of one head's output.
    """

    projections: list[nn.Module]
    number: int
    head_dim: int

    @property
    def width(self) -> int:
        """Width of all heads of a block side by side."""
        return self.number * self.head_dim

    @property
    def site(self) -> ActivationKind:
        """All heads' outputs, as something to read."""
        return ActivationKind(
            "heads' outputs, before their projection", self.width, self.on_outputs
        )

    def on_outputs(self, callbacks: Mapping[int, Callback]) -> AbstractContextManager[None]:
        """Call a function on the heads' outputs of some layers while the context is open.

        Args:
            callbacks: Layer → function of ``[batch, seq, heads · head_dim]``. A returned tensor is
                projected instead; None leaves it. The input must not be edited in place.

        Raises:
            UserError: A layer that the model lacks, or a projection that never ran.
        """
        return on_layers(self.projections, callbacks, _hook_input)


def find_heads(model: nn.Module) -> Heads:
    """Find the attention heads of a model.

    Args:
        model: A HuggingFace causal LM.

    Raises:
        UserError: A model without attention heads, or with others in every layer; an architecture
            whose output projections are not known, or not of the shape that the config's heads
            have.
    """
    config: Any = model.config
    text = config.get_text_config()
    numbers, dims = (of_layers(text, name) for name in ("num_attention_heads", "head_dim"))
    if len(numbers) != 1 or len(dims) > 1:
        found = "differ from layer to layer" if numbers else "are not known: it may have none"
        raise UserError(
            f"The attention heads of {type(model).__name__} {found}",
            "Use a method that steers the residual stream (steering.methods: [caa, dac]).",
        )
    number = int(numbers.pop())
    head_dim = int(dims.pop()) if dims else text.hidden_size // number
    projections = [_projection(model, block) for block in decoder_blocks(model)]
    for layer, projection in enumerate(projections):
        width = _in_features(projection)
        if width != number * head_dim:
            raise UserError(
                f"The attention output projection of {type(model).__name__}, layer {layer}, reads "
                f"{width} numbers, but its config speaks of {number} heads of {head_dim}",
                "Use a method that steers the residual stream (steering.methods: [caa, dac]).",
            )
    return Heads(projections, number, head_dim)


def _projection(model: nn.Module, block: nn.Module) -> nn.Module:
    modules = dict(block.named_modules())
    found = next((modules[name] for name in PROJECTIONS if name in modules), None)
    if found is None:
        raise UserError(
            f"Cannot tell which module of {type(model).__name__} projects the outputs of its "
            f"attention heads (none of {', '.join(PROJECTIONS)} in a {type(block).__name__})",
            "Use a method that steers the residual stream (steering.methods: [caa, dac]).",
        )
    return found


def _in_features(projection: nn.Module) -> int:
    """Inputs of a linear layer; GPT-2's has them under another name."""
    return int(getattr(projection, "in_features", 0) or getattr(projection, "nx", 0))


def _hook_input(module: nn.Module, callback: Callback) -> RemovableHandle:
    def call(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        outputs = callback(inputs[0])
        return None if outputs is None else (outputs, *inputs[1:])

    return module.register_forward_pre_hook(call)
