"""Chosen configurations of tiny models, with files as a run leaves them."""

import numpy as np

from snakesteer.config import ModelConfig, PairsConfig
from snakesteer.records.files import write_json, write_jsonl
from snakesteer.report.exports.chosen import read_chosen
from snakesteer.steering.candidate import Candidate
from snakesteer.steering.vector import Vector, write_vector
from tests.tiny_models import HIDDEN, NUM_LAYERS, save_tiny_model

LAYERS = (1, 3)
RAW = {
    layer: np.random.default_rng(layer).normal(scale=2.0, size=HIDDEN).astype(np.float32)
    for layer in LAYERS
}
MEANS = {layer: raw[::-1].copy() for layer, raw in RAW.items()}


def candidate(**changes):
    """CAA at layer 1, at every position."""
    values = {"method": "caa", "direction": "caa", "layer": 1, "alpha": 1.5, "dose": 0.3}
    return Candidate(**{**values, "scope": "all", **changes})


BAND = candidate(band_layers=LAYERS, band_alphas=(1.5, -0.7))


def make_chosen(folder, found, family="llama"):
    """The configuration and its vectors, through the files of a finished run."""
    files = []
    for layer, raw in RAW.items():
        files.append(str(folder / "vectors" / "caa" / f"layer_{layer}.safetensors"))
        write_vector(files[-1], Vector("caa", layer, raw, 10.0, MEANS[layer]), {})
    model = save_tiny_model(folder / "model", family)
    best = {
        "best_trial_params": found.params(),
        "best_validation_score": 0.6,
        "baseline_validation_score": 0.5,
        "validation_problems": 200,
        "recommendation": "leave alone",
        "random_seed": 7,
    }
    results = {
        "accuracy_improvement": 0.02,
        "accuracy_improvement_ci": [-0.01, 0.05],
        "confidence": 0.95,
        "mcnemar": {"gained": 9, "lost": 4, "p_value": 0.27},
        "verdict": "inconclusive",
        "num_test_samples": 300,
        "config": {"prompt": {"template": "Question: {question}\nAnswer:"}},
        "run": {"dtype": "float32"},
    }
    info = {
        "name": str(model),
        "revision": "main",
        "commit": None,
        "model_type": family,
        "hidden_size": HIDDEN,
        "num_layers": NUM_LAYERS,
    }
    write_json(folder / "best.json", best)
    write_json(folder / "results.json", results)
    write_json(folder / "info.json", info)
    write_jsonl(folder / "pairs.jsonl", [{"id": "a"}, {"id": "b"}])
    names = ("best.json", "results.json", "info.json", "pairs.jsonl")
    paths = [str(folder / name) for name in names]
    return read_chosen(*paths, files, ModelConfig(name=str(model)), PairsConfig())
