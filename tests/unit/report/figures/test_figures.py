"""The figures: their files, their tables, and what they say when there is nothing to draw."""

from dataclasses import replace

import pytest

from snakesteer.report.figures.dose import BINS, dose_figure
from snakesteer.report.figures.figure import write_figure
from snakesteer.report.figures.search import probe_figure
from snakesteer.report.wording import percent, signed


def test_figures_are_written_as_svg_and_png(report, tmp_path):
    for name in ("helps", "left alone"):
        for figure in report(name).figures.values():
            write_figure(figure, tmp_path)
            svg = (tmp_path / f"{figure.name}.svg").read_text(encoding="utf-8")
            assert svg.startswith("<svg")
            assert (tmp_path / f"{figure.name}.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_drawn_says_why(report):
    figures = report("left alone").figures
    assert figures["importance"].chart is None
    assert "fewer than 20" in figures["importance"].caption
    assert "fewer than 20" in figures["importance"].svg()
    drawn = [name for name, figure in figures.items() if figure.chart is not None]
    assert set(drawn) == set(figures) - {"importance"}


def test_tables_hold_the_numbers_of_the_chart(report):
    made = report("helps")
    evidence, figures = made.evidence, made.figures
    arms = [[arm.label, percent(arm.accuracy)] for arm in evidence.arms]
    assert [list(row[:2]) for row in figures["accuracy"].rows] == arms
    assert len(figures["difference"].rows) == len(evidence.arms) - 1
    assert len(figures["dose"].rows) == len(evidence.trials)
    history = figures["history"].rows
    assert [row[0] for row in history] == [str(number) for number in range(30)]
    assert history[0][3] == "no steering"
    assert history[1][3].startswith(("caa, layer", "dac, layer"))
    assert figures["dose"].rows[0][1:4] == ("no steering", "", "0.000")
    assert history[4][1] == "failed"
    for figure in figures.values():
        assert all(len(row) == len(figure.columns) for row in figure.rows)


def test_the_highest_that_is_read_out_is_no_trial_that_was_ended_early(report):
    evidence = report("helps").evidence
    finished = [p for p in evidence.trials if not p.pruned]
    best = max(finished, key=lambda p: p.accuracy)
    lucky = next(p for p in evidence.trials if p.pruned)
    trials = [replace(p, accuracy=1.0) if p is lucky else p for p in evidence.trials]
    told = dose_figure(replace(evidence, trials=trials)).alt
    assert f"Highest: {percent(best.accuracy)}, {best.method}, layer {best.layer}, dose" in told
    alone = dose_figure(replace(evidence, trials=evidence.trials[:1])).alt
    assert alone.endswith(", no steering.")


def test_the_probes_say_what_they_tell_apart(report):
    evidence = report("helps").evidence
    caption = probe_figure(evidence).caption
    assert "right against wrong solutions" in caption
    assert "reaches 0.71 on 100 pairs of the test split" in caption
    pairs = {"kind": "prompt_contrast", "read": "last_prompt_token"}
    config = {**evidence.config, "pairs": pairs}
    none = {"test_probe_metrics": {"pairs": 0, "pair_kind": "prompt_contrast"}}
    other = replace(
        evidence,
        provenance={**evidence.provenance, "config": config},
        test={**evidence.test, **none},
    )
    caption = probe_figure(other).caption
    assert "one instruction against the other" in caption
    assert caption.endswith("No pair of the test split can be read where the probes were.")


def test_the_dose_is_explained_where_it_is_another(report):
    evidence, on_grid = report("helps").evidence, report("on a grid").evidence
    told = "mean norm (where the strength is dynamic, times its {}). The"
    assert told.format("mean α_t") in dose_figure(evidence).caption
    assert told.format("α_t") in dose_figure(on_grid).caption
    for point, row in zip(evidence.trials, dose_figure(evidence).rows, strict=True):
        assert row[3] == signed(point.delivered, 3)
    caa = [point for point in evidence.trials if point.method == "caa"]
    assert "mean norm. The" in dose_figure(replace(evidence, trials=caa)).caption


@pytest.mark.parametrize("name", ["helps", "on a grid"])
def test_the_heat_map_pools_by_problems(report, name: str):
    made = report(name)
    points = made.evidence.sensitivity or [p for p in made.evidence.trials if p.alpha]
    figure = made.figures["layer_dose"]
    _, *doses = figure.columns
    if name == "helps":
        assert len(doses) <= BINS
    step = 0.05
    wanted = [
        p for p in points if (p.method, p.layer) == ("dac", 9) and abs(p.delivered - 0.1) < step / 2
    ]
    correct = sum(round(p.accuracy * p.problems) for p in wanted)
    cell = dict(zip(doses, next(r for r in figure.rows if r[0] == "dac, layer 9")[1:], strict=True))
    assert cell["+0.1"] == f"{100 * correct / sum(p.problems for p in wanted):.0f}"
