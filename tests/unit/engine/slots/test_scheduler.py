"""Which requests hold slots, in what order they start, and when they end."""

import pytest

from snakesteer.engine.interface import Request
from snakesteer.engine.slots.scheduler import Ends, Scheduler, turns
from snakesteer.engine.stopping import StopRule
from tests.tiny_models import EOS, tiny_tokenizer


def scheduler_of(requests, slots, stop=()):
    rule = StopRule(tiny_tokenizer(), frozenset({EOS}), stop)
    scheduler = Scheduler(slots, ends=Ends(rule))
    for ticket, (request, turn) in enumerate(zip(requests, order(requests), strict=True)):
        scheduler.add(ticket, request, turn)
    return scheduler


def order(requests):
    return turns(requests, lambda request: len(request.prompt_ids) // 2)


def refill(scheduler):
    started = []
    while scheduler.next is not None:
        started.append(scheduler.start())
    return started


def tickets(live):
    return [one.ticket for one in live]


def test_prompts_come_one_after_the_other_shortest_first():
    prompts = [(5, 5, 5, 5), (7, 7), (8, 8), (7, 7), (8, 8, 8), (5, 5, 5, 5)]
    scheduler = scheduler_of([Request(prompt, 3) for prompt in prompts], 9)
    assert tickets(refill(scheduler)) == [1, 3, 2, 4, 0, 5]


def test_an_earlier_turn_overtakes_those_that_wait():
    scheduler = scheduler_of([], 1)
    for ticket, turn in enumerate([(0, 5), (1, 0), (0, 9), (0, 5)]):
        scheduler.add(ticket, Request((5,), 1), turn)
    seen = []
    while scheduler.has_work:
        seen += tickets(refill(scheduler))
        scheduler.collect([[5]])
        if len(seen) == 1:
            scheduler.add(9, Request((5,), 1), (-1, 0))
    assert seen == [0, 9, 3, 2, 1]


def test_slots_go_round():
    scheduler = scheduler_of([Request((5,), 2 + index % 2) for index in range(5)], 2)
    first = refill(scheduler)
    assert tickets(first) == [0, 1]
    assert sorted(one.slot for one in first) == [0, 1]
    assert refill(scheduler) == []
    assert scheduler.collect([[5, 5]]) == []
    assert scheduler.last_position == 1
    assert [(one.ticket, finish) for one, finish in scheduler.collect([[6, 6]])] == [(0, "length")]
    (third,) = refill(scheduler)
    assert (third.ticket, third.slot) == (2, first[0].slot)
    assert tickets(scheduler.live) == [1, 2]
    while scheduler.has_work:
        refill(scheduler)
        scheduler.collect([[5, 5]])
    assert scheduler.live == []


def test_what_is_dropped_gives_back_its_slot_or_its_turn():
    scheduler = scheduler_of([Request((5,), 9) for _ in range(4)], 2)
    refill(scheduler)
    waited, stopped = scheduler.drop({0, 2, 17})
    assert (len(waited), tickets(stopped)) == (1, [0])
    assert tickets(refill(scheduler)) == [3]
    assert tickets(scheduler.live) == [1, 3]
    assert len({one.slot for one in scheduler.live}) == 2


@pytest.mark.parametrize("ticks", [1, 4])
def test_what_comes_behind_the_end_is_dropped(ticks):
    tokens = [[6], [EOS], [5], [5]]
    scheduler = scheduler_of([Request((5,), 9)], 1)
    refill(scheduler)
    for first in range(0, 4, ticks):
        for one, finish in scheduler.collect(tokens[first : first + ticks]):
            assert (one.tokens, finish) == ([6, EOS], "eos")
    assert not scheduler.has_work


@pytest.mark.parametrize("ticks", [1, 2, 4])
def test_a_request_has_the_alpha_t_of_its_own_tokens(ticks):
    """What comes behind the end is another text's or nobody's."""
    scheduler = scheduler_of([Request((5,), 9)], 2)
    (one,) = refill(scheduler)
    for first in range(0, 4, ticks):
        tokens, alphas = [], []
        for number in range(first, first + ticks):
            tokens.append([9, 9])
            alphas.append([8.0, 8.0])
            tokens[-1][one.slot] = (6, EOS, 5, 5)[number]
            alphas[-1][one.slot] = (0.5, 0.25, 7.0, 7.0)[number]
        scheduler.collect(tokens, alphas)
    assert (one.tokens, one.noted) == ([6, EOS], [0.5, 0.25])


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
