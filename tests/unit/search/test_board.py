"""Which answers are asked for, in which order, and which are forgotten."""

from dataclasses import replace

import pytest

from snakesteer.config import SearchConfig, SteeringConfig
from snakesteer.search.board import EARLY, QUEUED, Board, Member
from snakesteer.search.plan import Plan
from snakesteer.steering.candidate import Candidate
from tests.unit.search.fakes import LAYERS, VECTORS, FakeDesk, answers_of

CHUNKS, CHUNK = 4, 3
ONE = Candidate("caa", "caa", 2, 1.0, 0.1, "all")
TWO, NONE = replace(ONE, alpha=2.0), replace(ONE, alpha=0.0)
BASELINE = answers_of([1, 0, 0] * CHUNKS)


class At:
    """A course that is at a chunk."""

    def __init__(self, chunk):
        self.chunk = chunk


@pytest.fixture
def make():
    def make(rows):
        desk = FakeDesk(lambda candidate, number: candidate == ONE, CHUNK)
        search = SearchConfig(chunk_size=CHUNK)
        plan = Plan(search, SteeringConfig(), LAYERS, VECTORS, BASELINE, 2, rows)
        return Board(plan, desk), desk

    return make


def test_what_is_due_comes_first_and_more_only_where_the_engine_would_run_dry(make):
    board, desk = make(rows=1)
    members = [Member(5, ONE, At(1)), Member(6, TWO, At(0))]
    board.work(members)
    assert desk.asked == [(ONE, 1, 5), (TWO, 0, 6)]
    board.work(members)
    assert len(desk.asked) == 2  # once
    board, desk = make(rows=6)
    board.work(members)
    early = [(ONE, 2, EARLY + 5), (ONE, 3, EARLY + 5)]
    assert desk.asked == [(ONE, 1, 5), (TWO, 0, 6), *early]
    assert desk.count == QUEUED * 6
    board.work(members)  # one answer has come: there is room for the lowest trial's next chunk
    assert desk.asked[4:] == [(TWO, 1, EARLY + 6)]


def test_answers_are_there_when_a_chunk_is_whole(make):
    board, desk = make(rows=1)
    member = Member(5, ONE, At(1))
    for _ in range(CHUNK):
        assert board.answers(ONE, 1) is None
        board.work([member])
    assert [answer.correct for answer in board.answers(ONE, 1)] == [True] * CHUNK
    assert board.answers(ONE, 0) is None
    assert board.answers(NONE, 1) == BASELINE[CHUNK : 2 * CHUNK]
    assert desk.answered == CHUNK


def test_two_trials_of_one_configuration_share_answers(make):
    board, desk = make(rows=1)
    members = [Member(5, ONE, At(0)), Member(6, ONE, At(0))]
    for _ in range(CHUNK):
        board.work(members)
    assert [call for call in desk.asked if call[1] == 0] == [(ONE, 0, 5)]
    assert board.answers(ONE, 0) is not None


def test_what_is_dropped_is_asked_for_as_a_whole_when_it_is_needed_again(make):
    board, desk = make(rows=6)
    members = [Member(5, ONE, At(0)), Member(6, TWO, At(0))]
    for _ in range(CHUNK + 1):
        board.work(members)  # all of the first chunk of ONE, one answer of that of TWO
    board.drop(ONE)
    board.drop(TWO)
    assert desk.waiting == {}
    assert board.answers(ONE, 0) is not None
    asked = len(desk.asked)
    for _ in range(CHUNK):
        assert board.answers(TWO, 0) is None
        board.work([Member(7, TWO, At(0))])
    assert desk.asked[asked] == (TWO, 0, 7)
    assert board.answers(TWO, 0) is not None
