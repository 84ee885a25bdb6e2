"""Vectors and graded answers made by hand."""

import numpy as np
from optuna.trial import TrialState, create_trial

from snakesteer.evaluation.answers import Answer
from snakesteer.search.study import OUTCOMES
from snakesteer.steering.candidate import STEERED_LAYERS
from snakesteer.steering.vector import Vector
from tests.tiny_models import HIDDEN

LAYERS = (0, 2, 3)
VECTORS = {
    (direction, layer): Vector(
        direction=direction,
        layer=layer,
        raw=np.full(HIDDEN, 0.5 + layer + scale, dtype=np.float32),
        mean_residual_norm=10.0 * (1 + layer),
    )
    for direction, scale in (("caa", 0.0), ("probe", 0.25))
    for layer in LAYERS
}


def answers_of(correct):
    """One answer for each outcome."""
    return [
        Answer(f"p{index}", bool(right), False, bool(right), "1", "1", "eos", 5, 7)
        for index, right in enumerate(correct)
    ]


class FakeDesk:
    """Answers by a function of configuration and problem, one answer at a time; counts the work.

    Args:
        correct: Whether a problem is answered correctly.
        size: Problems of a chunk.
        order: Draws which answer comes next; None takes the lowest priority, then the first.
        fail_at: A number of answers, and what is raised instead of the next one.

    Attributes:
        asked: Candidate, chunk and priority of every call.
        answered: Number of answers.
    """

    def __init__(self, correct, size, order=None, fail_at=(-1, None)):
        self.correct, self.size, self.order, self.fail_at = correct, size, order, fail_at
        self.asked, self.answered, self.count, self.waiting = [], 0, 0, {}

    def ask(self, candidate, chunk, priority):
        self.asked.append((candidate, chunk, priority))
        tickets = [*range(self.count, self.count + self.size)]
        self.count += self.size
        for place, ticket in enumerate(tickets):
            self.waiting[ticket] = (priority, candidate, chunk * self.size + place)
        return tickets

    def drop(self, tickets):
        for ticket in tickets:
            del self.waiting[ticket]

    def ended(self):
        if self.answered == self.fail_at[0]:
            raise self.fail_at[1]
        self.answered += 1
        tickets = sorted(self.waiting, key=lambda ticket: (self.waiting[ticket][0], ticket))
        ticket = tickets[0] if self.order is None else self.order.choice(tickets)
        _, candidate, number = self.waiting.pop(ticket)
        return [(ticket, self.answer(candidate, number))]

    def answer(self, candidate, number):
        [answer] = answers_of([self.correct(candidate, number)])
        return answer


def records(study):
    """What decides a study's trials, and what came out of them, without times."""
    return [
        (t.number, t.state, t.params, t.values, t.intermediate_values, t.user_attrs, t.system_attrs)
        for t in study.trials
    ]


def trial_of(right, dose, layer=2, state="COMPLETE", layers=1, delivered=None, **more):
    """A trial that answered each problem so."""
    params = {
        "steering_method": "caa",
        "steering_direction": "caa",
        "layer_id": layer,
        "steering_alpha": 10 * dose,
        "steering_dose": dose,
        "scope": "all",
        **more,
    }
    costs = {
        OUTCOMES: "".join(map(str, right)),
        "delivered_dose": abs(dose) if delivered is None else delivered,
        "accuracy_by_chunk": [sum(right) / len(right)],
        STEERED_LAYERS: layers,
    }
    return create_trial(
        state=TrialState[state],
        value=sum(right) / len(right) if state == "COMPLETE" else None,
        user_attrs={**params, **costs, "error": "x"},
    )
