"""Shared folders, seen from a run's own."""

from snakesteer.study.links import link_shared


def test_a_run_looks_like_a_single_one(tmp_path):
    own, shared, other = (tmp_path / name for name in ("runs/a", "shared/x", "shared/y"))
    for file in ("splits/val.jsonl", "vectors/caa/layer_1", "logs/split.log", ".hidden"):
        (shared / file).parent.mkdir(parents=True, exist_ok=True)
        (shared / file).write_text(file)
    (other / "vectors" / "trained").mkdir(parents=True)
    (own / "logs").mkdir(parents=True)
    (own / "logs" / "own.log").write_text("its own")
    (shared / "logs" / "own.log").write_text("another's")
    link_shared(own, [own, shared, other])
    link_shared(own, [shared, other])  # again changes nothing
    assert (own / "splits" / "val.jsonl").read_text() == "splits/val.jsonl"
    assert (own / "vectors" / "caa" / "layer_1").exists()
    assert (own / "vectors" / "trained").is_dir()
    assert (own / "logs" / "own.log").read_text() == "its own"
    assert (own / "logs" / "split.log").read_text() == "logs/split.log"
    assert not (own / ".hidden").exists()
    moved = tmp_path.rename(tmp_path.with_name("moved"))  # links are relative
    assert (moved / "runs/a/splits/val.jsonl").exists()


def test_a_stage_that_moved_is_linked_anew(tmp_path):
    for name in ("x", "y"):
        (tmp_path / name / "splits").mkdir(parents=True)
    link_shared(tmp_path / "run", [tmp_path / "x"])
    link_shared(tmp_path / "run", [tmp_path / "y"])
    assert (tmp_path / "run" / "splits").resolve() == (tmp_path / "y" / "splits").resolve()
