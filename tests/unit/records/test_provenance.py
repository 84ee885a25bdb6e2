"""Provenance: the state of a checkout, versions, hashes."""

import hashlib
import re
import subprocess
from importlib.metadata import version

import pytest

from snakesteer.records.files import sha256_file, write_json
from snakesteer.records.provenance import file_hashes, provenance
from snakesteer.records.versions import git_state, timestamp, versions

NOTHING = {"commit": None, "dirty": None, "diff_sha256": None}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with one commit, away from the user's git settings."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "config").mkdir()
    (folder / "config" / "a.txt").write_text("one\n")
    (folder / ".gitignore").write_text("*.pyc\n")
    git(folder, "add", "config", ".gitignore")
    git(folder, "-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "first")
    return folder


def git(folder, *arguments):
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)
    return done.stdout.decode().strip()


def test_a_clean_checkout(checkout):
    commit = git(checkout, "rev-parse", "HEAD")
    assert git_state(checkout) == {"commit": commit, "dirty": False, "diff_sha256": None}


def test_local_changes_have_a_hash(checkout):
    hashes = set()
    for content in ("two\n", "three\n", "two\n"):
        (checkout / "config" / "a.txt").write_text(content)
        state = git_state(checkout)
        assert state["dirty"] is True
        hashes.add(state["diff_sha256"])
    assert len(hashes) == 2
    (checkout / "config" / "a.txt").write_text("one\n")
    assert git_state(checkout)["dirty"] is False


def test_new_files_count_with_their_contents(checkout):
    hashes = set()
    new = checkout / "snakesteer" / "directions" / "größe.py"
    new.parent.mkdir(parents=True)
    for content in ("", "one\n", "two\n", "one\n"):
        new.write_text(content)
        state = git_state(checkout)
        assert state["dirty"] is True
        hashes.add(state["diff_sha256"])
    assert len(hashes) == 3
    new.unlink()
    new.symlink_to("nowhere")
    assert git_state(checkout)["dirty"] is True


def test_files_that_no_run_depends_on_are_no_changes(checkout):
    clean = git_state(checkout)
    (checkout / "notes.txt").write_text("mine\n")
    (checkout / "config" / "a.pyc").write_text("ignored\n")
    (checkout / ".gitignore").write_text("*.pyc\n*.log\n")
    assert git_state(checkout) == clean


def test_a_checkout_in_a_folder_of_another(checkout):
    inner = checkout / "config"
    (inner / "workflow").mkdir()
    (inner / "workflow" / "a.smk").touch()
    assert git_state(inner)["dirty"] is True


def test_a_diff_that_is_not_utf8(checkout):
    hashes = set()
    for word in ("größer\n", "gräßer\n", "\0a", "\0b"):
        (checkout / "config" / "a.txt").write_bytes(word.encode("latin-1"))
        state = git_state(checkout)
        assert state["dirty"] is True
        assert re.fullmatch("[0-9a-f]{64}", state["diff_sha256"])
        hashes.add(state["diff_sha256"])
    assert len(hashes) == 4


def test_no_checkout_no_commit_no_git(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) == NOTHING
    git(tmp_path, "init", "--quiet")
    assert git_state(tmp_path) == NOTHING
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) == NOTHING


def test_versions_hashes_and_time(tmp_path):
    assert versions()["torch"] == version("torch")
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert file_hashes([path]) == {str(path): hashlib.sha256(b"abc").hexdigest()}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", timestamp())


def test_the_record_holds_all_files_and_the_content_of_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    final = {"machine": {"processor": "p"}, "run": {"dtype": "float32"}, "value": 1}
    write_json("out/test_final.json", final)
    write_json("out/study/study.db", "times within")
    write_json("problems/train.json", [])
    config = {"results": "out/", "data": {"seed": 3, "train": 5}, "search": {"seed": 4}}
    write_json("out/heads/train/layer_0.h5", [0])
    write_json("out/heads/train/.mark", [])
    paths = ["problems/train.json", "out/test_final.json", "out/study/study.db", "out/heads"]
    record = provenance(config, {"commit": "c"}, final, paths, ["out"], tmp_path)
    files = [*paths[:3], "out/heads/train/layer_0.h5"]
    assert record["sha256"] == {path: sha256_file(path) for path in sorted(files)}
    assert record["content_sha256"].keys() == {"test_final.json", "heads/train/layer_0.h5"}
    assert record["seeds"] == {"data.seed": 3, "search.seed": 4}
    assert (record["machine"], record["run"]) == (final["machine"], final["run"])
    assert record["model"] == {"commit": "c"}
    assert record.keys() >= {"created", "config", "git", "versions"}
