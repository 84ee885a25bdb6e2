"""Own solutions: several per problem, each its own stream, cut-off ones left out."""

from snakesteer.engine.interface import Generation
from snakesteer.evaluation.answers import make_request
from snakesteer.evaluation.solutions import sample_solutions
from tests.unit.evaluation.test_answers import GENERATION, PROBLEMS, PROMPTER


class Sampler:
    """Its answers depend on the stream; every third one runs into the limit."""

    def generate(self, requests):
        self.requests = requests
        finish = ["eos", "stop", "length"]
        return [
            Generation((), f" #### {index % 5}", finish[index % 3], 4)
            for index in range(len(requests))
        ]


def test_samples_of_a_problem_side_by_side():
    engine = Sampler()
    rows = sample_solutions(engine, PROMPTER, PROBLEMS[:2], GENERATION, samples=3)
    assert [row["id"] for row in rows] == ["p0", "p0", "p1", "p1"]
    assert [row["text"] for row in rows] == [f" #### {n}" for n in (0, 1, 3, 4)]
    assert [row["correct"] for row in rows] == [True, False, False, False]
    assert {row["question"] for row in rows} == {"0+0?", "1+1?"}
    assert all(request.steering is None for request in engine.requests)
    expected = [
        make_request(PROMPTER, problem, None, GENERATION, sample).seed
        for problem in PROBLEMS[:2]
        for sample in range(3)
    ]
    assert [request.seed for request in engine.requests] == expected
    assert len(set(expected)) == 6
