"""The names of the older pipeline and what they become; a Snakemake started and stopped."""

import inspect
import sys
from dataclasses import fields

import pytest

import snakesteer
from snakesteer import api
from snakesteer.api import (
    NOT_HERE,
    GSM8KOptimizationPipeline,
    GSM8KStudy,
    OptimizationConfig,
    run_workflow,
)
from snakesteer.config import Config, Section
from snakesteer.errors import UserError
from snakesteer.study.plan import plan_study

SAID = """\
rule search:
    log: results/logs/other.log
Error in rule search:
    jobid: 3
    input: a
    log: results/logs/search_0.log (check log file(s) for error details)

Logfile results/logs/search_0.log:
The model is damaged. Download it again.
Error in rule probe:
    log: results/logs/probe_1.log (check log file(s) for error details)
"""


def test_every_field_becomes_a_key():
    config = OptimizationConfig(
        model_name="some/model",
        device="cpu",
        train_limit=20,
        val_limit=21,
        test_limit=22,
        layer_search_range=(6, 8),
        steering_methods=["caa"],
        n_trials=3,
        n_startup_trials=2,
        sampler="CmaEs",
        pruner="SuccessiveHalvingPruner",
        batch_size=4,
        max_new_tokens=128,
        temperature=0.5,
        do_sample=True,
        output_dir="out",
    ).workflow_config()
    assert (config.model.name, config.model.device) == ("some/model", "cpu")
    assert (config.data.train, config.data.val, config.data.test) == (20, 21, 22)
    assert config.data.source == "hub"
    assert (config.steering.layers, config.steering.methods) == ("6-8", ["caa"])
    assert (config.search.n_trials, config.search.n_startup_trials) == (3, 2)
    assert (config.search.sampler, config.search.pruner) == ("cmaes", "successive_halving")
    assert config.engine.batch_size == 4
    assert (config.generation.max_new_tokens, config.generation.temperature) == (128, 0.5)
    assert config.generation.do_sample
    assert config.results == "out"


def test_one_seed_for_all():
    config = OptimizationConfig(seed=7).workflow_config()
    seeds = [
        value
        for _, section in config
        if isinstance(section, Section)
        for key, value in section
        if key.endswith("seed")
    ]
    assert len(seeds) >= 6
    assert set(seeds) == {7}


def test_what_is_not_named_keeps_the_default_of_the_config():
    config = OptimizationConfig().workflow_config()
    assert config.steering.layers == Config().steering.layers
    assert config.prompt.template == Config().prompt.template


def test_overrides_win_key_by_key():
    overrides = {"data": {"source": "embedded", "val": 9}, "steering": {"layers": [1]}}
    config = OptimizationConfig(val_limit=20, overrides=overrides).workflow_config()
    assert (config.data.source, config.data.val, config.data.train) == ("embedded", 9, 500)
    assert config.steering.layers == [1]
    assert overrides["data"] == {"source": "embedded", "val": 9}


def test_editors_and_help_see_the_fields():
    found = inspect.signature(OptimizationConfig).parameters
    assert list(found) == [field.name for field in fields(OptimizationConfig)]
    assert found["n_trials"].default == 50
    assert found["layer_search_range"].annotation == tuple[int, int] | None


@pytest.mark.parametrize("name", NOT_HERE)
def test_fields_without_a_place_are_refused_with_a_remedy(name):
    with pytest.raises(UserError, match=name) as refused:
        OptimizationConfig(**{name: 1})
    assert refused.value.remedy == NOT_HERE[name]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"sampler": "best"}, "search.sampler"),
        ({"pruner": "BestPruner"}, "search.pruner"),
        ({"steering_methods": ["none"]}, "steering.methods"),
        ({"temperature": 0.7}, "generation.temperature"),
        ({"overrides": {"data": {"sorce": "hub"}}}, "data.sorce"),
        ({"overrides": {"data": 3}}, "data = 3"),
        ({"layer_search_range": (8, 6)}, "steering.layers"),
    ],
)
def test_bad_values_are_refused_at_once(given, named):
    with pytest.raises(UserError, match=named):
        GSM8KOptimizationPipeline(OptimizationConfig(**given))


def test_unknown_fields_are_refused():
    with pytest.raises(TypeError, match="nonsense"):
        OptimizationConfig(nonsense=1)


def test_the_package_exports_what_it_names():
    assert snakesteer.OptimizationConfig is OptimizationConfig
    for name in snakesteer.__all__:
        assert callable(getattr(snakesteer, name))
        assert name in dir(snakesteer)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = snakesteer.nonsense


