"""How a Snakemake process is started, listened to and stopped."""

import sys

import pytest

from snakesteer import workflow_run
from snakesteer.config import Config
from snakesteer.errors import UserError
from snakesteer.workflow_run import run_workflow

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


@pytest.fixture
def snakemake(monkeypatch):
    """Run a Python text in the place of Snakemake."""

    def instead(text):
        real = workflow_run._stream
        calls = []

        def stream(command, folder):
            calls.append(command)
            return real([sys.executable, "-c", text], folder)

        monkeypatch.setattr(workflow_run, "_stream", stream)
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
    monkeypatch.setattr(workflow_run, "SNAKEFILE", tmp_path / "Snakefile")
    with pytest.raises(UserError, match="installed without its workflow") as refused:
        run_workflow(Config(), folder=tmp_path)
    assert "Clone the repository" in refused.value.remedy


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "results").touch()
    with pytest.raises(UserError, match="cannot be written"):
        run_workflow(Config(), folder=tmp_path)
