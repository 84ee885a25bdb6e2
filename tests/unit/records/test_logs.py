"""What a failing script says, and where."""

import logging
import pickle
import warnings

import pytest
import torch

from snakesteer.errors import UserError
from snakesteer.records.logs import script_log


def test_messages_and_warnings_land_in_the_log(tmp_path):
    path = tmp_path / "logs" / "rule.log"
    with script_log(path) as log:
        log.info("4 pairs")
        logging.getLogger("another.library").warning("careful")
        warnings.warn("old option", stacklevel=1)
    text = path.read_text()
    assert "INFO 4 pairs" in text
    assert "WARNING careful" in text
    assert "old option" in text


def test_the_log_is_of_one_run_and_is_closed_after_it(tmp_path):
    path = tmp_path / "rule.log"
    handlers = list(logging.getLogger().handlers)
    for message in ("first run", "second run"):
        with script_log(path) as log:
            log.info(message)
    logging.getLogger("snakesteer").error("after")
    assert "second run" in path.read_text()
    assert "first run" not in path.read_text()
    assert "after" not in path.read_text()
    assert logging.getLogger().handlers == handlers


def test_a_user_error_is_one_paragraph_and_exit_status_1(tmp_path, capsys):
    path = tmp_path / "rule.log"
    with pytest.raises(SystemExit) as caught, script_log(path):
        raise UserError("data.folder is 'x', which does not exist", "Name an existing folder.")
    assert caught.value.code == 1
    message = "data.folder is 'x', which does not exist. Name an existing folder."
    assert capsys.readouterr().err == f"error: {message}\n"
    assert message in path.read_text()
    assert "Traceback" not in path.read_text()


def test_any_other_exception_leaves_its_traceback_in_the_log_and_goes_on(tmp_path):
    path = tmp_path / "rule.log"
    with pytest.raises(ZeroDivisionError), script_log(path):
        1 / 0  # noqa: B018
    text = path.read_text()
    assert "ERROR uncaught ZeroDivisionError" in text
    assert "Traceback" in text
    assert "1 / 0" in text


def test_an_interruption_is_logged_and_not_swallowed(tmp_path):
    with pytest.raises(KeyboardInterrupt), script_log(tmp_path / "rule.log"):
        raise KeyboardInterrupt
    assert "uncaught KeyboardInterrupt" in (tmp_path / "rule.log").read_text()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("cannot allocate 8 GiB"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("MPS backend out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
    ],
)
def test_out_of_memory_is_named_with_what_to_do(tmp_path, capsys, error):
    path = tmp_path / "rule.log"
    with pytest.raises(SystemExit) as caught, script_log(path):
        raise error
    assert caught.value.code == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: Out of memory (")
    assert str(error) in printed
    assert "engine.slots" in printed
    assert "Out of memory" in (log := path.read_text())
    # Snakemake shows the log: the traceback is beside it.
    assert "Traceback" not in log
    assert str(path.with_suffix(".traceback")) in log
    assert "Traceback" in path.with_suffix(".traceback").read_text()


def test_what_a_library_raised_is_kept_in_full_beside_the_log_of_that_run(tmp_path, capsys):
    path = tmp_path / "rule.log"
    with pytest.raises(SystemExit), script_log(path):
        raise UserError("The file holds no weight", "Make it anew.") from KeyError("weight")
    assert capsys.readouterr().err == "error: The file holds no weight. Make it anew.\n"
    kept = path.with_suffix(".traceback")
    assert "KeyError: 'weight'" in kept.read_text()
    assert "Traceback" not in path.read_text()
    with script_log(path):
        pass
    assert not kept.exists()


def test_a_real_allocation_failure_is_recognised(tmp_path, capsys):
    with pytest.raises(SystemExit), script_log(tmp_path / "rule.log"):
        torch.empty(2**60, dtype=torch.uint8)
    assert "Out of memory" in capsys.readouterr().err


def test_other_runtime_errors_are_not_taken_for_it(tmp_path):
    with pytest.raises(RuntimeError, match="shape"), script_log(tmp_path / "rule.log"):
        raise RuntimeError("shape mismatch")


def test_a_user_error_survives_another_process():
    error = pickle.loads(pickle.dumps(UserError("It is wrong.", "Mend it.")))
    assert str(error) == "It is wrong. Mend it."
    assert (error.problem, error.remedy) == ("It is wrong.", "Mend it.")
