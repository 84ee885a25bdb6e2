"""Which directions help: each at its best layer and dose, measured on other problems.

    python benchmarks/directions.py --model FOLDER

Every vector is made from train problems. Its layer and dose are the best on validation problems;
what is printed is measured on others. All are of the embedded source's train part, so that no test
problem is looked at. Intervals are paired bootstrap intervals of the difference to no steering.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks import common
from snakesteer.config import Direction, GenerationConfig, PairKind, ReadPosition
from snakesteer.config.load import load_config
from snakesteer.config.training import Objective, TrainingConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter, split_examples
from snakesteer.data.sources import load_official
from snakesteer.data.splits import carve_train_val
from snakesteer.engine.interface import Decoding, Engine
from snakesteer.engine.open import decoding_of
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.evaluation.answers import Answer, answer_all
from snakesteer.evaluation.solutions import sample_solutions
from snakesteer.evaluation.statistics import changed, paired_bootstrap
from snakesteer.evaluation.steered_text import load_model, steer
from snakesteer.evaluation.trained import Task, train_vectors
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.kinds import Steering
from snakesteer.steering.vector import Vector
from snakesteer.vectors.activations import read_activations
from snakesteer.vectors.capture import write_activations
from snakesteer.vectors.estimate import Diagnostics, diagnose, make_vector, vector_at
from snakesteer.vectors.pairs import make_pairs
from snakesteer.vectors.probe_fits import fit_probe
from snakesteer.vectors.reads import readable_pairs
from snakesteer.vectors.token_means import crossed_part, without_part


@dataclass(frozen=True)
class Contrast:
    """Pairs, where they are read, and the directions that are estimated from them."""

    kind: PairKind
    read: ReadPosition
    directions: tuple[Direction, ...] = ("caa",)
    remove_token_means: bool = False


ESTIMATORS: tuple[Direction, ...] = ("caa", "mean_centring", "pca", "probe")
CONTRASTS = (
    Contrast("gold_vs_corrupted", "first_difference"),
    Contrast("gold_vs_corrupted", "first_difference", remove_token_means=True),
    Contrast("gold_vs_corrupted", "before_last_number", ESTIMATORS),
    Contrast("own_right_vs_wrong", "response_mean", ESTIMATORS),
    Contrast("own_right_vs_wrong", "response_mean", remove_token_means=True),
    Contrast("gold_vs_own_wrong", "response_mean"),
    Contrast("gold_vs_own_wrong", "response_mean", remove_token_means=True),
    Contrast("prompt_contrast", "last_prompt_token"),
)
COLUMNS = (
    "direction",
    "block",
    "dose",
    "where chosen",
    "elsewhere",
    "difference",
    "gained / lost",
    "halves",
    "tokens",
)
OBJECTIVES: tuple[Objective, ...] = ("sft", "own_correct", "preference", "reinforce")


@dataclass(frozen=True, eq=False)
class Found:
    """A direction at all layers, by a name that says how it was made."""

    name: str
    vectors: Sequence[Vector]
    diagnostics: Sequence[Diagnostics | None]


@dataclass(frozen=True, eq=False)
class Bench:
    """What all directions share."""

    loaded: LoadedModel
    prompter: Prompter
    train: Sequence[Problem]
    layers: Sequence[int]
    generation: GenerationConfig
    slots: int | None
    seed: int

    def sampler(self, temperature: float) -> Engine:
        """An engine for the model's own solutions."""
        stop = self.prompter.config.stops
        return self.engine(Decoding(temperature=temperature, stop=stop))

    def engine(self, decoding: Decoding) -> Engine:
        """An engine."""
        return SlotsEngine(
            self.loaded, decoding, self.slots, shared_prefix=self.prompter.shared_prefix()
        )

    def solutions(self, temperature: float, samples: int) -> list[dict[str, object]]:
        """The model's own solutions of the train problems."""
        generation = self.generation.model_copy(update={"seed": self.seed})
        engine = self.sampler(temperature)
        return sample_solutions(engine, self.prompter, self.train, generation, samples)


def contrasted(bench: Bench, contrasts: Sequence[Contrast], folder: Path) -> Iterator[Found]:
    """Directions from pairs."""
    pairs = load_config({}).pairs
    solutions = bench.solutions(pairs.temperature, pairs.samples)
    for contrast in contrasts:
        made = make_pairs(contrast.kind, bench.train, solutions, pairs.prompts, bench.seed)
        texts = readable_pairs(bench.prompter, made, contrast.read, pairs.min_pairs, "train")
        write_activations(folder, bench.loaded, texts, bench.layers, {})
        layers = [read_activations(folder / f"layer_{layer}.h5") for layer in bench.layers]
        if contrast.remove_token_means:
            layers = [without_part(one, crossed_part(one)) for one in layers]
        probes = [fit_probe(one, load_config({}).probe.c) for one in layers]
        for direction in contrast.directions:
            vectors = [
                make_vector(direction, one, probe)
                for one, probe in zip(layers, probes, strict=True)
            ]
            name = f"{contrast.kind}, {contrast.read}"
            less = ", token means removed" if contrast.remove_token_means else ""
            yield Found(
                f"{name}{less}: {direction}",
                vectors,
                [diagnose(vector, one) for vector, one in zip(vectors, layers, strict=True)],
            )
    draws = np.random.default_rng(bench.seed).standard_normal(
        (len(layers), layers[0].positive.shape[1])
    )
    yield Found(
        "random",
        [vector_at("caa", d.astype(np.float32), a) for d, a in zip(draws, layers, strict=True)],
        [None] * len(layers),
    )


