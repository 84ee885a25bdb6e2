"""Which form of TPE finds the best steering in fewest trials? No model: accuracy is a function.

    python benchmarks/sampler.py --seeds 200

Each seed draws a landscape: for every method of the space the direction, layer and strength at
which it helps most, and how much. A trial sees its true accuracy through 100 problems (binomial
noise). Methods of a landscape either have optima of their own (conflict) or share one (agree).
Parameters come from the functions that the search itself uses.
"""

import argparse
import itertools
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import optuna
from optuna.samplers import TPESampler

from snakesteer.config import SteeringConfig
from snakesteer.config.catalogue import METHODS
from snakesteer.steering.candidate import ALL_LAYERS, Candidate
from snakesteer.steering.space import suggest, unsteered_start
from snakesteer.steering.vector import AnyVector, HeadVector, Vector

LAYERS = tuple(range(6, 19, 2))  # as config/gsm8k-full.yaml
DIRECTIONS = ["caa", "probe"]
PROBLEMS = 100
UNSTEERED = 0.5
NEAR = 0.03  # of the optimum
BUDGETS = (20, 50)
STARTUP = 10
LANDSCAPES = ("conflict", "agree")
SPACES = {"two": ["caa", "dac"], "three": ["caa", "dac", "iti"]}

# TPE's options, and whether every method has names of its own.
INDEPENDENT: dict[str, Any] = {"multivariate": False}
JOINT: dict[str, Any] = {"multivariate": True}
GROUPS: dict[str, Any] = {"multivariate": True, "group": True}
FORMS: dict[str, tuple[dict[str, Any], bool]] = {
    "multivariate": (JOINT, False),
    "independent": (INDEPENDENT, False),
    "multivariate, group": (GROUPS, False),
    # Without groups the methods share no parameter, so that joint and independent are one.
    "own names": (JOINT, True),
    "multivariate, group, own names": (GROUPS, True),
}


@dataclass(frozen=True)
class Peak:
    """Where a method helps most, and how much."""

    direction: str
    layer: int
    dose: float
    max_alpha: float
    gain: float


class OwnNames:
    """A trial whose parameters, but for the method, carry the method's name."""

    def __init__(self, trial: optuna.Trial) -> None:
        self.trial, self.prefix = trial, ""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """As Optuna's."""
        found = self.trial.suggest_categorical(self.prefix + name, choices)
        if name == "steering_method":
            self.prefix = f"{found}."
        return found

    def suggest_float(self, name: str, low: float, high: float) -> float:
        """As Optuna's."""
        return self.trial.suggest_float(self.prefix + name, low, high)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """As Optuna's."""
        return self.trial.suggest_int(self.prefix + name, low, high, step=step)


def space_of(methods: list[str]) -> tuple[SteeringConfig, dict[tuple[str, int], AnyVector]]:
    """A config and its vectors; what they hold does not matter."""
    vectors: dict[tuple[str, int], AnyVector] = {
        (direction, layer): Vector(direction, layer, np.ones(4, np.float32), 2.0)
        for direction in DIRECTIONS
        for layer in LAYERS
    }
    for name in methods:
        if METHODS[name].kind == "heads":
            delta = np.ones((1, 2, 4), np.float32)
            vectors[name, ALL_LAYERS] = HeadVector(name, delta, np.ones(2, np.float32))
    return SteeringConfig(methods=methods, directions=DIRECTIONS), vectors


def landscape(methods: Sequence[str], agree: bool, seed: int) -> dict[str, Peak]:
    """A peak for each method."""
    rng = np.random.default_rng(seed)

    def peak() -> Peak:
        return Peak(
            direction=str(rng.choice(DIRECTIONS)),
            layer=int(rng.choice(LAYERS)),
            dose=float(rng.choice([-1, 1]) * rng.uniform(0.05, 0.25)),
            max_alpha=float(rng.uniform(1.0, 5.0)),
            gain=float(rng.uniform(0.05, 0.3)),
        )

    peaks = {name: peak() for name in methods}
    if agree:
        first = peaks[methods[0]]
        gains = {name: found.gain for name, found in peaks.items()}
        peaks = {name: Peak(**{**vars(first), "gain": gains[name]}) for name in methods}
    return peaks


def accuracy(peak: Peak, method: str, direction: str, layer: int, dose: Any, cap: float) -> Any:
    """True accuracy: a bump around the peak, and harm that grows with the strength."""
    near = np.exp(-(((dose - peak.dose) / 0.07) ** 2) / 2)
    if METHODS[method].kind != "heads":
        near = near * np.exp(-(((layer - peak.layer) / 4) ** 2) / 2)
        near = near * (1.0 if direction == peak.direction else 0.4)
    if method == "dac":
        near = near * np.exp(-(((cap - peak.max_alpha) / 2) ** 2) / 2)
    return UNSTEERED + peak.gain * near - 0.15 * (dose / 0.3) ** 2


