"""Faults of the slots engine, which its own check or the gate must refuse, and a table of them.

``python -m tests.engine_faults MODEL`` prints, for a folder with a saved model, how far the logits
of the right engine and of every broken one are off. docs/concepts.md shows such a table.
"""

import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from snakesteer.config import ModelConfig
from snakesteer.engine.slots import attention, exactness, prefill
from snakesteer.engine.slots.attention import BLOCK, Blocked
from snakesteer.engine.slots.cache import SlotCache
from snakesteer.engine.slots.columns import StepStrengths
from snakesteer.engine.slots.decode import SlotDecoder
from snakesteer.engine.slots.prefill import Prefill
from snakesteer.engine.slots.rows import RowSteering
from snakesteer.models.blocks import block_output, replace_block_output
from snakesteer.models.loading import LoadedModel, load_causal_lm

Fault = Callable[[pytest.MonkeyPatch], None]

# Broken hooks: each makes a wrong function of a right one, which takes and gives a residual stream
# ``[batch, seq, hidden]``, or None where nothing is steered.
Callback = Callable[[Tensor], Tensor | None]


def does_nothing(_right: Callback) -> Callback:
    return lambda hidden: None


def twice_as_much(right: Callback) -> Callback:
    return _altered(right, lambda hidden, change: hidden + 2 * change)


def a_tenth_too_much(right: Callback) -> Callback:
    return _altered(right, lambda hidden, change: hidden + 1.1 * change)


def turned_round(right: Callback) -> Callback:
    return _altered(right, lambda hidden, change: hidden - change)


def constant_offset(right: Callback) -> Callback:
    return _altered(right, lambda hidden, change: hidden + change + 0.01)


def promoted(right: Callback) -> Callback:
    return _altered(right, lambda hidden, change: (hidden + change).double())


def in_a_tuple(right: Callback) -> Callback:
    return _altered(right, lambda hidden, change: (hidden + change,))


def in_place(right: Callback) -> Callback:
    return _altered(right, lambda hidden, change: hidden.add_(change))


def another_vector(right: Callback) -> Callback:
    return _altered(right, lambda hidden, change: hidden + change.roll(1, dims=-1))


def renormalised(right: Callback) -> Callback:
    def scaled(hidden: Tensor, change: Tensor) -> Tensor:
        new = hidden + change
        unit = new * (hidden.norm(dim=-1, keepdim=True) / new.norm(dim=-1, keepdim=True))
        return torch.where((change == 0).all(-1, keepdim=True), hidden, unit)

    return _altered(right, scaled)


def lengthened(right: Callback) -> Callback:
    """For what keeps the norm, so that a new norm would be no fault."""

    def longer(hidden: Tensor, change: Tensor) -> Tensor:
        there = (change != 0).any(-1, keepdim=True)
        return torch.where(there, 1.05 * (hidden + change), hidden)

    return _altered(right, longer)


def one_step_late(right: Callback) -> Callback:
    last: list[Tensor] = []

    def late(hidden: Tensor, change: Tensor) -> Tensor:
        before = last.pop() if last else torch.zeros_like(change[:, -1:])
        last.append(change[:, -1:])
        return hidden + torch.cat([change[:, :-1], before], dim=1)

    return _altered(right, late)


def _altered(right: Callback, alter: Callable[[Tensor, Tensor], object]) -> Callback:
    def callback(hidden: Tensor):
        changed = right(hidden)
        return None if changed is None else alter(hidden, changed - hidden)

    return callback


def break_hook(patch: pytest.MonkeyPatch, broken: Callable[[Callback], Callback], at: int) -> None:
    """Break the slots engine's hook on one block."""
    right = RowSteering._hook

    def hook(rows: RowSteering, layer: int):
        own = right(rows, layer)
        callback = broken(lambda hidden: own(None, None, hidden)) if layer == at else None

        def call(module, inputs, output):
            if callback is None:
                return own(module, inputs, output)
            hidden = callback(block_output(output))
            return None if hidden is None else replace_block_output(output, hidden)

        return call

    patch.setattr(RowSteering, "_hook", hook)


# Faults of everything but the hook itself.


def _set(change: Callable[[Tensor], Tensor]) -> Fault:
    def fault(patch: pytest.MonkeyPatch) -> None:
        right = RowSteering.set
        patch.setattr(
            RowSteering,
            "set",
            lambda self, rows, scale, beside=(): right(self, rows, change(scale), beside),
        )

    return fault


