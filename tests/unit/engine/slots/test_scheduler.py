"""Which requests hold slots, in what order they start, and when they end."""

import pytest

from snakesteer.engine.interface import Request
from snakesteer.engine.slots.capacity import Capacity
from snakesteer.engine.slots.scheduler import Ends, Scheduler
from snakesteer.engine.stopping import StopRule
from snakesteer.steering.dac import Dac
from snakesteer.steering.residual import ResidualSteering
from tests.loaded_models import direction
from tests.tiny_models import EOS, tiny_tokenizer

DAC = ResidualSteering(1, direction(), 1.0, dac=Dac(0.5, 0.8, 3.0, 2.0))


def scheduler_of(requests, slots, stop=()):
    rule = StopRule(tiny_tokenizer(), frozenset({EOS}), stop)
    return Scheduler(dict(enumerate(requests)), slots, blocks=len_in_pairs, ends=Ends(rule))


def len_in_pairs(length):
    return length // 2


def indices(live):
    return [one.index for one in live]


def test_prompts_come_one_after_the_other_shortest_first():
    prompts = [(5, 5, 5, 5), (7, 7), (8, 8), (7, 7), (8, 8, 8), (5, 5, 5, 5)]
    scheduler = scheduler_of([Request(prompt, 3) for prompt in prompts], 9)
    assert scheduler.order == [1, 3, 2, 4, 0, 5]
    assert indices(scheduler.refill()) == scheduler.order


def test_slots_go_round():
    scheduler = scheduler_of([Request((5,), 2 + index % 2) for index in range(5)], 2)
    first = scheduler.refill()
    assert indices(first) == [0, 1]
    assert sorted(one.slots[0] for one in first) == [0, 1]
    assert scheduler.refill() == []
    assert scheduler.collect([[5, 5]]) == []
    assert scheduler.last_position == 1
    assert [(one.index, finish) for one, finish in scheduler.collect([[6, 6]])] == [(0, "length")]
    (third,) = scheduler.refill()
    assert (third.index, third.slots) == (2, first[0].slots)
    assert indices(scheduler.live) == [1, 2]
    while scheduler.has_work:
        scheduler.refill()
        scheduler.collect([[5, 5]])
    assert scheduler.live == []


def test_dac_waits_for_three_slots_and_nobody_overtakes():
    scheduler = scheduler_of([Request((5,), 1), Request((5,), 1), Request((5,), 1, DAC)], 4)
    assert indices(scheduler.refill()) == [0, 1]
    more = scheduler_of([Request((5,), 1, DAC), Request((5,), 1, DAC), Request((5,), 1)], 4)
    (only,) = more.refill()
    assert (only.index, len(set(only.slots))) == (0, 3)
    tokens = [-1] * 4
    assert more.collect([tokens]) == []
    tokens[only.slots[0]] = 6
    assert indices(one for one, _ in more.collect([tokens])) == [0]
    assert indices(more.refill()) == [1, 2]


@pytest.mark.parametrize("ticks", [1, 4])
def test_what_comes_behind_the_end_is_dropped(ticks):
    tokens = [[6], [EOS], [5], [5]]
    scheduler = scheduler_of([Request((5,), 9)], 1)
    scheduler.refill()
    for first in range(0, 4, ticks):
        for one, finish in scheduler.collect(tokens[first : first + ticks]):
            assert (one.tokens, finish) == ([6, EOS], "eos")
    assert not scheduler.has_work


@pytest.mark.parametrize("ticks", [2, 8])
def test_a_request_under_dac_has_the_alpha_t_of_its_own_tokens(ticks):
    """Every second tick chooses; what comes behind the end is another text's or nobody's."""
    scheduler = scheduler_of([Request((5,), 9, DAC), Request((5,), 9)], 4)
    dynamic, plain = scheduler.refill()
    real, other = dynamic.slots[0], plain.slots[0]

    def tick(number):
        tokens, alphas = [-1] * 4, [9.0] * 4
        if number % 2:
            tokens[real] = (6, EOS, 5, 5)[number // 2]
            alphas[real] = (0.5, 0.25, 7.0, 7.0)[number // 2]
        tokens[other] = 5
        return tokens, alphas

    for first in range(0, 8, ticks):
        tokens, alphas = zip(*map(tick, range(first, first + ticks)), strict=True)
        scheduler.collect(tokens, alphas)
    assert (dynamic.tokens, dynamic.alphas) == ([6, EOS], [0.5, 0.25])
    assert (len(plain.tokens), plain.alphas) == (8, [])
    assert indices(scheduler.live) == [1]


def test_the_rule_is_asked_only_where_a_text_can_end():
    tokenizer = tiny_tokenizer()
    a, b, c = tokenizer("abc", add_special_tokens=False)["input_ids"][-3:]
    asked = []

    class Counting(StopRule):
        def finish(self, token_ids, limit):
            asked.append(tuple(token_ids))
            return super().finish(token_ids, limit)

    ends = Ends(Counting(tokenizer, frozenset({EOS}), ("ab",)))
    assert ends.finish([a], 5) is None
    assert asked == []
    assert ends.finish([c, b], 5) is None
    assert ends.finish([a, b], 5) == "stop"
    assert ends.finish([c, EOS], 5) == "eos"
    assert ends.finish([a, c], 2) == "length"
    assert asked == [(c, b), (a, b), (c, EOS), (a, c)]


@pytest.mark.parametrize(
    ("work", "held"),
    [
        (Capacity(8, 2, 5, 30, 2), True),
        (Capacity(8, 1, 5, 3, 1), True),
        (Capacity(8, 3, 5, 30, 2), False),
        (Capacity(8, 2, 5, 31, 2), False),
        (Capacity(8, 2, 5, 30, 3), False),
        (Capacity(8, 2, 4, 30, 2), False),
        (Capacity(4, 2, 5, 30, 2), False),
    ],
)
def test_a_decoder_holds_what_is_not_larger(work, held):
    """Slots and the shared prefix are part of a result, and must be the same."""
    assert Capacity(8, 2, 5, 30, 2).holds(work) == held
