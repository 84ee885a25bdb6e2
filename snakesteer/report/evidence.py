"""What a run found, read from its files."""

import csv
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from snakesteer.errors import UserError
from snakesteer.evaluation.statistics import wilson
from snakesteer.evaluation.strengths import read_strengths
from snakesteer.records.files import read_json, read_jsonl
from snakesteer.records.library_causes import RESULT
from snakesteer.records.library_errors import told
from snakesteer.records.tensors import read_tensors
from snakesteer.search.database import read_db
from snakesteer.steering.candidate import candidate_from_params
from snakesteer.vectors.training.steps import TrainingStep, read_steps

# Controls by kind; others keep their own labels.
CONTROLS = {"prompt": "Prompt only"}

# With fewer finished trials the importances of four or more parameters are noise.
MIN_TRIALS_FOR_IMPORTANCE = 20

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Arm:
    """One way of answering the test split; fractions throughout.

    Attributes:
        label: What a reader calls it.
        kind: ``unsteered``, ``steered``, or the kind of a control.
        accuracy: With its confidence interval.
        accuracy_ci: Low and high.
        difference: From the unsteered answers to the same problems; None for those themselves.
        difference_ci: Low and high.
        gained: Problems that only this arm answered correctly.
        lost: Problems that only the unsteered model answered correctly.
        p_value: Of McNemar's exact test, or what stands in its place.
        p_holm: A control's, adjusted for the number of controls.
        verdict: In one word; a control's follows its adjusted p-value.
    """

    label: str
    kind: str
    accuracy: float
    accuracy_ci: tuple[float, float]
    difference: float | None = None
    difference_ci: tuple[float, float] | None = None
    gained: int | None = None
    lost: int | None = None
    p_value: float | None = None
    p_holm: float | None = None
    verdict: str | None = None


@dataclass(frozen=True)
class Point:
    """The validation accuracy of one configuration.

    Attributes:
        method: Steering method.
        direction: How the vector was estimated.
        layer: 0-based block.
        alpha: Factor on the raw vector.
        dose: Length of what is added, in mean residual norms; of a dynamic strength, at α_t = 1.
        problems: Problems answered; a pruned trial saw fewer.
        accuracy: On them.
        accuracy_ci: Wilson's interval.
        pruned: Whether the search ended it early.
        trial: Number of the trial; None on the sensitivity grid.
        mean_alpha_t: Of a trial; 1 where its strength is constant.
        kl: Of a trial on neutral text, in nats per token; None where that was no objective.
        on_front: Whether a trial is on the Pareto front.
    """

    method: str
    direction: str
    layer: int
    alpha: float
    dose: float
    problems: int
    accuracy: float
    accuracy_ci: tuple[float, float]
    pruned: bool = False
    trial: int | None = None
    mean_alpha_t: float = 1.0
    kl: float | None = None
    on_front: bool = False

    @property
    def delivered(self) -> float:
        """The dose that was delivered, with its sign."""
        return self.dose * self.mean_alpha_t


