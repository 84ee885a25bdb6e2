"""What is exported: the chosen configuration, its vectors, and all that is known of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import snakesteer
from snakesteer.config import ModelConfig, PairsConfig
from snakesteer.records.files import read_json, read_jsonl, sha256_file
from snakesteer.steering.build import steering_of
from snakesteer.steering.candidate import Candidate, VectorKey, candidate_from_params
from snakesteer.steering.residual import ResidualSteering
from snakesteer.steering.vector import AnyVector, Vector, read_vectors

LICENCE = (
    "Derived from the activations of the model named here: its licence may bind what is done with "
    "the vector. snakesteer itself claims no rights in it."
)
STRENGTHS = {
    "add": "alpha times the tensor is added",
    "clamp": "the component along the tensor is set to alpha times the tensor's length",
    "norm_preserving": "alpha times the tensor is added, and the old length restored",
    "angular": "turned towards the tensor by alpha radians",
    "rotate": "turned by alpha radians in the plane of the tensor and axis_L, towards the tensor",
    "ablate": "of the component along the tensor, the share alpha is removed (1 is all of it)",
}
DYNAMIC = (
    "alpha times alpha_t times the tensor is added; alpha_t is what the parameters of "
    "`configuration` give at each token"
)
GATE = (
    "steer only where the score of the output of block `configuration.gate.layer` is on the named "
    "side of `configuration.gate.threshold`. The score is its cosine with tensor gate_layer_L, or "
    "its projection on it (h·v/‖v‖), before that block is steered: every token's own, or the last "
    "prompt token's for all (`configuration.gate.when`)"
)


@dataclass(frozen=True, eq=False)
class Chosen:
    """A configuration that steers.

    Attributes:
        candidate: The configuration.
        steering: The same with its vectors.
        model: The model section, at the commit that was run.
        model_type: HuggingFace's name of the architecture.
        card: All that is known of it, for people and programs; JSON.
    """

    candidate: Candidate
    steering: ResidualSteering
    model: ModelConfig
    model_type: str
    card: Mapping[str, Any]


def read_candidate(best: str) -> Candidate:
    """The configuration of a best_config.json."""
    return candidate_from_params(read_json(best)["best_trial_params"])


def read_chosen(
    best: str,
    results: str,
    info: str,
    pairs: str,
    vectors: Sequence[str],
    model: ModelConfig,
    pairs_config: PairsConfig,
) -> Chosen:
    """Collect what an export is made of.

    Args:
        best: best_config.json.
        results: test_evaluation.json.
        info: model/info.json.
        pairs: The train pairs.
        vectors: All vector files.
        model: The model section.
        pairs_config: How the pairs were made.
    """
    record, tested, about = read_json(best), read_json(results), read_json(info)
    candidate = candidate_from_params(record["best_trial_params"])
    found = read_vectors(vectors)
    steering = steering_of(candidate, found)
    assert isinstance(steering, ResidualSteering)  # others are refused before
    card = {
        "format": "snakesteer steering vector",
        "snakesteer": snakesteer.__version__,
        "model": {
            **{key: about[key] for key in ("name", "revision", "commit", "model_type")},
            **{key: about[key] for key in ("hidden_size", "num_layers")},
            "dtype": tested["run"]["dtype"],
        },
        "convention": "tensor layer_L belongs to the output of block L, counted from 0",
        "strength": DYNAMIC if candidate.dynamic else STRENGTHS[candidate.operator],
        "layers": _layers(candidate, steering, found),
        "operator": candidate.operator,
        **({"gate": GATE} if candidate.gate is not None else {}),
        "configuration": record["best_trial_params"],
        "prompt": tested["config"]["prompt"],
        "pairs": {
            **pairs_config.model_dump(mode="json"),
            "count": len(read_jsonl(pairs)),
            "sha256": sha256_file(pairs),
        },
        "seed": record["random_seed"],
        "validation": {
            key: record[key]
            for key in (
                "best_validation_score",
                "baseline_validation_score",
                "validation_problems",
                "recommendation",
            )
        },
        "test": {
            key: tested[key]
            for key in (
                "accuracy_improvement",
                "accuracy_improvement_ci",
                "confidence",
                "mcnemar",
                "verdict",
                "num_test_samples",
            )
        },
        "licence": LICENCE,
    }
    pinned = {"name": about["name"], "revision": about["commit"] or model.revision}
    return Chosen(
        candidate=candidate,
        steering=steering,
        model=model.model_copy(update=pinned),
        model_type=about["model_type"],
        card=card,
    )


def _layers(
    candidate: Candidate, steering: ResidualSteering, vectors: Mapping[VectorKey, AnyVector]
) -> dict[str, dict[str, Any]]:
    """Strength and norms of every steered layer, by its number."""
    rows = {}
    for place in steering.places:
        vector = vectors[candidate.direction, place.layer]
        assert isinstance(vector, Vector)
        rows[str(place.layer)] = {
            "tensor": f"layer_{place.layer}",
            "alpha": place.alpha,
            "norm": vector.norm,
            "mean_residual_norm": vector.mean_residual_norm,
        }
    return rows
