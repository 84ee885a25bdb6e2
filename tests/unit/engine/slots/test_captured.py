"""The step holds nothing that a CUDA graph cannot capture: no host read, no shape from data.

Tensors without data stand in for those of a GPU. A number that Python asks of one of them is an
error by itself; tensors of the host among them, and operations whose result has as many entries as
the data say, are found here.
"""

import dataclasses

import pytest
import torch
from torch._ops import HigherOrderOperator
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM

from snakesteer.engine.interface import Decoding
from snakesteer.engine.slots.attention import slot_attention
from snakesteer.engine.slots.cache import KvShape
from snakesteer.engine.slots.capacity import Capacity
from snakesteer.engine.slots.decode import SlotDecoder, SlotStart
from snakesteer.engine.slots.rows import RowSteering
from snakesteer.models.blocks import decoder_blocks
from snakesteer.steering.dac import Dac
from snakesteer.steering.gates import Gate
from snakesteer.steering.operators import OPERATORS
from snakesteer.steering.residual import Place, ResidualSteering
from tests.loaded_models import axis_for, direction, loaded_model
from tests.tiny_models import tiny_config
from tests.unit.engine.slots.test_engine import SLOT_FAMILIES

SLOTS, SHARED = 8, 16
META = torch.device("meta")
BY_DATA = ("nonzero", "masked_select", "unique", "_local_scalar_dense", "bincount")
DAC = Dac(entropy_threshold=0.5, ptop=0.8, max_alpha=3.0, probe_alpha=2.0)


class Spy(TorchDispatchMode):
    """Notes what does not belong into a captured step."""

    supports_higher_order_operators = True

    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(func, HigherOrderOperator):  # flex_attention, which is one kernel there
            return result
        name = func.overloadpacket.__name__
        if name in BY_DATA:
            self.found.add(name)
        tensors = [one for one in (*args, result) if isinstance(one, torch.Tensor)]
        # A single number of the host is an argument of a kernel.
        if any(one.device.type == "cpu" and one.dim() > 0 for one in tensors):
            self.found.add(f"{name} on the host")
        return result


def without_data(family):
    with META:
        config = tiny_config(family)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    return dataclasses.replace(
        loaded_model(family),
        model=model,
        blocks=decoder_blocks(model),
        device=META,
        dtype=torch.bfloat16,
    )


def kv_shape(loaded):
    config = loaded.model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return KvShape(len(loaded.blocks), heads, width, torch.bfloat16)


def starts(kind):
    vector = direction()
    if kind == "bands":
        two = ResidualSteering(1, vector, 0.5, scope="generated_only", operator="clamp")
        return [
            ResidualSteering(2, vector, 0.5, beside=(two,)),
            *bands(vector),
        ]
    if kind.startswith("gates"):
        more = (Place(2, vector, 0.5),) if kind == "gates of bands" else ()
        return [
            ResidualSteering(1, vector, 0.5, more=more, gate=Gate(layer, vector, *kind_of, when))
            for layer in (0, 1)
            for kind_of in (("cosine", 0.1, "above"), ("projection", 0.0, "below"))
            for when in ("token", "prompt")
        ]
    return [
        ResidualSteering(layer, vector, 1.0, dac=DAC if kind == "dac" else None) for layer in (1, 2)
    ]


def bands(vector):
    return [
        ResidualSteering(
            *(0, vector, 0.5),
            operator=operator,
            more=(Place(2, vector, 0.5, axis_for(operator)),),
            axis=axis_for(operator),
        )
        for operator in OPERATORS
    ]


def steps_of(family, kind, kernel="blocks"):
    """What two steps of a decoder do that a graph could not capture."""
    loaded = without_data(family)
    sampled = Decoding(temperature=0.7, top_p=0.9, top_k=20)
    decoding = sampled if kind == "sampling" else Decoding()
    steering = RowSteering(loaded.blocks)
    capacity = Capacity(SLOTS, 2, SHARED, 16, places=2, parts=2, dynamic=kind == "dac")
    spy = Spy()
    with torch.inference_mode(), slot_attention(loaded.model, kernel), steering.hooked():
        decoder = SlotDecoder(loaded, decoding, steering, kv_shape(loaded), capacity)
        decoder.start(
            [
                SlotStart(slot, 5, SHARED + 3, slot, one, parting=one.layer, prefix=slot % 2)
                for slot, one in enumerate(starts(kind))
            ]
        )
        with spy:
            for used in (1, 2):
                decoder._tick(used, decoder.common if kind == "dac" else 0)
    return spy.found


@pytest.mark.parametrize("kind", ["greedy", "sampling", "dac", "bands", "gates", "gates of bands"])
@pytest.mark.parametrize("family", SLOT_FAMILIES)
def test_the_step_can_be_captured(family, kind):
    assert steps_of(family, kind) == set()


@pytest.mark.parametrize("family", ["gptj", "bloom", "mpt", "gpt_oss", "phi3"])
def test_other_attention_can_be_captured(family):
    assert steps_of(family, "greedy") == set()


@pytest.mark.parametrize(
    "fault",
    [
        lambda logits: logits[: int(logits.amax())],
        lambda logits: logits + 0 * logits.nonzero().shape[0],
        lambda logits: logits + torch.zeros(logits.shape[-1]),
        lambda logits: logits * (1 if logits.sum() > 0 else 2),
    ],
)
def test_what_cannot_be_captured_is_found(monkeypatch, fault):
    right = SlotDecoder.logits
    monkeypatch.setattr(
        SlotDecoder, "logits", lambda self, used, common: fault(right(self, used, common))
    )
    try:
        found = steps_of("llama", "greedy")
    except (RuntimeError, NotImplementedError) as error:
        found = {type(error).__name__}
    assert found
