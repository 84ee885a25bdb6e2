"""The files behind a rule: all that is imported, and nothing else."""

import pytest

from snakesteer.code_files import PACKAGE, PLUMBING, library_files


def names(*modules):
    return {path.relative_to(PACKAGE).as_posix() for path in library_files(*modules)}


def test_vectors_depend_on_no_model_and_no_engine():
    assert names("vectors") == {
        "activations_file.py",
        "directions/__init__.py",
        "probes.py",
        "tensor_files.py",
        "vectors.py",
    }


def test_the_study_depends_on_the_interface_of_the_engine_alone():
    found = names("search.study")
    assert {name for name in found if name.startswith("engine/")} == {"engine/interface.py"}
    assert {"search/study.py", "search/space.py", "evaluation.py", "grading.py"} <= found


def test_activations_do_not_depend_on_the_engine_or_the_search():
    found = names("activations")
    assert {"models/blocks.py", "models/loading.py", "prompts.py"} <= found
    assert not any(name.startswith(("engine/", "search/")) for name in found)


def test_imports_within_functions_and_of_modules_from_packages_count():
    # sources.py says `from snakesteer.data import embedded`.
    assert "data/embedded.py" in names("data.sources")


def test_several_modules_give_the_union_sorted():
    both = library_files("pairs", "vectors")
    assert {p.relative_to(PACKAGE).as_posix() for p in both} == names("pairs") | names("vectors")
    assert both == sorted(both)


@pytest.mark.parametrize(
    "module", ["open_engine", "final_test", "search.run", "search.best", "data.sources"]
)
def test_plumbing_is_left_out_and_all_files_exist(module):
    files = library_files(module)
    assert all(path.is_file() for path in files)
    plumbing = [name.partition(".")[2] for name in PLUMBING]
    used = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in files}
    assert used.isdisjoint(plumbing)
    assert all((PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file() for name in plumbing)


def test_plumbing_that_is_asked_for_is_there():
    assert names("provenance") == {"provenance.py", "comparable.py"}


def test_a_module_that_is_not_there():
    with pytest.raises(FileNotFoundError):
        library_files("nonsense")
