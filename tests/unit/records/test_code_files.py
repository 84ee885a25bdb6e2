"""The files behind a script: all that it imports, and nothing else."""

import pytest

from snakesteer.records.code_files import PACKAGE, PLUMBING, fingerprint_of, imported_files

SCRIPTS = PACKAGE.parent / "workflow" / "scripts"


@pytest.fixture
def names(tmp_path):
    """Files of the library behind a script that says this."""

    def found(text):
        script = tmp_path / "script.py"
        script.write_text(text)
        return [p.relative_to(PACKAGE).as_posix() for p in imported_files(script)]

    return found


def of_script(name, chosen=None):
    found = imported_files(SCRIPTS / f"{name}.py", chosen)
    return {path.relative_to(PACKAGE).as_posix() for path in found}


def test_vectors_depend_on_no_model_and_no_engine():
    assert of_script("vector", {"vectors.directions": ["pca"]}) == {
        "vectors/directions/__init__.py",
        "vectors/directions/pca.py",
        "records/tensors.py",
        "steering/candidate.py",
        "steering/vector.py",
        "vectors/activations.py",
        "vectors/estimate.py",
        "vectors/probes.py",
        "vectors/token_means.py",
    }


def test_the_fingerprint_is_of_names_and_contents(tmp_path, monkeypatch):
    seen = set()
    for name, text in (("a", "x = 1"), ("a", "x = 2"), ("b", "x = 1")):
        folder = tmp_path / str(len(seen))
        folder.mkdir()
        monkeypatch.setattr("snakesteer.records.code_files.PACKAGE", folder)
        (folder / f"{name}.py").write_text(text)
        (folder / "z.py").write_text("")
        files = [folder / f"{name}.py", folder / "z.py"]
        seen.add(fingerprint_of(files))
        assert fingerprint_of(reversed(files)) in seen
    assert len(seen) == 3
    assert all(len(one) == 16 for one in seen)


def test_modules_found_by_name_count_with_what_they_import_and_only_behind_their_package():
    found = of_script("vector", {"vectors.directions": ["probe"]})
    assert {name for name in found if name.startswith("vectors/directions/")} == {
        "vectors/directions/__init__.py",
        "vectors/directions/caa.py",  # the probe's direction takes its length from it
        "vectors/directions/probe.py",
    }
    assert of_script("probe", {"vectors.directions": ["pca"]}) == of_script("probe")


def test_the_study_depends_on_the_interface_of_the_engine_alone(names):
    found = names("from snakesteer.search.study import run_study")
    assert [name for name in found if name.startswith("engine/")] == ["engine/interface.py"]
    assert {
        "search/study.py",
        "steering/space.py",
        "evaluation/answers.py",
        "evaluation/grading.py",
    } <= {*found}


def test_a_change_of_the_grader_reruns_all_that_grades():
    for script in ("baseline", "search", "test_evaluation", "controls", "sensitivity_grid"):
        assert "evaluation/grading.py" in of_script(script)


def test_activations_do_not_depend_on_the_engine_or_the_search():
    found = of_script("activations")
    assert {"models/blocks.py", "models/loading.py", "data/prompts.py"} <= found
    assert not any(name.startswith(("engine/", "search/")) for name in found)


@pytest.mark.parametrize(
    "text",
    [
        "from snakesteer.data.embedded import generate_problems",
        "from snakesteer.data import embedded",
        "import snakesteer.data.embedded",
        "import snakesteer.data.embedded as one",
        "def f():\n    from snakesteer.data import embedded, problem",
    ],
)
def test_an_import_is_seen_in_every_form(names, text):
    assert {"data/embedded.py", "data/problem.py"} <= {*names(text)}


def test_others_modules_are_no_library(names):
    assert names("import os, numpy.linalg\nfrom json import loads\nfrom . import this") == []


def test_the_files_are_sorted_and_there():
    for script in SCRIPTS.glob("*.py"):
        files = imported_files(script)
        assert files == sorted(files)
        assert all(path.is_file() for path in files)


def test_plumbing_is_left_out_with_its_packages():
    found = {name for script in SCRIPTS.glob("*.py") for name in of_script(script.stem)}
    for module in PLUMBING:
        path = PACKAGE.joinpath(*module.split(".")[1:])
        assert path.is_dir() or path.with_suffix(".py").is_file()
        name = path.relative_to(PACKAGE).as_posix()
        assert f"{name}.py" not in found
        assert not any(one.startswith(f"{name}/") for one in found)


def test_a_script_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        imported_files(tmp_path / "nonsense.py")
