"""The reference engine: HuggingFace ``generate`` with forward hooks.

Slow and obvious. It runs any architecture that HuggingFace can generate with, and is what faster
engines are checked against.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from snakesteer.config.catalogue import Kind
from snakesteer.engine.batching import alike, check_lengths, left_pad
from snakesteer.engine.interface import Decoding, Finish, Generation, Request, drain
from snakesteer.engine.reference.dac import generate_dac
from snakesteer.engine.reference.heads import heads_steered, no_cache
from snakesteer.engine.reference.open_gates import OpenGates
from snakesteer.engine.reference.prompt_start import start_steered
from snakesteer.engine.reference.read_tokens import ReadTokens
from snakesteer.engine.reference.session import BatchSession
from snakesteer.engine.sampling import choose, uniforms
from snakesteer.engine.stopping import StopRule
from snakesteer.engine.watch import Watch, watched
from snakesteer.models.blocks import on_block_outputs
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.kinds import Steering
from snakesteer.steering.operators import OPERATORS, apply_operator
from snakesteer.steering.residual import ResidualSteering, stacked_axes, stacked_places

# Kinds whose batches are steered alike, and what steers them.
_HOOKS: dict[Kind, Callable[[LoadedModel, Any, Tensor], AbstractContextManager[None]]] = {
    "heads": heads_steered,
    "prompt_start": start_steered,
}


class ReferenceEngine:
    """Answers requests batch by batch.

    Batches are made of requests of similar length, in an order that depends on the prompts alone:
    the same prompts come together whether or not they are steered.

    Args:
        loaded: The model.
        decoding: How tokens are chosen.
        batch_size: Requests decoded together.
        progress: Show a progress bar on the terminal.

    Attributes:
        watch: Who looks on, if anyone; set before the first call.
    """

    def __init__(
        self, loaded: LoadedModel, decoding: Decoding, batch_size: int, progress: bool = False
    ) -> None:
        self.loaded = loaded
        self.decoding = decoding
        self.batch_size = batch_size
        self.progress = progress
        self.watch: Watch | None = None
        self.stop_rule = StopRule(loaded.tokenizer, loaded.eos_ids, decoding.stop)

    def generate(self, requests: Sequence[Request]) -> list[Generation]:
        """Generate one text per request, in their order.

        Raises:
            UserError: A prompt that does not fit into the model's context with its answer.
        """
        with self.session() as session:
            return drain(session, requests)

    @contextmanager
    def session(self) -> Iterator[BatchSession]:
        """A queue whose requests share batches with those that were added with them."""
        hidden = None if self.progress else True  # None hides it where no one looks at a terminal
        with tqdm(total=0, unit="text", disable=hidden, leave=False) as bar:
            yield BatchSession(self._batches, self._answer, bar)

    def _answer(self, batch: Mapping[int, Request]) -> list[Generation]:
        """Answer the requests of a batch, which have numbers for the watch."""
        if self.watch is not None:
            self.watch.follow({number: row for row, number in enumerate(batch)})
        requests = [*batch.values()]
        if requests[0].is_dynamic:
            return generate_dac(self.loaded, requests, self.decoding, self.stop_rule, self.watch)
        return self._generate_batch(requests)

    def _batches(self, requests: Sequence[Request]) -> list[list[int]]:
        """Indices of the requests that run together: those of one steering, by length.

        So a trial's batches are the baseline's, whatever other trials are in the call.
        """
        check_lengths(self.loaded, requests)
        batches: list[list[int]] = []
        by_steering: dict[object, list[int]] = {}
        for index, request in enumerate(requests):
            key = None if request.steering is None else request.steering.key
            by_steering.setdefault(key, []).append(index)
        for members in by_steering.values():
            members.sort(key=lambda index: len(requests[index].prompt_ids))
            batches += [
                members[start : start + self.batch_size]
                for start in range(0, len(members), self.batch_size)
            ]
        return batches

    @torch.inference_mode()
    def _generate_batch(self, requests: list[Request]) -> list[Generation]:
        input_ids, attention_mask = left_pad(self.loaded, [r.prompt_ids for r in requests])
        watch = RowWatch(self.stop_rule, requests, prompt_length=input_ids.shape[1])
        processors = LogitsProcessorList()
        if self.watch is not None:
            processors.append(_Telling(self.watch))
        if self.decoding.temperature > 0.0:
            processors.append(SeededChoice(self.decoding, requests, input_ids.shape[1]))
        limit = max(request.max_new_tokens for request in requests)
        gates = OpenGates(_residual([r.steering for r in requests]))
        hooks = steered(self.loaded, [r.steering for r in requests], attention_mask, gates)
        with watched(self.watch, hooks):
            output = self.loaded.model.generate(
                input_ids,
                attention_mask=attention_mask,
                generation_config=GenerationConfig(
                    max_new_tokens=limit,
                    do_sample=False,
                    use_cache=True,
                    pad_token_id=self.loaded.pad_id,
                ),
                logits_processor=processors,
                stopping_criteria=StoppingCriteriaList([watch]),
            )
        generated = output[:, input_ids.shape[1] :].tolist()
        return gates.told(watch.generations(generated))


def greedy_answers(
    loaded: LoadedModel, stop: Sequence[str], steps: int, batch_size: int
) -> Callable[[Sequence[tuple[int, ...]]], list[int]]:
    """A function that answers prompts and gives the number of tokens of each answer.

    Args:
        loaded: The model.
        stop: Strings that end an answer.
        steps: Most tokens of an answer.
        batch_size: Prompts answered together.
    """
    engine = ReferenceEngine(loaded, Decoding(stop=tuple(stop)), batch_size)

    def answer(prompts: Sequence[tuple[int, ...]]) -> list[int]:
        answers = engine.generate([Request(ids, steps) for ids in prompts])
        return [one.num_tokens for one in answers]

    return answer


def steered(
    loaded: LoadedModel,
    steerings: Sequence[Steering | None],
    attention_mask: Tensor,
    gates: OpenGates | None = None,
) -> AbstractContextManager[None]:
    """Steer the rows of one batch while the context is open.

    The first pass through a block is the prefill, every later one a decode step of one token.

    Args:
        loaded: The model.
        steerings: One per row; the strength is constant (for `Dac` see `generate_dac`).
        attention_mask: ``[batch, prompt]``; 0 on padding.
        gates: Of the rows; keeps what they let through.

    Raises:
        UserError: A layer that the model lacks, or a model that reads its whole text at every step
            because it has no KV cache.
    """
    one = alike(steerings)
    if one is not None:
        return _HOOKS[one.kind](loaded, one, attention_mask)
    rows = _residual(steerings)
    parts = [() if s is None else s.parts for s in rows]
    looked_at = gates or OpenGates(rows)
    return in_turn(
        [
            # What has something beside it has no gate.
            _steered_once(
                loaded, list(once), attention_mask, OpenGates(once) if number else looked_at
            )
            for number, once in enumerate(itertools.zip_longest(*parts))
        ]
    )


@contextmanager
def in_turn(contexts: Iterable[AbstractContextManager[None]]) -> Iterator[None]:
    """All of them, one in the other: hooks of the earlier ones come first."""
    with ExitStack() as stack:
        for one in contexts:
            stack.enter_context(one)
        yield


def _steered_once(
    loaded: LoadedModel,
    rows: Sequence[ResidualSteering | None],
    attention_mask: Tensor,
    gates: OpenGates,
) -> AbstractContextManager[None]:
    """Steer rows that do nothing beside."""
    layers = gates.layers | {place.layer for s in rows if s is not None for place in s.places}
    if not layers:
        return nullcontext()
    tokens = ReadTokens(loaded, [None if s is None else s.token_set for s in rows])
    callbacks = {
        layer: _changer(layer, rows, attention_mask, tokens, gates) for layer in sorted(layers)
    }
    return tokens.read_with(on_block_outputs(loaded.blocks, callbacks))


def _residual(steerings: Sequence[Steering | None]) -> list[ResidualSteering | None]:
    return [one if isinstance(one, ResidualSteering) else None for one in steerings]


def _changer(
    layer: int,
    steerings: Sequence[ResidualSteering | None],
    attention_mask: Tensor,
    tokens: ReadTokens,
    gates: OpenGates,
) -> Callable[[Tensor], Tensor]:
    """A function that steers each row's output of a layer at the positions of its scope."""
    layers, vectors, relative = stacked_places(steerings)
    alpha = torch.tensor([0.0 if s is None else s.alpha for s in steerings])
    here = layers == layer  # [batch, places], at most one place per row
    vector, axis = (  # [batch, hidden]
        torch.where(here[:, :, None], found, 0.0).sum(dim=1)
        for found in (vectors, stacked_axes(steerings, vectors))
    )
    strength = torch.where(here, alpha[:, None] * relative, 0.0).sum(dim=1)  # [batch]
    operators = [None if s is None else s.operator for s in steerings]
    step = 0

    def change(hidden: Tensor) -> Tensor:
        nonlocal step
        if step > 0 and hidden.shape[1] != 1:
            raise no_cache()
        gates.look(layer, step, hidden)
        where = torch.zeros(hidden.shape[:2], dtype=torch.bool)
        for row, steering in enumerate(steerings):
            if steering is None:
                continue
            if step == 0 and steering.steers_prompt:
                where[row] = attention_mask[row].bool().cpu()
            where[row, -1] = steering.steers_step(step) and tokens.steers(row)
            if here[row].any():
                where[row] = gates.through(row, where[row])
            if steering.layer == layer:
                gates.note(row, bool(where[row, -1]) and steering.alpha != 0.0)
        step += 1
        for operator in OPERATORS:
            rows = torch.tensor([found == operator for found in operators])
            if rows.any():
                alphas = strength[:, None] * (where & rows[:, None])  # [batch, seq]
                # A new tensor: an edit in place would reach what else holds the block's output.
                there = (x.to(hidden.device) for x in (vector[:, None], alphas, axis[:, None]))
                hidden = apply_operator(operator, hidden, *there)
        return hidden

    return change


