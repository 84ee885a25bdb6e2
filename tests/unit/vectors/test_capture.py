"""Captured activations equal those of a plain forward pass of one text."""

import copy
import dataclasses
import functools
import hashlib
import itertools

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snakesteer.errors import UserError
from snakesteer.models.blocks import block_output, hidden_states_index
from snakesteer.vectors.activations import read_activations
from snakesteer.vectors.capture import (
    capture,
    capture_positions,
    read_tokens,
    token_batches,
    write_activations,
)
from snakesteer.vectors.reads import PairTexts, Text
from tests.loaded_models import blocks_of, loaded_model, prompt_ids
from tests.tiny_models import CONTEXT, FAMILIES, HIDDEN, NUM_LAYERS, SLIDING_WINDOW

LAYERS = list(range(NUM_LAYERS))
LAST = NUM_LAYERS - 1


def some_texts():
    """Lengths 1, 5, 14, 30 and 60, each with spans of its own."""
    ids = prompt_ids()
    ids.append(ids[-1] * 2)
    return [Text(t, (len(t) // 2, len(t)), (max(len(t) - 4, 0), len(t))) for t in ids]


def collected(loaded, texts, budget):
    """Means ``[texts, layers, hidden]``, norms ``[texts, layers]`` and residual means, as means."""
    means = torch.full((len(texts), NUM_LAYERS, HIDDEN), torch.nan)
    norms, residuals = torch.full(means.shape[:2], torch.nan), means.clone()
    for batch, found in capture(loaded, texts, LAYERS, budget):
        assert sorted(found) == LAYERS
        for layer, (mean, norm, residual) in found.items():
            means[batch, layer], norms[batch, layer] = mean, norm
            residuals[batch, layer] = residual
    return means, norms, residuals


@torch.no_grad()
def plain_outputs(family, model, ids):
    """Every block's output ``[seq, hidden]`` in one unpadded pass with a hook of its own."""
    outputs = {}

    def keep(layer, _module, _inputs, output):
        outputs[layer] = (output if isinstance(output, torch.Tensor) else output[0])[0].clone()

    handles = [
        block.register_forward_hook(functools.partial(keep, layer))
        for layer, block in enumerate(blocks_of(family, model))
    ]
    states = model(torch.tensor([ids]), use_cache=False, output_hidden_states=True).hidden_states
    for handle in handles:
        handle.remove()
    return outputs, states


@pytest.mark.parametrize("family", FAMILIES)
def test_activations_are_those_of_a_plain_pass(family):
    loaded = loaded_model(family)
    texts = some_texts()
    means, norms, residuals = collected(loaded, texts, budget=1)
    for index, text in enumerate(texts):
        outputs, states = plain_outputs(family, loaded.model, text.token_ids)
        for layer in LAYERS:
            if layer < LAST:
                assert torch.equal(outputs[layer], states[hidden_states_index(layer)][0])
            read = outputs[layer].double()[slice(*text.read)].mean(dim=0)
            norm = outputs[layer].double()[slice(*text.steered)].norm(dim=-1).mean()
            error = (means[index, layer] - read).norm() / read.norm()
            assert error < 1e-6
            assert abs(norms[index, layer] - norm) / norm < 1e-6
            residual = outputs[layer].double()[slice(*text.steered)].mean(dim=0)
            assert (residuals[index, layer] - residual).norm() / residual.norm() < 1e-6


@pytest.mark.parametrize("family", FAMILIES)
def test_positions_are_read_one_by_one(family):
    loaded = loaded_model(family)
    texts = some_texts()
    found = dict(capture_positions(loaded, texts, [1, 3]))
    assert sorted(found) == list(range(len(texts)))
    for index, text in enumerate(texts):
        outputs, _ = plain_outputs(family, loaded.model, text.token_ids)
        for layer, one in found[index].items():
            assert_near(one, outputs[layer][slice(*text.read)])
    # With a common start, which is read once.
    start = prompt_ids()[-1]
    longer = [Text(start + own, (len(start), len(start + own)), (0, 1)) for own in prompt_ids()]
    for index, one in capture_positions(loaded, longer, [2]):
        outputs, _ = plain_outputs(family, loaded.model, longer[index].token_ids)
        assert_near(one[2], outputs[2][len(start) :])


def assert_near(found, wanted):
    """Equal up to rounding, which is in proportion to the length of a vector."""
    errors = (found - wanted).norm(dim=-1) / wanted.norm(dim=-1)
    assert found.shape == wanted.shape
    assert errors.max() < 1e-5


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
def test_the_last_layer_is_read_before_the_final_norm(family):
    loaded = loaded_model(family)
    ids = prompt_ids()[-1]
    text = Text(ids, (len(ids) - 1, len(ids)), (0, len(ids)))
    means, _, _ = collected(loaded, [text], budget=1)
    _, states = plain_outputs(family, loaded.model, ids)
    norms = {"llama": "norm", "gpt2": "ln_f", "gpt_neox": "final_layer_norm"}
    norm = getattr(loaded.model.base_model, norms[family])
    assert not torch.allclose(means[0, LAST], states[-1][0, -1], rtol=1e-2)
    torch.testing.assert_close(norm(means[0, LAST]), states[-1][0, -1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_neither_padding_nor_batches_change_activations(family):
    # In float64, so that rounding is no excuse (some families still compute softmax in float32).
    loaded = loaded_model(family)
    model = copy.deepcopy(loaded.model).double()
    exact = dataclasses.replace(
        loaded, model=model, blocks=list(blocks_of(family, model)), dtype=torch.float64
    )
    texts = some_texts()
    alone, together = collected(exact, texts, budget=1), collected(exact, texts, budget=10_000)
    assert ((alone[0] - together[0]).norm(dim=-1) / alone[0].norm(dim=-1)).max() < 1e-6
    assert ((alone[1] - together[1]) / alone[1]).abs().max() < 1e-6
    assert ((alone[2] - together[2]).norm(dim=-1) / alone[2].norm(dim=-1)).max() < 1e-6


@pytest.mark.parametrize("family", FAMILIES)
def test_a_common_start_is_read_once_and_changes_nothing(family):
    loaded = loaded_model(family)
    start = prompt_ids()[-1]  # longer than the sliding windows
    assert len(start) > SLIDING_WINDOW
    texts = []
    for own in prompt_ids():
        ids = start + own
        texts.append(Text(ids, (len(ids) - 1, len(ids)), (len(start), len(ids))))
    lengths = []
    handle = blocks_of(family, loaded.model)[0].register_forward_hook(
        lambda _block, _inputs, output: lengths.append(block_output(output).shape[1])
    )
    means, norms, _ = collected(loaded, texts, budget=10_000)
    handle.remove()
    assert lengths == [len(start), max(len(own) for own in prompt_ids())]
    for index, text in enumerate(texts):
        alone, alone_norms, _ = collected(loaded, [text], budget=1)
        # Relative to the whole activation: single entries are sums of numbers 10⁵ times as large.
        assert (means[index] - alone[0]).norm() < 1e-5 * alone[0].norm()
        torch.testing.assert_close(norms[index], alone_norms[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_above_those_that_are_read_are_not_computed(family):
    loaded = loaded_model(family)
    start = prompt_ids()[-1][:4]
    texts = [Text((*start, *t), (4, 4 + len(t)), (4, 4 + len(t))) for t in prompt_ids()]
    computed = []
    inner = [next(m for m in block.modules() if not [*m.children()]) for block in loaded.blocks]
    handles = [
        module.register_forward_hook(lambda *given, layer=layer: computed.append(layer))
        for layer, module in enumerate(inner)
    ]
    alone, whole = (list(capture(loaded, texts, layers, 100)) for layers in ([0, 1], LAYERS))
    for handle in handles:
        handle.remove()
    assert computed.count(1) == 2 * computed.count(LAST)
    for (batch, found), (others, all_found) in zip(alone, whole, strict=True):
        assert batch == others
        assert sorted(found) == [0, 1]
        for layer in found:
            assert all(map(torch.equal, found[layer], all_found[layer]))


def test_memory_is_bounded_by_the_budget():
    loaded = loaded_model("llama")
    seen = []
    handle = loaded.blocks[0].register_forward_hook(
        lambda _m, _i, out: seen.append((out if isinstance(out, torch.Tensor) else out[0]).shape)
    )
    list(capture(loaded, some_texts() * 5, [0], budget=64))
    handle.remove()
    assert len(seen) > 5
    assert all(batch * length <= 64 for batch, length, _ in seen)


def test_a_text_longer_than_the_context_is_an_error():
    long = Text((5,) * (CONTEXT + 1), (0, 1), (0, 1))
    with pytest.raises(UserError, match=rf"{CONTEXT + 1} tokens.*{CONTEXT}.*prompt.shots"):
        list(capture(loaded_model("gpt2"), [long], [0]))


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 400))
def test_batches_hold_every_text_once_within_the_budget(lengths, budget):
    batches = token_batches(lengths, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
    # Texts of similar length come together: no batch reaches into the next one.
    for batch, following in itertools.pairwise(batches):
        assert max(lengths[i] for i in batch) <= min(lengths[i] for i in following)


def pairs_of_texts():
    ids = [(*t, 30, 40) for t in prompt_ids()]
    return [
        PairTexts(
            f"ä-{index}",
            (Text(t, (len(t) - 1, len(t)), (0, len(t))),),
            (Text((*t, 50), (1, 3), (1, len(t))),),
        )
        for index, t in enumerate(ids)
    ]


def write(folder, loaded=None, **attributes):
    loaded = loaded or loaded_model("llama")
    pairs = pairs_of_texts()
    write_activations(folder, loaded, pairs, [1, 3], {"model": "tiny", **attributes})


def test_files_hold_what_was_captured(tmp_path):
    write(tmp_path, commit="", read="last_token", dtype="torch.float32")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layer_1.h5", "layer_3.h5"]
    texts = [text for pair in pairs_of_texts() for text in pair.texts]
    means, norms, residuals = collected(loaded_model("llama"), texts, budget=4096)
    for layer in (1, 3):
        found = read_activations(tmp_path / f"layer_{layer}.h5")
        assert found.ids == ("ä-0", "ä-1", "ä-2", "ä-3")
        assert found.attributes == {
            "model": "tiny",
            "commit": "",
            "read": "last_token",
            "dtype": "torch.float32",
            "layer": layer,
            "tensor": "block output",
        }
        assert found.positive.dtype == found.residual_norm.dtype == np.float32
        np.testing.assert_array_equal(found.positive, means[0::2, layer])
        np.testing.assert_array_equal(found.negative, means[1::2, layer])
        np.testing.assert_array_equal(found.residual_norm, norms[:, layer].reshape(-1, 2))
        mean = residuals[:, layer].double().mean(dim=0)
        np.testing.assert_allclose(found.residual_mean, mean, rtol=1e-6)
        assert found.residual_mean.dtype == np.float32
        with h5py.File(tmp_path / f"layer_{layer}.h5") as file:
            assert file["positive"].compression == "gzip"


def test_a_side_of_several_texts_is_their_mean(tmp_path):
    one, other, *_ = pairs_of_texts()
    several = PairTexts("both", one.positive + other.positive + other.negative, one.negative)
    write_activations(tmp_path, loaded_model("llama"), [several, other], [2], {})
    found = read_activations(tmp_path / "layer_2.h5")
    texts = [*several.texts, *other.texts]
    means, norms, residuals = (x[:, 2] for x in collected(loaded_model("llama"), texts, 4096))
    np.testing.assert_allclose(found.positive[0], means[:3].mean(dim=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.negative[0], means[3])
    np.testing.assert_allclose(found.residual_norm[0, 0], norms[:3].mean(), rtol=1e-6)
    sides = [residuals[:3].mean(dim=0), *residuals[3:]]
    mean = torch.stack(sides).mean(dim=0)
    np.testing.assert_allclose(found.residual_mean, mean, rtol=1e-5, atol=1e-6)


def test_files_say_which_tokens_were_read(tmp_path):
    span = Text((5, 6, 7, 6, 9), (1, 4), (0, 5))
    pair = PairTexts("a", (span, Text((5, 8), (1, 2), (0, 2))), (Text((5, 9), (1, 2), (0, 2)),))
    entries = {tuple(entry)[:3]: entry["share"] for entry in read_tokens([pair, pair])}
    right = {6: 1 / 3, 7: 1 / 6, 8: 1 / 2}
    assert entries == pytest.approx(
        {(n, 0, token): share for n in (0, 1) for token, share in right.items()}
        | {(0, 1, 9): 1.0, (1, 1, 9): 1.0}
    )
    write(tmp_path)
    found = read_activations(tmp_path / "layer_1.h5").tokens
    np.testing.assert_array_equal(found, read_tokens(pairs_of_texts()))


def test_equal_data_give_equal_bytes(tmp_path):
    hashes = []
    for name in ("a", "b"):
        write(tmp_path / name)
        hashes.append(hashlib.sha256((tmp_path / name / "layer_3.h5").read_bytes()).hexdigest())
    assert hashes[0] == hashes[1]


class Broken(Exception):
    pass


def broken_after(loaded, batches):
    """The model with a block that raises after some passes."""
    model = copy.deepcopy(loaded.model)
    passes = []

    def hook(*_arguments):
        passes.append(1)
        if len(passes) > batches:
            raise Broken

    blocks = list(blocks_of("llama", model))
    blocks[0].register_forward_hook(hook)
    return dataclasses.replace(loaded, model=model, blocks=blocks)


def test_a_failure_in_the_middle_leaves_the_folder_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "snakesteer.vectors.capture.token_batches", lambda n, _: [[i] for i in range(8)]
    )
    write(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(Broken):
        write(tmp_path, broken_after(loaded_model("llama"), batches=3), commit="other")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    with pytest.raises(Broken):
        write(tmp_path / "new", broken_after(loaded_model("llama"), batches=3))
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("position", [0, -1])
def test_activations_that_are_not_finite_are_refused(tmp_path, position):
    # Position 0 is not read by the first pair but is part of its residual norm.
    model = copy.deepcopy(loaded_model("llama").model)
    blocks = list(blocks_of("llama", model))

    def overflow(_module, _inputs, output):
        hidden = output if isinstance(output, torch.Tensor) else output[0]
        hidden[:, position] = torch.inf
        return output

    blocks[3].register_forward_hook(overflow)
    loaded = dataclasses.replace(loaded_model("llama"), model=model, blocks=blocks)
    with pytest.raises(UserError, match="layer 3 are not finite"):
        write(tmp_path, loaded)
    assert list(tmp_path.iterdir()) == []
