"""Attention over shared and own keys is plain attention over both; blocks change no bit."""

import pytest
import torch

from snakesteer.engine.slots.attention import (
    BLOCK,
    Blocked,
    attend_slots,
    attend_slots_flex,
)

SLOTS, KV_HEADS, GROUP, WIDTH, SHARED, BLOCKS = 5, 2, 3, 16, 21, 3
PREFIX = torch.tensor([0, 2, 1, 0, 2])  # of each slot


def inputs(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, generator=generator).to(dtype)

    def keys():
        shared = random(3, KV_HEADS, SHARED, WIDTH)
        return Blocked(shared, random(BLOCKS, SLOTS, KV_HEADS, BLOCK, WIDTH), PREFIX)

    query = random(SLOTS, KV_HEADS * GROUP, 1, WIDTH)
    lengths = torch.tensor([1, 17, 64, 65, 130])  # own positions that each slot sees
    hidden = torch.arange(BLOCKS * BLOCK) >= lengths[:, None]
    own = hidden.view(SLOTS, 1, 1, BLOCKS, BLOCK).permute(3, 0, 1, 2, 4).contiguous()
    # As in a sliding window: some of the shared keys are out of sight.
    shared = (torch.arange(SHARED) < torch.arange(SLOTS)[:, None])[None, :, None]
    return query, keys(), keys(), Blocked(shared, own)


def plain(query, keys, values, hidden, softcap, bias=0.0, sinks=None):
    """One slot after the other, keys repeated, in float64."""
    rows = []
    for slot in range(SLOTS):

        def whole(kv, slot=slot):
            own = kv.own[:, slot].transpose(0, 1).reshape(KV_HEADS, BLOCKS * BLOCK, WIDTH)
            kv = torch.cat([kv.shared[PREFIX[slot]], own], dim=1)
            return kv.repeat_interleave(GROUP, dim=0).double()

        mask = torch.cat([hidden.shared[0, slot, 0], hidden.own[:, slot, 0, 0].reshape(-1)])
        scores = query[slot].double() @ whole(keys).transpose(1, 2) * 0.3
        scores = scores if softcap is None else softcap * (scores / softcap).tanh()
        scores = (scores + bias).masked_fill(mask, -torch.inf)
        if sinks is not None:  # a further key whose value is 0
            scores = torch.cat([scores, sinks[:, None, None].double()], dim=-1)
        weights = scores.softmax(dim=-1)[..., : len(mask)]
        rows.append((weights @ whole(values))[:, 0])
    return torch.stack(rows)[:, None].float()


both = pytest.mark.parametrize("attend", [attend_slots, attend_slots_flex])


@both
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_it_is_plain_attention(attend, softcap):
    query, keys, values, hidden = inputs()
    mixed = attend(query, keys, values, hidden, 0.3, softcap)
    assert torch.allclose(mixed, plain(query, keys, values, hidden, softcap), atol=1e-5)


@both
@pytest.mark.parametrize("prefix", [True, False])
def test_keys_that_are_all_hidden_count_for_nothing(attend, prefix):
    """As behind a sliding window: the shared ones of a slot, and its first block."""
    query, keys, values, hidden = inputs()
    hidden.shared[:, 2:] = True
    hidden.own[0, 3:] = True
    if not prefix:
        hidden.shared[:] = True
    wanted = plain(query, keys, values, hidden, None)
    if not prefix:
        none = [Blocked(None, each.own) for each in (keys, values, hidden)]
        keys, values, hidden = none
    mixed = attend(query, keys, values, hidden, 0.3, None)
    seen = (~hidden.own[:, :, 0, 0]).any(dim=-1).any(dim=0)  # some key at all
    assert torch.allclose(mixed[seen], wanted[seen], atol=1e-5)
    assert seen.sum() >= 4


@both
def test_a_bias_is_added_to_the_scaled_scores(attend):
    query, keys, values, hidden = inputs()
    length = SHARED + BLOCKS * BLOCK
    bias = torch.randn(KV_HEADS, GROUP, length, generator=torch.Generator().manual_seed(1))
    own = bias[..., SHARED:].unflatten(-1, (BLOCKS, BLOCK)).permute(2, 0, 1, 3)[:, None]
    blocked = Blocked(bias[:, None, :, :SHARED], own)
    mixed = attend(query, keys, values, hidden, 0.3, None, blocked)
    wanted = plain(query, keys, values, hidden, None, bias.reshape(-1, 1, length).double())
    assert torch.allclose(mixed, wanted, atol=1e-5)


@both
def test_a_sink_takes_its_share_of_every_head(attend):
    """Of next to nothing, up to nearly all: larger than any score."""
    query, keys, values, hidden = inputs()
    sinks = torch.linspace(-5.0, 15.0, KV_HEADS * GROUP)
    mixed = attend(query, keys, values, hidden, 0.3, 2.0, None, sinks)
    assert torch.allclose(mixed, plain(query, keys, values, hidden, 2.0, sinks=sinks), atol=1e-5)
    none = [Blocked(None, each.own) for each in (keys, values, hidden)]
    alone = attend(query, *none, 0.3, 2.0, None, sinks)
    assert torch.allclose(alone[:, :, -1], torch.zeros(WIDTH), atol=1e-3)


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_hidden_blocks_change_no_bit(dtype, attend):
    query, keys, values, hidden = inputs(dtype)
    whole = attend(query, keys, values, hidden, 0.3, None)

    def first(kv, blocks):
        return Blocked(kv.shared, kv.own[:blocks], kv.prefix)

    two = attend(query, first(keys, 2), first(values, 2), first(hidden, 2), 0.3, None)
    one = attend(query, first(keys, 1), first(values, 1), first(hidden, 1), 0.3, None)
    assert torch.equal(two[:4], whole[:4])
    assert torch.equal(one[:3], whole[:3])
    assert not torch.equal(two[4], whole[4])


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_prefixes_change_no_bit(dtype, attend):
    query, keys, values, hidden = inputs(dtype)
    whole = attend(query, keys, values, hidden, 0.3, None)
    alone = [Blocked(kv.shared[2:], kv.own, torch.zeros_like(PREFIX)) for kv in (keys, values)]
    one = attend(query, *alone, hidden, 0.3, None)
    assert torch.equal(one[PREFIX == 2], whole[PREFIX == 2])
    assert not torch.equal(one[0], whole[0])
