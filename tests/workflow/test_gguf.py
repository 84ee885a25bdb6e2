"""A run of a GGUF model: unpacked once, and known by its file."""

from collections import Counter

import pytest

from snakesteer.records.files import read_json, sha256_file
from tests.tiny_models import tiny_model
from tests.unit.models.test_gguf import write_gguf
from tests.workflow.project import Project

pytestmark = pytest.mark.workflow

MODEL = {"model": {"name": "a folder", "gguf_file": "tiny.gguf", "dtype": "float32"}}


@pytest.fixture
def project(fresh_copy: Project) -> Project:
    (fresh_copy.folder / "a folder").mkdir()
    write_gguf(fresh_copy.folder / "a folder" / "tiny.gguf", tiny_model("llama"))
    return fresh_copy


def test_a_gguf_model_is_unpacked_once(project: Project):
    options = ("--cores", "2", "--resources", "gpu=1")
    run = project.snakemake("vectors", *options, overlay=MODEL)
    assert run.code == 0, run.text
    assert (run.jobs["gguf_file"], run.jobs["gguf_model"], run.jobs["activations"]) == (1, 1, 2)
    info = read_json(project.results / "model" / "info.json")
    file = project.folder / "a folder" / "tiny.gguf"
    assert (info["name"], info["sha256"]) == ("a folder", {"tiny.gguf": sha256_file(file)})
    assert (project.folder / info["copy"] / "model.safetensors").is_file()
    # The copy is shared by results folders, and by dtypes.
    other = {"model": {**MODEL["model"], "dtype": "bfloat16"}, "results": "other results"}
    jobs = project.snakemake("-n", "vectors", overlay=other).jobs
    assert jobs["model_info"] == 1
    assert not {"gguf_file", "gguf_model"} & set(jobs)
    # Another file under the same name is another model.
    write_gguf(file, tiny_model("llama"))
    file.write_bytes(file.read_bytes() + bytes(64))
    jobs = project.snakemake("-n", "vectors", overlay=MODEL).jobs
    assert Counter(gguf_file=1, gguf_model=1, model_info=1, activations=2) <= jobs


def test_a_missing_or_damaged_file_is_explained(project: Project):
    file = project.folder / "a folder" / "tiny.gguf"
    damaged = file.read_bytes()[:600]
    for content, said in ((damaged, "cannot be loaded"), (None, "has no such file")):
        file.unlink()
        if content is not None:
            file.write_bytes(content)
        run = project.snakemake("results/model/info.json", "--cores", "2", overlay=MODEL)
        assert run.code != 0
        assert said in run.text
        assert "Traceback" not in run.text
        assert not list((project.folder / "resources").glob("gguf/*"))