class RowWatch:
    """Decides row by row when a batch is finished; a HuggingFace stopping criterion.

    Args:
        rule: End tokens and stop strings.
        requests: The batch.
        prompt_length: Padded length of the prompts.
    """

    def __init__(self, rule: StopRule, requests: Sequence[Request], prompt_length: int) -> None:
        self.rule = rule
        self.limits = [request.max_new_tokens for request in requests]
        self.prompt_length = prompt_length
        self.ends: list[tuple[int, Finish] | None] = [None] * len(requests)

    def __call__(self, input_ids: Tensor, _scores: Any, **_kwargs: Any) -> Tensor:
        """``[batch]`` bool: which rows are finished."""
        generated = input_ids[:, self.prompt_length :].tolist()
        for row, token_ids in enumerate(generated):
            if self.ends[row] is None:
                finish = self.rule.finish(token_ids, self.limits[row])
                self.ends[row] = None if finish is None else (len(token_ids), finish)
        return torch.tensor([end is not None for end in self.ends], device=input_ids.device)

    def generations(self, generated: Sequence[Sequence[int]]) -> list[Generation]:
        """The finished rows; what a row holds behind its end is dropped."""
        rows = []
        for token_ids, end in zip(generated, self.ends, strict=True):
            assert end is not None  # generate() returns only when every row has ended
            length, finish = end
            rows.append(self.rule.generation(token_ids[:length], finish))
        return rows


class _Telling:
    """Tells a watch of every pass; a HuggingFace logits processor that changes nothing."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.read = 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """``[batch, vocab]`` logits in, the same out."""
        total = input_ids.shape[1]
        self.watch.passed(total - self.read, self.read, scores)
        self.read = total
        return scores


class SeededChoice:
    """Samples from each row's own stream; a HuggingFace logits processor.

    All tokens but the sampled one get −∞, so that the greedy choice that follows takes it.

    Args:
        decoding: Temperature, top-p and top-k.
        requests: The batch.
        prompt_length: Padded length of the prompts.
    """

    def __init__(self, decoding: Decoding, requests: Sequence[Request], prompt_length: int) -> None:
        self.decoding = decoding
        self.prompt_length = prompt_length
        steps = max(request.max_new_tokens for request in requests)
        self.uniform = torch.stack([uniforms(request.seed, steps) for request in requests])

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """``[batch, vocab]`` logits in, the same shape out."""
        step = input_ids.shape[1] - self.prompt_length
        chosen = choose(scores, self.decoding, self.uniform[:, step])
        return torch.full_like(scores, -torch.inf).scatter(-1, chosen[:, None], 0.0)
