"""The reference engine's session: batches of one `add`, their order, and what is dropped."""

import pytest

from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.errors import UserError
from snakesteer.steering.residual import ResidualSteering
from tests.loaded_models import direction, loaded_model

STEERED = ResidualSteering(1, direction(), 5.0)
PROMPTS = [(5, 6, 7), (8, 9), (10, 11, 12, 13), (14, 15), (16, 17, 18)]


class Recorder(ReferenceEngine):
    """Keeps the prompts and steerings of every batch."""

    def _answer(self, batch):
        self.ran.append([(r.prompt_ids, r.steering is not None) for r in batch.values()])
        return super()._answer(batch)


@pytest.fixture
def engine():
    engine = Recorder(loaded_model("llama"), Decoding(), 2)
    engine.ran = []
    return engine


def requests(*prompts, steering=None):
    return [Request(prompt, 4, steering) for prompt in prompts]


def drain(session):
    found = {}
    while ended := session.ended():
        assert not found.keys() & dict(ended).keys()
        found.update(ended)
    return found


def test_batches_are_those_of_a_call_whatever_else_waits(engine):
    first, second = requests(*PROMPTS), requests(*PROMPTS[:3], steering=STEERED)
    wanted = engine.generate(first), engine.generate(second)
    alone, engine.ran = engine.ran, []
    with engine.session() as session:
        tickets = session.add(first), session.add(second)
        found = drain(session)
    assert len({*tickets[0], *tickets[1]}) == len(found) == 8
    assert engine.ran == alone
    assert all([found[t] for t in tickets[i]] == wanted[i] for i in (0, 1))


def test_low_priorities_come_first_among_what_has_not_started(engine):
    with engine.session() as session:
        late = session.add(requests(*PROMPTS), priority=3)
        assert {ticket for ticket, _ in session.ended()} < {*late}
        soon = session.add(requests(*PROMPTS[:3]), priority=2)
        same = session.add(requests(PROMPTS[0]), priority=2)
        order = [ticket for ticket, _ in [*session.ended(), *session.ended(), *session.ended()]]
        assert sorted(order[:3]) == soon
        assert order[3:] == same
        assert len(drain(session)) == 3
        assert session.ended() == []
        assert session.add([]) == []
        assert session.ended() == []


def test_dropped_requests_never_end_and_change_no_batch(engine):
    wanted = engine.generate(requests(*PROMPTS))
    engine.ran.clear()
    with engine.session() as session:
        tickets = session.add(requests(*PROMPTS))
        ended = dict(session.ended())  # the two shortest
        # One of the next batch, and the whole last one; what has ended is let pass.
        session.drop([tickets[0], tickets[2], tickets[1]])
        session.drop([])
        found = ended | drain(session)
    assert found == {ticket: wanted[i] for i, ticket in enumerate(tickets) if i not in (0, 2)}
    assert [[prompt for prompt, _ in batch] for batch in engine.ran] == [
        [PROMPTS[1], PROMPTS[3]],
        [PROMPTS[0], PROMPTS[4]],
    ]


def test_a_prompt_that_does_not_fit_is_refused_when_it_is_added(engine):
    with engine.session() as session, pytest.raises(UserError, match="do not fit"):
        session.add([Request((5,), 10**6)])
    assert engine.ran == []
