"""One live run at a time, and no lock of a run that is dead.

Inputs: who works here, in .snakemake/snakesteer. Outputs: the same.
Steps: while the rules are read, remove Snakemake's locks of runs that were killed; before the first
job, take the results folder for this run; in each job, say that it is one of this run.
"""

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from snakesteer.errors import UserError
from snakesteer.records.live_runs import forget_dead_runs, hold_run, join_run

# Held until the process ends.
held = []


def hold_results():
    """Take the results folder for this run; called when Snakemake has its own locks."""
    locks = getattr(workflow.persistence, "_lockfile", {}).values()
    try:
        held.append(hold_run(RESULTS, locks, logger.warning))
    except UserError as error:
        raise WorkflowError(str(error)) from None


if workflow.is_main_process:
    for said in forget_dead_runs():
        logger.warning(said)
else:
    try:
        held.append(join_run())
    except UserError as error:
        raise WorkflowError(str(error)) from None
