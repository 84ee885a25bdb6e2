"""Every family that the documentation names: blocks, capture, steering, generation, engines.

The table in docs/models.md is the one below; a test compares them.
"""

import logging
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import get_args

import pytest
import torch

from snakesteer.config import ModelConfig, Scope
from snakesteer.engine.batching import left_pad
from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.engine import ReferenceEngine, steered
from snakesteer.engine.select import make_engine
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.models.blocks import decoder_blocks, on_block_outputs
from snakesteer.models.depth import depth_before_download
from snakesteer.models.loading import describe_model, load_causal_lm
from snakesteer.steering.dac import Dac
from snakesteer.steering.residual import ResidualSteering
from snakesteer.vectors.capture import Text, capture
from tests.loaded_models import (
    TOKENS,
    blocks_path,
    direction,
    loaded_model,
    prompt_ids,
    slow_generate,
)
from tests.tiny_models import (
    ALL_FAMILIES,
    CONTEXT,
    EOS,
    NUM_LAYERS,
    PAD,
    SLIDING_WINDOW,
    save_tiny_model,
)

ROOT = Path(__file__).parents[3]
LAYERS = range(NUM_LAYERS)
LAST = NUM_LAYERS - 1
DAC = Dac(entropy_threshold=0.5, ptop=0.8, max_alpha=3.0, probe_alpha=2.0)


@dataclass(frozen=True)
class Entry:
    """One line of the table.

    Attributes:
        models: Models of this family.
        finish: What the last block's output passes before HuggingFace shows it in hidden_states.
        refused: Words of the slots engine's reason; empty where it runs the family.
        context: As the family's config states it.
    """

    models: str
    finish: str = "model.norm"
    refused: str = ""
    context: int | None = CONTEXT


NOT_EXCHANGEABLE = "its attention is not HuggingFace's exchangeable one"
MATRIX = {
    "llama": Entry("Llama 1 to 3, TinyLlama, SmolLM 1 and 2, rho-1, DeepSeek 7B"),
    "llama-tied": Entry("Llama with tied embeddings (Llama 3.2 1B)"),
    "qwen2": Entry("Qwen 1.5, 2 and 2.5"),
    "qwen3": Entry("Qwen 3"),
    "mistral": Entry("Mistral 7B (sliding window)"),
    "gemma2": Entry("Gemma 2"),
    "gemma3_text": Entry("Gemma 3 1B"),
    "gemma3": Entry("Gemma 3 from 4B on (its text part)", "model.language_model.norm"),
    "smollm3": Entry("SmolLM 3 (layers without positions)"),
    "phi": Entry("Phi 1, 1.5 and 2", "model.final_layernorm"),
    "gpt2": Entry("GPT-2, DialoGPT", "transformer.ln_f"),
    "gpt2-untied": Entry("GPT-2 with an untied head", "transformer.ln_f"),
    "gpt_neo": Entry("GPT-Neo", "transformer.ln_f"),
    "gpt_neox": Entry("Pythia, GPT-NeoX", "gpt_neox.final_layer_norm"),
    "gpt_neox-sequential": Entry("GPT-NeoX without parallel blocks", "gpt_neox.final_layer_norm"),
    "opt": Entry("OPT", "model.decoder.final_layer_norm"),
    "opt-350m": Entry("OPT 350M (norms behind, projected embeddings)", "model.decoder.project_out"),
    "falcon": Entry("Falcon 7B (one key head)", "transformer.ln_f"),
    "falcon-40b": Entry("Falcon 40B, 180B", "transformer.ln_f"),
    "falcon-rw": Entry("Falcon RW (ALiBi)", "transformer.ln_f"),
    "mixtral": Entry("Mixtral"),
    "qwen2_moe": Entry("Qwen 1.5 and 2 MoE"),
    "qwen3_moe": Entry("Qwen 3 MoE"),
    "olmoe": Entry("OLMoE"),
    "gpt_oss": Entry("GPT-OSS, its weights not in 4 bits"),
    "phi3": Entry("Phi 3, 3.5 and 4 (two sets of frequencies)"),
    "gptj": Entry("GPT-J", "transformer.ln_f"),
    "bloom": Entry("BLOOM", "transformer.ln_f", context=None),
    "mpt": Entry("MPT", "transformer.norm_f"),
    "codegen": Entry("CodeGen", "transformer.ln_f", NOT_EXCHANGEABLE),
}


