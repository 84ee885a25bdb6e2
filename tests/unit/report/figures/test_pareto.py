"""The figure of two objectives, its words, and what the rest of the report says of them."""

import random
from dataclasses import replace

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from snakesteer.report.evidence import importance
from snakesteer.report.figures.all import make_figures
from snakesteer.report.figures.pareto import pareto_figure, pareto_words
from snakesteer.report.methods_text import methods_text
from snakesteer.report.wording import percent


@pytest.fixture(scope="module")
def made(report):
    return report("two objectives")


def test_only_a_search_with_two_objectives_has_it(report, made):
    assert "pareto" in made.figures
    assert 'id="figure-pareto"' in made.html
    assert "pareto" not in report("helps").figures
    assert 'id="figure-pareto"' not in report("helps").html


def test_the_table_holds_all_trials_in_the_order_of_their_cost(made):
    evidence, rows = made.evidence, made.figures["pareto"].rows
    assert len(evidence.over_budget) > 3
    assert len(rows) == len(evidence.trials) + len(evidence.over_budget)
    assert rows[0] == ("0", "0", percent(evidence.trials[0].accuracy), "yes", "no steering")
    costs = [float(row[1]) for row in rows]
    assert costs[: len(evidence.trials)] == sorted(costs[: len(evidence.trials)])
    assert max(costs[: len(evidence.trials)]) <= 0.15 < min(costs[len(evidence.trials) :])
    [tested] = [row for row in rows if "tested" in row[0]]
    assert int(tested[0].split()[0]) == evidence.best["trial"]
    on_front = {int(row[0].split()[0]) for row in rows if row[3] == "yes"}
    assert on_front == {*evidence.best["kl"]["front"]}
    for row in rows[len(evidence.trials) :]:
        assert row[2:4] == ("not answered", "over the budget")


def test_what_is_drawn(made):
    spec = made.figures["pareto"].chart.to_dict()
    evidence = made.evidence
    points = next(d["values"] for d in _data(spec) if "kind" in d["values"][0])
    assert {value["kind"] for value in points} == {
        *("dominated", "on the front", "no steering", "tested")
    }
    assert len(points) == len(evidence.trials)
    crosses = next(d["values"] for d in _data(spec) if "over the budget" in str(d["values"]))
    drawn = [kl for kl in evidence.over_budget.values() if kl <= 0.6]
    assert [value["kl"] for value in crosses] == drawn
    budgets = [d["values"][0]["at"] for d in _data(spec) if "at" in d["values"][0]]
    assert budgets == [0.15]


def _data(spec):
    return (
        [spec["data"], *(layer["data"] for layer in spec["layer"])]
        if "data" in spec
        else [layer["data"] for layer in spec["layer"]]
    )


def test_front_and_choice_in_words(made):
    evidence = made.evidence
    words = pareto_words(evidence)
    assert f"costs {evidence.best['kl']['tested']:.3g} of the 0.15 nats per token" in words
    assert words in made.figures["pareto"].caption
    assert "over the budget, which answered nothing" in made.figures["pareto"].caption
    off = {**evidence.best, "kl": {**evidence.best["kl"], "on_front": False}}
    assert "not on the front" in pareto_words(replace(evidence, best=off))
    tested = evidence.best["trial"]
    alone = [replace(p, on_front=p.trial == tested) for p in evidence.trials]
    assert "it is all of the front" in pareto_words(replace(evidence, trials=alone))
    both = [replace(p, on_front=p.trial in (0, tested)) for p in evidence.trials]
    assert "only no steering costs less" in pareto_words(replace(evidence, trials=both))
    more = [
        replace(p, on_front=True, kl=0.001, accuracy=0.5) if p.alpha and p.trial != tested else p
        for p in both
    ]
    assert "for 0.001." in pareto_words(replace(evidence, trials=more))


def test_where_nothing_is_over_the_budget_nothing_is_said_of_it(made):
    within = replace(made.evidence, over_budget={})
    assert "Crosses" not in pareto_figure(within).caption
    assert "over the KL budget" not in make_figures(within)["history"].caption
    count = len(made.evidence.over_budget)
    assert f"{count} over the KL budget" in made.figures["history"].caption


def test_the_methods_say_what_was_searched_for(report, made):
    text = methods_text(made.evidence)
    assert "two objectives: high accuracy, and a small mean KL" in text
    assert f"({len(made.evidence.over_budget)} of them) were ended before they answered" in text
    assert "hopeless trials" not in text
    assert f"in {len(made.evidence.trials) + len(made.evidence.over_budget)} trials" in text
    assert "two objectives" not in methods_text(report("helps").evidence)


def test_parameters_matter_for_accuracy_whatever_they_cost():
    study = optuna.create_study(directions=["maximize", "minimize"])
    space = {name: FloatDistribution(0.0, 1.0) for name in ("steering_dose", "idle")}
    rng = random.Random(0)
    for _ in range(60):
        params = {name: rng.random() for name in space}
        values = [params["steering_dose"], params["idle"]]
        costs = {"accuracy_by_chunk": values[:1]}
        study.add_trial(
            create_trial(values=values, params=params, distributions=space, user_attrs=costs)
        )
    assert importance(study)["steering_dose"] > 0.8