@dataclass(frozen=True)
class Evidence:
    """All that the report says.

    Attributes:
        test: test_final.json.
        generations: Rows of test_generations.jsonl.
        best: best_config.json.
        baseline: baseline/val.json.
        trials: Trials that finished or were pruned.
        failures: Error message of each failed trial, by its number.
        over_budget: KL on neutral text, in nats per token, of each trial that cost more than it
            may, and so answered nothing; by its number.
        importance: Importance of each searched parameter, the largest first; None where there are
            too few trials, or their accuracies do not differ.
        probes: Validation metrics of each layer's probe.
        vectors: Headers of the vectors that were set beside contrast pairs.
        model: model/info.json.
        manifest: splits/manifest.json.
        provenance: provenance.json.
        zero_steering: checks/zero_steering.json.
        controls: controls.json.
        strengths: Rows of sensitivity.csv; None where the report does without.
        training: Steps of every training of vectors, by the name of what was trained.
        off_target: What test_final.json says of it; None where the report does without.
        harness: Likewise; None where no tasks of lm-evaluation-harness are named.
    """

    test: Record
    generations: Sequence[Record]
    best: Record
    baseline: Record
    trials: Sequence[Point]
    failures: Mapping[int, str]
    importance: Mapping[str, float] | None
    probes: Sequence[Record]
    vectors: Sequence[Record]
    model: Record
    manifest: Record
    provenance: Record
    zero_steering: Record
    controls: Record
    strengths: Sequence[Record] | None = None
    training: Mapping[str, Sequence[TrainingStep]] = field(default_factory=dict)
    off_target: Record | None = None
    harness: Record | None = None
    over_budget: Mapping[int, float] = field(default_factory=dict)

    @property
    def config(self) -> Record:
        """The effective config of the run."""
        return self.provenance["config"]

    @property
    def params(self) -> Record:
        """The chosen configuration."""
        return self.test["best_trial_params"]

    @property
    def dynamic(self) -> bool:
        """Whether the strength of the chosen configuration is set anew at every token."""
        return bool(self.params["scope"] == "dynamic")

    @property
    def samples(self) -> int:
        """Answers to each test problem."""
        return int(self.test["seeds"]["samples"]) if "seeds" in self.test else 1

    @property
    def answered(self) -> str:
        """How often the test problems were answered, in words."""
        return "answered once" if self.samples == 1 else f"answered {self.samples} times each"

    @property
    def chosen_warnings(self) -> list[str]:
        """What speaks against the vectors that the chosen configuration steers with."""
        candidate = candidate_from_params(self.params)
        used = set(candidate.vector_keys if candidate.kind == "residual" else ())
        return [
            f"The {header['direction']} vector of layer {header['layer']} is {warning}."
            for header in self.vectors
            for warning in header["warnings"]
            if (header["direction"], header["layer"]) in used
        ]

    @property
    def sensitivity(self) -> list[Point] | None:
        """Points of the sensitivity grid, if the report has it."""
        return None if self.strengths is None else list(map(_strength, self.strengths))

    @property
    def validation_accuracy(self) -> float:
        """Of the unsteered model."""
        return float(self.baseline["accuracy"])

    @property
    def arms(self) -> list[Arm]:
        """Unsteered first, then the tested configuration, then the controls."""
        before, after = (self.test[f"{name}_benchmark_metrics"] for name in ("baseline", "steered"))
        arms = [Arm("Unsteered", "unsteered", before["accuracy"], _pair(before["accuracy_ci"]))]
        arms.append(
            Arm(
                label="Tested steering",
                kind="steered",
                accuracy=after["accuracy"],
                accuracy_ci=_pair(after["accuracy_ci"]),
                difference=self.test["accuracy_improvement"],
                difference_ci=_pair(self.test["accuracy_improvement_ci"]),
                verdict=self.test["verdict"],
                **self.test["mcnemar"],
            )
        )
        return arms + [_control(record) for record in self.controls["controls"]]


def read_evidence(
    *,
    test: str | Path,
    generations: str | Path,
    best: str | Path,
    baseline: str | Path,
    trials: str | Path,
    db: str | Path,
    probes: Sequence[str | Path],
    vectors: Sequence[str | Path],
    model: str | Path,
    manifest: str | Path,
    provenance: str | Path,
    zero_steering: str | Path,
    controls: str | Path,
    sensitivity: str | Path | None = None,
    training: Sequence[str | Path] = (),
) -> Evidence:
    """Read the files of a run; the names are those of `Evidence`, ``db`` is the study.

    Raises:
        UserError: A file is missing or damaged.
    """
    record = read_json(test)
    rows = _read_trials(trials)
    return Evidence(
        test=record,
        generations=read_jsonl(generations),
        best=read_json(best),
        baseline=read_json(baseline),
        trials=[
            _trial(row, record["confidence"])
            for row in rows
            if row["state"] != "FAIL" and row["accuracy"]
        ],
        failures={int(row["number"]): row["error"] for row in rows if row["state"] == "FAIL"},
        importance=importance(read_db(db)),
        probes=sorted(map(read_json, probes), key=lambda probe: probe["layer"]),
        vectors=sorted(
            # Others were not made from contrast pairs.
            (header for path in vectors if "token_cosine" in (header := read_tensors(path)[1])),
            key=lambda header: (header["direction"], header["layer"]),
        ),
        model=read_json(model),
        manifest=read_json(manifest),
        provenance=read_json(provenance),
        zero_steering=read_json(zero_steering),
        controls=read_json(controls),
        strengths=read_strengths(sensitivity) if sensitivity else None,
        training={Path(path).stem.replace("_", " "): read_steps(path) for path in training},
        off_target=record.get("off_target"),
        harness=record.get("harness"),
        over_budget={
            int(row["number"]): float(row["kl"])
            for row in rows
            if row["state"] == "PRUNED" and not row["accuracy"]
        },
    )