def trained(bench: Bench, objectives: Sequence[Objective], folder: Path) -> Iterator[Found]:
    """Directions that are trained, at the defaults of the config; one layer at a time."""
    for objective in objectives:
        config = TrainingConfig(objective=objective, seed=bench.seed)
        solutions = (
            bench.solutions(config.temperature, config.samples)
            if objective in ("own_correct", "preference")
            else []
        )
        vectors = []
        for layer in bench.layers:
            task = Task(
                bench.loaded,
                bench.prompter,
                bench.train,
                solutions,
                [layer],
                "from_last_prompt_token",
                None,
            )
            started = time.perf_counter()
            found, learner, _ = train_vectors(
                task,
                config,
                bench.generation,
                partial(bench.sampler, config.temperature),
                folder / f"{objective}-{layer}",
                {},
            )
            seconds = time.perf_counter() - started
            print(
                f"{objective}, block {layer}: {len(learner.log) - 1} steps in {seconds:.1f} s, "
                f"epoch {learner.best_epoch}, dose {found[0].dose(1.0):.3f}",
                file=sys.stderr,
            )
            vectors += found
        yield Found(f"trained, {objective}", vectors, [None] * len(vectors))


def right(answers: Sequence[Answer]) -> list[bool]:
    """Which answers are right."""
    return [answer.correct for answer in answers]


def percent(answers: Sequence[Answer]) -> str:
    """Accuracy."""
    return f"{100 * sum(right(answers)) / len(answers):.1f}"


def compare(
    bench: Bench,
    directions: Sequence[Found],
    doses: Sequence[float],
    choosing: Sequence[Problem],
    measuring: Sequence[Problem],
) -> list[str]:
    """The table's lines: every direction at the layer and dose that are best where it is chosen."""
    config = load_config({})
    engine = bench.engine(decoding_of(bench.generation, config.prompt))

    def answered(
        problems: Sequence[Problem], steerings: Sequence[Steering | None]
    ) -> list[list[Answer]]:
        return answer_all(engine, bench.prompter, problems, steerings, bench.generation)

    places = [
        (number, layer, dose)
        for number in range(len(directions))
        for layer in range(len(bench.layers))
        for dose in doses
    ]
    steerings = [steer(directions[n].vectors[layer], dose) for n, layer, dose in places]
    unsteered, *chosen_on = answered(choosing, [None, *steerings])
    best = [
        max(
            (i for i, (n, _, _) in enumerate(places) if n == number),
            key=lambda i: sum(right(chosen_on[i])),
        )
        for number in range(len(directions))
    ]
    before, *after = answered(measuring, [None, *(steerings[i] for i in best)])
    lines = [
        f"unsteered: {percent(unsteered)} where chosen, {percent(before)} elsewhere",
        f"| {' | '.join(COLUMNS)} |",
        f"|{' --- |' * len(COLUMNS)}",
    ]
    for found, i, answers in zip(directions, best, after, strict=True):
        _, layer, dose = places[i]
        interval = paired_bootstrap(
            right(before), right(answers), config.evaluation.bootstrap_resamples, 0.95, 0
        )
        gained, lost = changed(right(before), right(answers))
        signs = found.diagnostics[layer]
        cells = [
            found.name,
            str(bench.layers[layer]),
            f"{dose:g}",
            percent(chosen_on[i]),
            percent(answers),
            f"{100 * interval.estimate:+.1f} [{100 * interval.low:+.1f}, "
            f"{100 * interval.high:+.1f}]",
            f"{gained} / {lost}",
            f"{signs.split_half_cosine:.2f}" if signs else "",
            f"{signs.token_cosine:.2f}" if signs else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Make all directions, choose their layers and doses, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", required=True, help="folder with the embedded model")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--slots", type=int, default=None)
    parser.add_argument("--train", type=int, default=64, help="problems, few-shot examples too")
    parser.add_argument("--choose", type=int, default=300, help="problems that choose")
    parser.add_argument("--measure", type=int, default=300, help="other problems that measure")
    parser.add_argument("--layers", type=int, nargs="+", default=[9, 12, 18])
    parser.add_argument("--doses", type=float, nargs="+", default=[-0.1, 0.05, 0.1, 0.2, 0.3])
    parser.add_argument("--objectives", nargs="*", choices=OBJECTIVES, default=OBJECTIVES)
    parser.add_argument("--no-contrasts", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    config = load_config({})
    loaded = load_model(options.model, dtype=options.dtype, device=options.device)
    problems = options.choose + options.measure
    official = load_official(config.data, "train")
    train, val = carve_train_val(official, options.train, problems, options.seed)
    examples, rest = split_examples(train, config.prompt.shots, config.prompt.shots_seed)
    prompter = Prompter(config.prompt, examples, loaded.tokenizer)
    bench = Bench(
        loaded, prompter, rest, options.layers, config.generation, options.slots, options.seed
    )
    print(f"{common.describe(loaded)}; {len(rest)} train problems, seed {options.seed}")
    with tempfile.TemporaryDirectory() as name:
        directions = [] if options.no_contrasts else [*contrasted(bench, CONTRASTS, Path(name))]
        directions += trained(bench, options.objectives, Path(name))
    choosing, measuring = val[: options.choose], val[options.choose :]
    print("\n".join(compare(bench, directions, options.doses, choosing, measuring)))


if __name__ == "__main__":
    main()