@pytest.fixture
def snakemake(monkeypatch):
    """Run a Python text in the place of Snakemake."""

    def instead(text):
        real = api._stream
        calls = []

        def stream(command, folder):
            calls.append(command)
            return real([sys.executable, "-c", text], folder)

        monkeypatch.setattr(api, "_stream", stream)
        return calls

    return instead


def test_messages_come_through_and_the_config_is_kept(snakemake, tmp_path, capfd):
    calls = snakemake("import os; print('in', os.getcwd()); print('größer')")
    config = Config.model_validate({"results": "out/mine", "data": {"train": 99}})
    results = run_workflow(config, "study", folder=tmp_path, cores=3, gpus=0)
    assert results == tmp_path / "out" / "mine"
    assert capfd.readouterr().out == f"in {tmp_path}\ngrößer\n"
    kept = results / "config.yaml"
    assert "train: 99" in kept.read_text(encoding="utf-8")
    [command] = calls
    assert command[1:4] == ["-m", "snakemake", "study"]
    assert command[command.index("--configfile") + 1] == str(kept)
    assert command[-4:] == ["--cores", "3", "--resources", "gpu=0"]


def test_a_failure_names_rules_and_logs_and_the_last_words(snakemake, tmp_path):
    snakemake(f"print({SAID!r}); raise SystemExit(3)")
    with pytest.raises(UserError) as failed:
        run_workflow(Config(), folder=tmp_path)
    assert "exit status 3, rule search, probe" in failed.value.problem
    assert "The model is damaged. Download it again." in failed.value.problem
    assert failed.value.remedy.endswith("results/logs/search_0.log, results/logs/probe_1.log")
    assert "other.log" not in failed.value.remedy
    assert "input: a" not in failed.value.problem


def test_an_interrupt_reaches_the_whole_group_and_is_waited_for(snakemake, tmp_path, monkeypatch):
    # A job that tidies up when it is interrupted, and its parent.
    job = (
        "import pathlib, sys, time\n"
        "try:\n    print('ready', flush=True); time.sleep(60)\n"
        "except KeyboardInterrupt:\n    pathlib.Path('tidy').touch()\n"
    )
    snakemake(
        "import os, signal, subprocess, sys\n"
        "signal.signal(signal.SIGINT, lambda *_: None)\n"
        f"subprocess.run([sys.executable, '-c', {job!r}])\n"
    )

    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.print", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_workflow(Config(), folder=tmp_path)
    assert (tmp_path / "tidy").exists()


def test_without_the_workflow(monkeypatch, tmp_path):
    monkeypatch.setattr(api, "SNAKEFILE", tmp_path / "Snakefile")
    with pytest.raises(UserError, match="installed without its workflow") as refused:
        run_workflow(Config(), folder=tmp_path)
    assert "Clone the repository" in refused.value.remedy


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "results").touch()
    with pytest.raises(UserError, match="cannot be written"):
        run_workflow(Config(), folder=tmp_path)


def test_a_study_is_a_table_of_configs(monkeypatch, tmp_path):
    def run(config, folder, cores):
        assert (folder, cores) == (tmp_path, 2)
        plan = plan_study(config.model_dump(mode="json"))
        rows = [f"{run.name},{run.settled.config.model.name}" for run in plan.runs]
        (tmp_path / "runs.csv").write_text("\n".join(["name,model", *rows]))
        return tmp_path

    monkeypatch.setattr(api, "run_workflow", run)
    configs = [
        OptimizationConfig(model_name=name, layer_search_range=(6, 8))
        for name in ("org/a", "org/b")
    ]
    study = GSM8KStudy(
        [configs[0], configs[1].workflow_config()],
        names=["first", "second"],
        replicates={"seeds": 2},
        folder=tmp_path,
        cores=2,
    )
    assert study.config.results == "results/study"
    table = study.run()
    assert table["name"].tolist() == ["first-0", "first-1", "second-0", "second-1"]
    assert table["model"].tolist() == ["org/a"] * 2 + ["org/b"] * 2
    assert [run["name"] for run in GSM8KStudy(configs).config.runs] == ["run-1", "run-2"]


def test_names_of_a_study_are_checked_at_once():
    configs = [OptimizationConfig(), OptimizationConfig(seed=1)]
    with pytest.raises(UserError, match="2 configs have 1 names"):
        GSM8KStudy(configs, names=["a"])
    with pytest.raises(UserError, match="'a' is that of runs, entry 1"):
        GSM8KStudy(configs, names=["a", "a"])
    with pytest.raises(UserError, match=r"replicates\.seeds"):
        GSM8KStudy(configs, replicates={"seeds": 0})
