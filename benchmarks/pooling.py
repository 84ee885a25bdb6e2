"""How often do the intervals of pooled runs hold the truth? No model: answers are drawn.

    python benchmarks/pooling.py --repetitions 4000

A run has an effect of its own around a mean of five points. A problem is gained or lost where a
normal number passes a threshold; the numbers of two runs on one problem are correlated (0.7), as
the same problems are easily gained by all. The runs draw their test problems independently, answer
the same ones, or draw them from a small source, so that half of them are shared.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy.stats import norm, t

from snakesteer.study.pooling import Floats, pool

Draw = Literal["independent", "the same", "half shared"]
DRAWS: tuple[Draw, ...] = ("independent", "the same", "half shared")
RUNS = (3, 5, 10)
SPREADS = (0.0, 0.03, 0.08)
MEAN = 0.05
ALIKE = 0.7
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Setting:
    """What is drawn.

    Attributes:
        draw: How runs come to their test problems.
        runs: How many are pooled.
        spread: Standard deviation of the runs' effects.
        mean: Their mean.
        problems: Test problems of a run.
        changed: Share of the answers that steering changes.
    """

    draw: Draw
    runs: int
    spread: float
    mean: float = MEAN
    problems: int = 100
    changed: float = 0.3


@dataclass(frozen=True)
class Coverage:
    """Shares of repetitions.

    Attributes:
        mean: The interval of the pooled effect holds the mean.
        naive: So does the one that takes the runs' errors for independent.
        effect: The prediction interval holds the effect of one more run.
        measured: It holds what that run measures.
    """

    mean: float
    naive: float
    effect: float
    measured: float


def simulate(setting: Setting, repetitions: int, seed: int, at_once: int = 250) -> Coverage:
    """Draw studies and count."""
    rng = np.random.default_rng(seed)
    parts = [
        _counted(setting, min(at_once, repetitions - start), rng)
        for start in range(0, repetitions, at_once)
    ]
    return Coverage(*np.concatenate(parts, axis=1).mean(axis=1).tolist())


def _counted(setting: Setting, repetitions: int, rng: np.random.Generator) -> Floats:
    """Whether each interval holds, ``[4, repetitions]``."""
    differences, effects = studies(setting, repetitions, rng)
    known, new = differences[:, :-1], differences[:, -1]
    found = pool(known, CONFIDENCE)
    runs = setting.runs
    seen = np.nanmean(known, axis=-1).var(axis=-1, ddof=1)
    alone = np.sqrt((found.own + found.shared) / runs)
    half = np.maximum(
        t.ppf(0.5 + CONFIDENCE / 2, runs - 1) * np.sqrt(seen / runs),
        norm.ppf(0.5 + CONFIDENCE / 2) * alone,
    )
    low, high = found.prediction_low, found.prediction_high
    # Differences come in steps: one that rounding moved off its step still counts.
    return np.array(
        [
            _holds(found.low, setting.mean, found.high),
            np.abs(found.effect - setting.mean) <= half + 1e-9,
            _holds(low, effects[:, -1], high),
            _holds(low, np.nanmean(new, axis=-1), high),
        ]
    ).astype(float)


def _holds(low: Floats, truth: Floats | float, high: Floats) -> Floats:
    return (low - 1e-9 <= truth) & (truth <= high + 1e-9)


def studies(setting: Setting, repetitions: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Studies with one run more than are pooled.

    Returns:
        Differences ``[repetitions, runs + 1, problems]``, NaN where a run does not answer a
        problem, and the true effects ``[repetitions, runs + 1]``.
    """
    runs, n = setting.runs + 1, setting.problems
    size = {"independent": n, "the same": n, "half shared": 2 * n}[setting.draw]
    drawn = rng.standard_normal((repetitions, runs)).clip(-2.5, 2.5)
    effects = setting.mean + setting.spread * drawn
    own = rng.standard_normal((repetitions, runs, size))
    common = rng.standard_normal((repetitions, 1 if setting.draw != "independent" else runs, size))
    pull = np.sqrt(ALIKE) * common + np.sqrt(1 - ALIKE) * own
    gain = norm.isf((setting.changed + effects) / 2)[..., None]
    lose = norm.ppf((setting.changed - effects) / 2)[..., None]
    differences = (pull > gain).astype(float) - (pull < lose)
    if setting.draw == "half shared":
        place = rng.random((repetitions, runs, size)).argsort(axis=-1)
        differences[place >= n] = np.nan
    elif setting.draw == "independent":
        # Runs side by side: no problem of one is a problem of another.
        apart = np.full((repetitions, runs, runs * size), np.nan)
        for run in range(runs):
            apart[:, run, run * size : (run + 1) * size] = differences[:, run]
        differences = apart
    return differences, effects


def settings() -> Iterator[Setting]:
    """Those of the table."""
    for draw in DRAWS:
        for runs in RUNS:
            for spread in SPREADS:
                yield Setting(draw, runs, spread)
    for draw in DRAWS:
        for runs in RUNS:
            yield Setting(draw, runs, 0.0, mean=0.0, changed=0.05)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=4000)
    options = parser.parse_args()
    print("| Test problems | Changed | Runs | Between runs | Mean | Taken as independent ", end="")
    print("| Effect of one more | Measured by it |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for seed, setting in enumerate(settings()):
        found = simulate(setting, options.repetitions, seed)
        shares = (found.mean, found.naive, found.effect, found.measured)
        print(
            f"| {setting.draw} | {setting.changed:.0%} | {setting.runs} | "
            f"{100 * setting.spread:.0f} points | "
            + " | ".join(f"{100 * share:.1f} %" for share in shares)
            + " |",
            flush=True,
        )


if __name__ == "__main__":
    main()
