"""Memory that a job asks for, from files on this disk."""

from pathlib import Path

import pytest

from snakesteer.config import ModelConfig
from snakesteer.models.memory import BESIDE_MB, FLOOR_MB, UNKNOWN_MB, memory_mb, weights_bytes


def sparse(path: Path, size: float) -> str:
    """A file of that size, which takes no room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(int(size))
    return str(path)


@pytest.mark.parametrize(
    ("gigabytes", "changes", "expected"),
    [
        ((0.3,), {}, FLOOR_MB),
        ((2.0, 2.4), {}, BESIDE_MB + 5500),
        ((5.0, 5.0, 4.0), {"dtype": "bfloat16"}, BESIDE_MB + 17_500),
        ((2.0, 2.0), {"dtype": "float32"}, BESIDE_MB + 9000),
        ((2.0, 2.0), {"device": "cpu"}, BESIDE_MB + 9000),
        ((70.0, 70.0), {}, BESIDE_MB + 175_000),
    ],
)
def test_it_follows_from_the_weights(tmp_path: Path, gigabytes, changes, expected):
    files = [
        sparse(tmp_path / f"{number}.safetensors", size * 1e9)
        for number, size in enumerate(gigabytes)
    ]
    files.append(sparse(tmp_path / "tokenizer.json", 9e9))
    model = ModelConfig(name=str(tmp_path), **changes)
    assert memory_mb(model, files) == expected


def test_of_two_formats_one_counts(tmp_path: Path):
    files = [sparse(tmp_path / name, 5e9) for name in ("model.bin", "model.safetensors")]
    assert weights_bytes(files) == 5_000_000_000
    assert weights_bytes(files[:1]) == 5_000_000_000
    assert weights_bytes([str(tmp_path / "none.safetensors")]) is None


def test_a_hub_model_before_and_after_its_download(tmp_path: Path, monkeypatch):
    model = ModelConfig(name="an/id")
    config = tmp_path / "models--an--id" / "snapshots" / "abc" / "config.json"

    def cached(name: str, file: str, revision: str | None) -> str | None:
        assert (name, file, revision) == ("an/id", "config.json", None)
        return str(config) if config.exists() else None

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", cached)
    assert memory_mb(model, []) == UNKNOWN_MB
    sparse(config, 10)
    assert memory_mb(model, []) == UNKNOWN_MB  # its weights are still to come
    sparse(config.with_name("model-00001-of-00001.safetensors"), 8e9)
    assert memory_mb(model, []) == BESIDE_MB + 10_000


def test_the_embedded_model_is_small():
    assert memory_mb(ModelConfig(), ["resources/not/there.safetensors"]) == FLOOR_MB