def wrong_layer(patch: pytest.MonkeyPatch) -> None:
    right = RowSteering._hook
    patch.setattr(RowSteering, "_hook", lambda rows, layer: right(rows, layer - 1))


def step_counter_ahead(patch: pytest.MonkeyPatch) -> None:
    right = StepStrengths.at
    patch.setattr(StepStrengths, "at", lambda self, step: right(self, step + 1))


def positions_off_by_one(patch: pytest.MonkeyPatch) -> None:
    right = SlotDecoder.logits

    def logits(self: SlotDecoder, used: int, *common: int) -> Tensor:
        self.position.add_(1)
        try:
            return right(self, used, *common)
        finally:
            self.position.sub_(1)

    patch.setattr(SlotDecoder, "logits", logits)


def _attend(**changes: Callable) -> Fault:
    """Change some arguments of the attention in decode steps."""

    def fault(patch: pytest.MonkeyPatch) -> None:
        right = attention.attend_slots

        def attend(query, keys, values, hidden, scaling, *others):
            given = {"keys": keys, "values": values, "hidden": hidden, "scaling": scaling}
            for name, change in changes.items():
                given[name] = change(given[name])
            return right(query, *given.values(), *others)

        patch.setattr(attention, "attend_slots", attend)

    return fault


def _hiding(hide: Callable[[Tensor], None]) -> Callable[[Blocked], Blocked]:
    """A mask whose part for a slot's own keys ``[blocks, slots, 1, 1, BLOCK]`` is changed."""

    def change(hidden: Blocked) -> Blocked:
        own = hidden.own.clone()
        hide(own)
        return Blocked(hidden.shared, own)

    return change


def _without_prefix(blocked: Blocked) -> Blocked:
    return Blocked(None, blocked.own)


def _three_keys(own: Tensor) -> None:
    own[0, ..., :3] = True


def _later_blocks(own: Tensor) -> None:
    own[1:] = True


def _slots_turned(blocked: Blocked) -> Blocked:
    return Blocked(blocked.shared, blocked.own.roll(1, dims=1), blocked.prefix)