def table() -> str:
    """The table of the documentation."""
    lines = [
        "| Models | `model_type` | Decoder blocks | `engine.name: slots` |",
        "| --- | --- | --- | --- |",
    ]
    for family, entry in MATRIX.items():
        engine = f"no: {entry.refused}" if entry.refused else "yes"
        model_type = family.partition("-")[0]
        lines.append(f"| {entry.models} | `{model_type}` | `{blocks_path(family)}` | {engine} |")
    return "\n".join(lines)


def summary() -> str:
    """The table of the README: families by engine."""
    lines = ["| Engine | Tested families (`model_type`) |", "| --- | --- |"]
    for engine, refused in (("slots (fast)", False), ("reference", True)):
        of_engine = [f for f, entry in MATRIX.items() if bool(entry.refused) == refused]
        types = dict.fromkeys(family.partition("-")[0] for family in of_engine)
        lines.append(f"| {engine} | {', '.join(types)} |")
    return "\n".join(lines)


def test_the_documentation_has_these_tables_and_all_families_are_in_them():
    assert set(MATRIX) == set(ALL_FAMILIES)
    assert table() in (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert summary() in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(params=MATRIX)
def family(request):
    return request.param


def test_a_saved_model_loads(family, tmp_path):
    config = ModelConfig(name=str(save_tiny_model(tmp_path, family)), dtype="float32", device="cpu")
    assert depth_before_download(config) == describe_model(config)["num_layers"] == NUM_LAYERS
    loaded = load_causal_lm(config)
    assert (loaded.context, loaded.eos_ids, loaded.pad_id) == (MATRIX[family].context, {EOS}, PAD)
    saved = loaded_model(family).model.state_dict()
    for name, weights in loaded.model.state_dict().items():
        assert torch.equal(weights, saved[name])


def steerings():
    """All scopes, layers and methods, none included."""
    return [None, ResidualSteering(2, direction(7), 0.7, dac=DAC)] + [
        ResidualSteering(
            index % NUM_LAYERS, direction(index), 1.5, scope, 3, window=(1, 3), tokens=TOKENS
        )
        for index, scope in enumerate(get_args(Scope))
    ]


def test_blocks_are_found_by_structure(family):
    model = loaded_model(family).model
    named = attrgetter(blocks_path(family))(model)
    assert len(named) == NUM_LAYERS
    assert all(a is b for a, b in zip(decoder_blocks(model), named, strict=True))


@torch.no_grad()
def test_captured_activations_are_the_hidden_states_of_huggingface(family):
    """Ragged texts in one batch against one text at a time; the last layer before the norm."""
    loaded = loaded_model(family)
    start = prompt_ids()[3]
    assert len(start) > SLIDING_WINDOW
    texts = [Text(ids, (len(ids) - 1, len(ids)), (0, len(ids))) for ids in prompt_ids()]
    texts += [replace(t, token_ids=start + t.token_ids) for t in texts]
    texts = [replace(t, read=(len(t.token_ids) - 1, len(t.token_ids))) for t in texts]
    found = torch.zeros(NUM_LAYERS, len(texts), direction().shape[0])
    for rows, layers in capture(loaded, texts, list(LAYERS), 10_000):
        for layer, (means, *_) in layers.items():
            found[layer, rows] = means
    finish = attrgetter(MATRIX[family].finish)(loaded.model)
    for index, text in enumerate(texts):
        states = loaded.model(
            torch.tensor([text.token_ids]), use_cache=False, output_hidden_states=True
        ).hidden_states
        for layer in LAYERS:
            seen, wanted = found[layer, index], states[layer + 1][0, -1]
            if layer == LAST:
                assert seen.shape != wanted.shape or not torch.allclose(seen, wanted, atol=1e-2)
                seen = finish(seen)
            torch.testing.assert_close(seen, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("scope", ["from_last_prompt_token", "all"])
@torch.no_grad()
def test_steering_adds_alpha_times_the_vector_exactly(family, scope):
    loaded = loaded_model(family)
    ids, mask = left_pad(loaded, prompt_ids())
    vector, alpha, layer = direction(), 1.5, 1

    def outputs():
        """The outputs of all blocks ``[layers, batch, seq, hidden]`` and the logits."""
        seen = {}
        with on_block_outputs(
            loaded.blocks, {at: lambda hidden, at=at: seen.update({at: hidden}) for at in LAYERS}
        ):
            logits = loaded.model(ids, attention_mask=mask, use_cache=False).logits
        return torch.stack([seen[at] for at in LAYERS]), logits

    before, plain = outputs()
    rows = [ResidualSteering(layer, vector, alpha, scope)] * 3 + [None]
    with steered(loaded, rows, mask):
        after, changed = outputs()
    wanted = before[layer].clone()
    where = mask[:3].bool() if scope == "all" else torch.zeros_like(mask[:3]).bool()
    where[:, -1] = True
    wanted[:3] += alpha * vector * where[..., None]
    assert torch.equal(after[layer], wanted)
    assert torch.equal(after[:layer], before[:layer])
    assert not torch.allclose(after[LAST, :3, -1], before[LAST, :3, -1], atol=1e-3)
    assert (changed[:3, -1] - plain[:3, -1]).abs().amax(dim=-1).min() > 1e-2


def test_generation_is_that_of_a_computation_without_cache(family):
    loaded = loaded_model(family)
    requests = [
        Request(prompt, 5, s)
        for prompt in prompt_ids()[1:]
        for s in steerings()
        if s is None or (s.dac is None and s.scope in ("all", "from_last_prompt_token"))
    ]
    answers = ReferenceEngine(loaded, Decoding(), 4).generate(requests)
    for request, answer in zip(requests, answers, strict=True):
        from_start = request.steering is not None and request.steering.steers_prompt

        def factor(position, prompt, from_start=from_start):
            return 1.5 if from_start or position >= prompt - 1 else 0.0

        assert answer.token_ids == slow_generate(family, loaded.model, request, factor)
    assert len({answer.token_ids for answer in answers}) > 3


def test_engines_agree_and_no_steering_changes_nothing(family, caplog):
    """Slots and reference give the same tokens; where slots cannot, one warning says why."""
    loaded, refused = loaded_model(family), MATRIX[family].refused
    if refused == NOT_EXCHANGEABLE and loaded.model._can_set_attn_implementation():
        refused = ""  # CodeGen's is, since transformers 5.24
    engines = [ReferenceEngine(loaded, Decoding(), 4)]
    with caplog.at_level(logging.WARNING, "snakesteer"):
        engines.append(make_engine("slots", loaded, Decoding(), batch_size=4, slots=8))
    assert isinstance(engines[1], ReferenceEngine if refused else SlotsEngine)
    assert [refused in record.getMessage() for record in caplog.records] == [True] * bool(refused)

    requests = [Request(prompt, 8, s) for s in steerings() for prompt in prompt_ids()]
    answers = [engine.generate(requests) for engine in engines]
    assert answers[0] == answers[1]
    zero = [replace(r, steering=r.steering and replace(r.steering, alpha=0.0)) for r in requests]
    baseline = answers[0][: len(prompt_ids())]
    for engine in engines:
        assert engine.generate(zero) == baseline * len(steerings())
    assert answers[0] != baseline * len(steerings())