def optimum(peaks: dict[str, Peak]) -> float:
    """The highest true accuracy of a landscape."""
    doses = np.linspace(-0.3, 0.3, 601)
    return max(
        float(accuracy(peak, name, peak.direction, peak.layer, doses, peak.max_alpha).max())
        for name, peak in peaks.items()
    )


def true_accuracy(peaks: dict[str, Peak], candidate: Candidate) -> float:
    """That of a candidate."""
    return float(
        accuracy(
            peaks[candidate.method],
            candidate.method,
            candidate.direction,
            candidate.layer,
            candidate.dose,
            candidate.max_alpha or 0.0,
        )
    )


def search(
    form: str, space: str, agree: bool, at_once: int, rounds: bool, seed: int
) -> tuple[float, ...]:
    """One search; the regret of the best-looking trial at each budget, and trials until near.

    Trials are asked for until so many run at once; then all of them have their results (rounds), or
    the first one has.
    """
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    options, own = FORMS[form]
    config, vectors = space_of(SPACES[space])
    peaks = landscape(config.methods, agree, seed)
    top = optimum(peaks)
    rng = np.random.default_rng((seed, 1))
    study = optuna.create_study(direction="maximize")
    start = unsteered_start(config, LAYERS)
    if own:
        first = start["steering_method"]
        start = {k if k == "steering_method" else f"{first}.{k}": v for k, v in start.items()}
    study.enqueue_trial(start)
    true: list[float] = []
    seen: list[float] = []
    asked: list[tuple[optuna.Trial, float]] = []
    while len(true) < max(BUDGETS):
        while len(asked) < min(at_once, max(BUDGETS) - len(true)):
            study.sampler = TPESampler(
                n_startup_trials=STARTUP,
                constant_liar=at_once > 1,
                seed=(seed * 1_000_003 + len(true) + len(asked)) % 2**32,
                **options,
            )
            trial = study.ask()
            candidate = suggest(OwnNames(trial) if own else trial, config, LAYERS, vectors)
            asked.append((trial, true_accuracy(peaks, candidate)))
        for _ in range(len(asked) if rounds else 1):
            trial, right = asked.pop(0)
            found = rng.binomial(PROBLEMS, min(1.0, max(0.0, right))) / PROBLEMS
            study.tell(trial, found)
            true.append(right)
            seen.append(found)
    regrets = [top - true[int(np.argmax(seen[:budget]))] for budget in BUDGETS]
    near = next((n for n, value in enumerate(true, 1) if value >= top - NEAR), np.inf)
    return (*regrets, float(near))


def _search(task: tuple[str, str, bool, int, bool, int]) -> tuple[float, ...]:
    return search(*task)


def main() -> None:
    """Print a table a space, with Monte-Carlo standard errors."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=160)
    parser.add_argument("--at-once", type=int, default=6, help="trials that run side by side")
    parser.add_argument("--rounds", action="store_true", help="none is asked for until all ended")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--spaces", nargs="+", choices=SPACES, default=[*SPACES])
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=[*FORMS])
    parser.add_argument("--landscapes", nargs="+", choices=LANDSCAPES, default=[*LANDSCAPES])
    parser.add_argument("--save", type=Path, help="folder for the numbers of every search")
    options = parser.parse_args()
    with ProcessPoolExecutor(options.processes) as pool:
        for space, kind in itertools.product(options.spaces, options.landscapes):
            print(f"\n{space}, {kind}")
            first = None
            for form in options.forms:
                tasks = [
                    (form, space, kind == "agree", options.at_once, options.rounds, seed)
                    for seed in range(options.seeds)
                ]
                found = np.array(list(pool.map(_search, tasks, chunksize=4)))
                if options.save:
                    np.save(options.save / f"{space}-{kind}-{form}-{options.at_once}.npy", found)
                first = found if first is None else first
                print(f"| {form} | {' | '.join(_cells(found, first))} |", flush=True)


def _cells(found: np.ndarray, first: np.ndarray) -> list[str]:
    """Mean regrets in points with their change from the first form, and trials until near."""
    cells = []
    for regret, other in zip(found.T[:-1], first.T[:-1], strict=True):
        change = 100 * (regret - other)
        error = change.std(ddof=1) / np.sqrt(len(change))
        cells.append(f"{100 * regret.mean():.2f} ({change.mean():+.2f} ± {error:.2f})")
    near = found[:, -1]
    return [*cells, f"{np.median(near):g}", f"{np.mean(np.isfinite(near)):.0%}"]


if __name__ == "__main__":
    main()
