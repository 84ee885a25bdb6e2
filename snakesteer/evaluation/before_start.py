"""What stops a run before its first job: looks elsewhere that could only fail behind the last."""

from snakesteer.config import OffTargetConfig
from snakesteer.config.off_target import check_installed
from snakesteer.data.second_task import read_second_task


def check_elsewhere(wanted: OffTargetConfig, own_environment: bool) -> None:
    """Refuse a second task that cannot be read, and tasks of lm-evaluation-harness that are none.

    Args:
        wanted: Of a run.
        own_environment: Whether rules bring their environments along, so that what is installed
            here says nothing.

    Raises:
        UserError: See `read_second_task`, `check_installed` and `find_tasks`.
    """
    if wanted.task_file is not None:
        read_second_task(wanted.task_file)
    if not wanted.harness_tasks or own_environment:
        return
    check_installed()
    from snakesteer.evaluation.harness.tasks import find_tasks  # that package is no requirement

    find_tasks(wanted.harness_tasks, wanted.harness_folder)