def _masks(change: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Fault:
    """Change what a mask function says: (visible, query positions, key positions) → visible."""

    def fault(patch: pytest.MonkeyPatch) -> None:
        right = attention._mask

        def mask(*, mask_function, **others):
            def changed(batch, head, queries, keys):
                return change(mask_function(batch, head, queries, keys), queries, keys)

            return right(mask_function=changed, **others)

        # Masks are looked up by name when a model runs.
        patch.setitem(attention.AttentionMaskInterface._global_mapping, attention.NAME, mask)

    return fault


def prompt_positions_off_by_one(patch: pytest.MonkeyPatch) -> None:
    right = Prefill._read

    def read(self: Prefill, rows, start, length, prefix):
        if prefix is None:
            return right(self, rows, start, length, prefix)
        wide = torch.nn.functional.pad(prefix, (0, 0, 1, 0))
        return right(self, rows, start + 1, length, wide)

    patch.setattr(Prefill, "_read", read)


def prompt_without_prefix(patch: pytest.MonkeyPatch) -> None:
    def cache(prefix):
        return right(None if prefix is None else torch.zeros_like(prefix))

    right = prefill.PromptCache
    patch.setattr(prefill, "PromptCache", cache)


FAULTS: dict[str, Fault] = {
    "no steering": _set(lambda scale: 0.0 * scale),
    "steering one block too late": wrong_layer,
    "strength × 0.7": _set(lambda scale: 0.7 * scale),
    "strengths of neighbouring slots": _set(lambda scale: scale.roll(1)),
    "step counter one ahead": step_counter_ahead,
    "positions off by one": positions_off_by_one,
    "positions of prompts off by one": prompt_positions_off_by_one,
    "prompts do not see the shared prefix": prompt_without_prefix,
    "slots do not see the shared prefix": _attend(
        keys=_without_prefix, values=_without_prefix, hidden=_without_prefix
    ),
    "three keys hidden": _attend(hidden=_hiding(_three_keys)),
    "keys behind the first block hidden": _attend(hidden=_hiding(_later_blocks)),
    "keys of the neighbouring slot": _attend(keys=_slots_turned),
    "values of the neighbouring slot": _attend(values=_slots_turned),
    "attention scale × 0.9": _attend(scaling=lambda scaling: 0.9 * scaling),
    "later keys visible": _masks(lambda visible, queries, keys: visible | (keys == queries + 1)),
    "last key hidden": _masks(lambda visible, queries, keys: visible & (keys != queries - 1)),
}


def _at_block_starts(by: int) -> Fault:
    """Keys lie elsewhere, where the first one of a later block belongs."""

    def fault(patch: pytest.MonkeyPatch) -> None:
        right = SlotCache.write_at

        def write_at(self: SlotCache, positions: Tensor, used: int, prefixes: int) -> None:
            edge = (positions > 0) & (positions % BLOCK == 0)
            right(self, positions + by * edge, used, prefixes)

        patch.setattr(SlotCache, "write_at", write_at)

    return fault


def positions_off_at_block_starts(patch: pytest.MonkeyPatch) -> None:
    right = SlotDecoder._model_logits

    def logits(self: SlotDecoder, ids: Tensor, positions: Tensor, cache: SlotCache) -> Tensor:
        edge = (positions - self.capacity.shared) % BLOCK == 0
        return right(self, ids, positions + edge, cache)

    patch.setattr(SlotDecoder, "_model_logits", logits)


def a_block_too_few(patch: pytest.MonkeyPatch) -> None:
    right = SlotDecoder.blocks_for
    patch.setattr(SlotDecoder, "blocks_for", lambda self, n: max(1, right(self, n) - 1))


def a_key_too_many_at_block_ends(patch: pytest.MonkeyPatch) -> None:
    def seen(visible: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
        shared = attention._now.shared
        if shared is None:  # prompts
            return visible
        return visible | ((keys == queries + 1) & ((keys - shared) % BLOCK == 0))

    _masks(seen)(patch)


def anothers_prefix(patch: pytest.MonkeyPatch) -> None:
    right = attention._with_own_prefix
    patch.setattr(
        attention,
        "_with_own_prefix",
        lambda rows, prefixes, which: right(rows, prefixes, torch.zeros_like(which)),
    )


def prompts_exchanged(patch: pytest.MonkeyPatch) -> None:
    right = Prefill.read
    patch.setattr(Prefill, "read", lambda self, prompts: right(self, prompts)[::-1])


# Of what differs between rows, and of the ends of blocks.
EDGE_FAULTS: dict[str, Fault] = {
    "first key of a block in the last place of the one before": _at_block_starts(-1),
    "positions off by one at the start of a block": positions_off_at_block_starts,
    "newest block not looked at": a_block_too_few,
    "a key too many at the end of a block": a_key_too_many_at_block_ends,
    "shared prefix of another prompt": anothers_prefix,
    "prompts of one batch exchanged": prompts_exchanged,
}
# Of models with a sliding window only.
WINDOW_FAULTS: dict[str, Fault] = {
    "no sliding window": _masks(lambda _, queries, keys: keys <= queries),
}
HOOK_FAULTS: dict[str, Callable[[Callback], Callback]] = {
    one.__name__.replace("_", " "): one
    for one in (
        does_nothing,
        twice_as_much,
        a_tenth_too_much,
        turned_round,
        constant_offset,
        promoted,
        in_a_tuple,
        in_place,
        another_vector,
        renormalised,
        one_step_late,
    )
}


def all_faults(loaded: LoadedModel, hooked: int) -> dict[str, Fault]:
    """Every fault that a model can have.

    Args:
        loaded: The model.
        hooked: Block whose hook is broken.
    """
    faults = FAULTS | EDGE_FAULTS
    if getattr(loaded.model.config.get_text_config(), "sliding_window", None):
        faults |= WINDOW_FAULTS
    for name, broken in HOOK_FAULTS.items():
        faults[name] = lambda patch, broken=broken: break_hook(patch, broken, hooked)
    return faults


def print_table(name: str) -> None:
    """A Markdown table of a saved model: fault → error and bound in float32 and in bfloat16."""
    print("| Engine | in float32 | in bfloat16 |\n| --- | --- | --- |")
    model = ModelConfig(name=name, dtype="bfloat16", device="cpu")
    loaded = load_causal_lm(model, gpus=0)
    faults = {"right": lambda _: None, **all_faults(loaded, 2 * len(loaded.blocks) // 3)}
    for fault, break_it in faults.items():
        with pytest.MonkeyPatch.context() as patch:
            break_it(patch)
            try:
                _, comparisons = exactness.compare(loaded)
                found = [f"{one.error:.2g} of {one.bound:.2g}" for one in comparisons]
            except (AttributeError, RuntimeError) as error:
                found = [type(error).__name__] * 2
        print(f"| {fault} | {found[0]} | {found[1]} |", flush=True)


if __name__ == "__main__":
    print_table(sys.argv[1])