def importance(study: optuna.Study) -> dict[str, float] | None:
    """Share of each searched parameter in what makes a trial good, the largest first.

    PED-ANOVA: Watanabe et al. 2023, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance
    in Arbitrary Subspaces" (arXiv 2304.10255).

    Returns:
        Shares that sum to 1; None where `MIN_TRIALS_FOR_IMPORTANCE` is not reached, or no parameter
        makes a difference.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    accuracies = {trial.values[0] for trial in complete}
    if len(complete) < MIN_TRIALS_FOR_IMPORTANCE or len(accuracies) == 1:
        return None
    # Of several objectives one must be named, and a named one is taken to be small at its best.
    several = len(study.directions) > 1
    target = (lambda trial: -trial.values[0]) if several else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is experimental in some versions of Optuna
        found = get_param_importances(
            study, evaluator=PedAnovaImportanceEvaluator(), target=target, normalize=False
        )
    total = sum(found.values())
    if not total > 0.0:
        return None
    # A parameter with one value was not searched.
    searched = {
        name
        for trial in complete
        for name, distribution in trial.distributions.items()
        if not distribution.single()
    }
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return {name: value / total for name, value in ranked if name in searched}


def _trial(row: Mapping[str, str], confidence: float) -> Point:
    problems, accuracy = int(float(row["problems"])), float(row["accuracy"])
    return Point(
        method=row["steering_method"],
        direction=row["steering_direction"],
        layer=int(float(row["layer_id"])),
        alpha=float(row["steering_alpha"]),
        dose=float(row["steering_dose"]),
        problems=problems,
        accuracy=accuracy,
        accuracy_ci=wilson(round(accuracy * problems), problems, confidence),
        pruned=row["state"] == "PRUNED",
        trial=int(row["number"]),
        mean_alpha_t=float(row["mean_alpha_t"] or 1.0),
        kl=float(row["kl"]) if "kl" in row else None,
        on_front=row.get("on_front") == "True",
    )


def _strength(row: Record) -> Point:
    return Point(
        **{name: row[name] for name in ("method", "direction", "layer", "alpha", "dose")},
        problems=row["n"],
        accuracy=row["accuracy"],
        accuracy_ci=(row["low"], row["high"]),
    )


def _read_trials(path: str | Path) -> list[dict[str, str]]:
    with (
        told(RESULT, str(path), "is not a readable table"),
        Path(path).open(encoding="utf-8", newline="") as stream,
    ):
        rows = list(csv.DictReader(stream))
    if not rows or not rows[0].keys() >= {"number", "state", "accuracy"}:
        raise UserError(f"{path} is not a table of trials", RESULT.remedy)
    return rows


def _control(record: Record) -> Arm:
    return Arm(
        label=CONTROLS.get(record["kind"], record["label"].removeprefix("the ").capitalize()),
        kind=record["kind"],
        accuracy=record["accuracy"],
        accuracy_ci=_pair(record["accuracy_ci"]),
        difference=record["difference"],
        difference_ci=_pair(record["difference_ci"]),
        verdict=record["verdict"],
        p_holm=record["p_holm"],
        **record["mcnemar"],
    )


def _pair(values: Sequence[float]) -> tuple[float, float]:
    low, high = values
    return float(low), float(high)
